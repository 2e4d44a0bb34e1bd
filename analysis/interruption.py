"""Ctrl-C, a request to terminate, a closed terminal: one line, and what there was before is as it was."""

import os
import signal
import sys

STOPPED = "stopped; what there was before is as it was"
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_at_once() -> None:
    """Let every such signal end the process, until an `Interruption`: imports bear no exception."""

    def leave(number: int, frame: object) -> None:
        print(STOPPED, file=sys.stderr, flush=True)
        os._exit(130)

    for number in _heard():
        signal.signal(number, leave)


def _heard() -> list[signal.Signals]:
    ignores_hangups = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup asks for
    return [number for number in _STOPS if number != signal.SIGHUP or not ignores_hangups]


class Interruption:
    """Lets Ctrl-C, a request to terminate and a terminal that closes raise KeyboardInterrupt, until answered.

    Python ignores, with a traceback, what is raised in a finalizer or a weak reference's callback, as imports
    have by the hundred, and libraries may make another exception of it: so it is raised again a little later.

    Attributes:
        was_asked: whether one came.
    """

    AGAIN_S = 1.0  # more than it takes to clean up after the first

    def __init__(self) -> None:
        self.was_asked = self._is_answered = False
        numbers = [*_heard(), signal.SIGALRM]
        self._before = {number: signal.signal(number, self._interrupt) for number in numbers}
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._unraisable

    def answer(self) -> None:
        """Raise no other, and leave the process as it was."""
        self._is_answered = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook_before

    def _interrupt(self, number: int, frame: object) -> None:
        self.was_asked = True
        if not self._is_answered:
            signal.setitimer(signal.ITIMER_REAL, self.AGAIN_S)
            raise KeyboardInterrupt

    def _unraisable(self, problem: "sys.UnraisableHookArgs") -> None:
        if not self.was_asked:
            self._hook_before(problem)
