"""Trials one group after another in this process: on a CPU that carries no more, or to debug."""

from collections import deque
from collections.abc import Iterator

from benchmark.data.datasets import DeviceData
from benchmark.execution.executor import Group, WorkerSetup
from benchmark.training.events import Event


class InProcess:
    """Runs trials in this process.

    Args:
        setup: what it needs to know.
    """

    capacity = 1

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._data: DeviceData | None = None
        self._queue: deque[Group] = deque()

    def submit(self, group: Group) -> None:
        """Queue a group."""
        self._queue.append(group)

    def events(self) -> Iterator[Event]:
        """Run the first queued group to its end."""
        if self._data is None:
            self._data = self._setup.load()
        yield from self._setup.run(self._queue.popleft(), self._data)

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *exc: object) -> None:
        self._queue.clear()
