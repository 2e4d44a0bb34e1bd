"""Trials side by side in local worker processes."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from benchmark.data.datasets import DeviceData
from benchmark.execution.executor import Group, WorkerSetup
from benchmark.training.events import Evaluation, Event, Failure
from benchmark.training.trial import Trial


@dataclass
class _Worker:
    """A process, and the trials of its group that have not ended, by hash.

    `is_broken`: one of them broke its device; it is replaced when all of them have ended.
    """

    process: BaseProcess
    connection: Connection
    running: dict[str, Trial] = field(default_factory=dict)
    is_broken: bool = False


class Workers:
    """Runs trials in worker processes, one group each at a time.

    Args:
        setup: what the workers need to know.
        capacity: how many run side by side.
    """

    def __init__(self, setup: WorkerSetup, capacity: int) -> None:
        self.capacity = capacity
        self._setup = setup
        # Spawned, not forked: a forked child inherits torch's and MLflow's threads' locks in any state.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._queue: deque[Group] = deque()

    def submit(self, group: Group) -> None:
        """Give a group to a free worker, or queue it."""
        self._queue.append(group)
        self._assign()

    def events(self) -> Iterator[Event]:
        """Wait until a worker has something to say, and pass it on."""
        busy = {worker.connection: worker for worker in self._workers if worker.running}
        for ready in wait(list(busy)):
            worker = busy[ready]  # type: ignore[index]
            try:
                events = [worker.connection.recv()]
            except (EOFError, OSError):
                failure = self._bury(worker)
                events = [Event(trial, failure) for trial in worker.running.values()]
            for event in events:
                if not isinstance(event.content, Evaluation):
                    del worker.running[event.trial.hash]
                if isinstance(event.content, Failure) and event.content.broke_device:
                    worker.is_broken = True
            if worker.is_broken and not worker.running:
                self._dismiss(worker)
            self._assign()  # first: the worker should not wait for what is made of its result
            yield from events

    def __enter__(self) -> "Workers":
        for _ in range(self.capacity):
            self._hire()
        return self

    def __exit__(self, *exc: object) -> None:
        self._queue.clear()
        for worker in list(self._workers):
            self._dismiss(worker)

    def _assign(self) -> None:
        while self._queue:
            worker = next((w for w in self._workers if not w.running), None)
            if worker is None:
                if len(self._workers) >= self.capacity:
                    return
                worker = self._hire()
            group = self._queue.popleft()
            worker.running = {trial.hash: trial for trial in group.trials}
            with contextlib.suppress(BrokenPipeError):  # it died idle: `events` will find out
                worker.connection.send(group)

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._setup), daemon=True)
        # Ctrl-C is the runner's to handle. Workers inherit the mask, so they never see it, not even while
        # they import torch. (Starting the resource tracker, which `start` does if need be, lifts the mask.)
        resource_tracker.ensure_running()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _dismiss(self, worker: _Worker) -> None:
        worker.process.kill()  # checkpoints are written atomically: nothing is lost by a kill
        self._remove(worker)

    def _remove(self, worker: _Worker) -> None:
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)

    def _bury(self, worker: _Worker) -> Failure:
        self._remove(worker)
        code = worker.process.exitcode
        return Failure(f"its worker process died with exit code {code}", "out of memory, or killed?")


def _work(connection: Connection, setup: WorkerSetup) -> None:
    """A worker's life: load the data once, then run groups until the runner is gone."""
    threading.Thread(target=_end_with_runner, daemon=True).start()
    data: DeviceData | None = None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            group = connection.recv()
            if data is None:
                data = setup.load()
            for event in setup.run(group, data):
                connection.send(event)


def _end_with_runner() -> None:
    """Exit as soon as the runner is gone: the next one's workers write to the same checkpoints."""
    runner = multiprocessing.parent_process()
    assert runner is not None
    wait([runner.sentinel])
    os._exit(1)
