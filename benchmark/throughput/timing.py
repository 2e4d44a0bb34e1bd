"""Wall time and CPU time of a piece of work."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Took(NamedTuple):
    """Seconds.

    Attributes:
        wall: by the clock.
        cpu: of all threads of the process, and of the processes that work for it.
    """

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Took:
    """What a piece of work takes; it waits for the device itself."""
    began, began_cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - began, time.process_time() - began_cpu)
