"""Ctrl-C that is not lost.

Python raises KeyboardInterrupt wherever the main thread happens to be, and ignores what is raised in a
finalizer or a weak reference's callback, as imports and database pools have by the hundred: the program then
goes on as if nobody had asked. So whoever loops asks whether somebody has.
"""

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked = False


def listen() -> None:
    """Let Ctrl-C, and a request to terminate, raise KeyboardInterrupt where they come, and be remembered."""
    global _asked  # noqa: PLW0603 signals are the process's own
    _asked = False
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def check() -> None:
    """Raise KeyboardInterrupt if one was raised since `listen`: whoever still loops has missed it."""
    if _asked:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked  # noqa: PLW0603
    _asked = True
    raise KeyboardInterrupt
