"""Ctrl-C that is not lost; a request to terminate, and a terminal that is closed, end a program like it.

Python raises KeyboardInterrupt wherever the main thread happens to be, and ignores what is raised in a
finalizer or a weak reference's callback, as imports and database pools have by the hundred: the program then
goes on as if nobody had asked. So whoever loops asks whether somebody has. Libraries may also make another
exception of it: whoever catches one asks the same.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_asked = False


def listen() -> None:
    """Let every such signal raise KeyboardInterrupt where it comes, and be remembered."""
    global _asked  # noqa: PLW0603 signals are the process's own
    _asked = False
    _set_all(_interrupt)
    sys.unraisablehook = _unraisable


def leave_at_once(say: Callable[[], None] = lambda: None) -> None:
    """Let every such signal end the process, with code 130, until `listen`: while there is nothing to undo.

    Imports are such a while, and bear no exception: extension modules crash on one, or make another of it.

    Args:
        say: prints the process's last line.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        say()
        os._exit(130)

    _set_all(leave)


def let_go() -> None:
    """Leave further signals to the system, which ends the process without a word: it is about to end."""
    _set_all(signal.SIG_DFL)


def was_asked() -> bool:
    """Whether one came since `listen`."""
    return _asked


def check() -> None:
    """Raise KeyboardInterrupt if one was raised since `listen`: whoever still loops has missed it."""
    if _asked:
        raise KeyboardInterrupt


def _set_all(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks for
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked  # noqa: PLW0603
    _asked = True
    raise KeyboardInterrupt


def _unraisable(problem: "sys.UnraisableHookArgs") -> None:
    """Say nothing of what an interruption that Python ignores has met: `check` raises it again."""
    if not _asked:
        sys.__unraisablehook__(problem)
