"""Trials side by side in local worker processes."""

import contextlib
import multiprocessing
import os
import queue
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

    `next_group`: what it has been sent to train after that. `is_broken`: a trial broke its device; it is
    replaced when all of the group's have ended.
    """

    process: BaseProcess
    connection: Connection
    running: dict[str, Trial] = field(default_factory=dict)
    next_group: Group | None = None
    is_broken: bool = False

    @property
    def takes_another(self) -> bool:
        """Whether it can be sent a group while it trains one."""
        return self.next_group is None and not self.is_broken


class Workers:
    """Runs trials in worker processes, one group each at a time.

    No worker waits for what is made of its results: they are sent beside the training, and a worker that is
    alone is sent its next group before it has ended the last. (Of several, the one that ends first takes it.)

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
            if not worker.running and worker in self._workers:
                self._go_on(worker)
            self._assign()  # first: the worker should not wait for what is made of its result
            yield from events

    def __enter__(self) -> "Workers":
        for _ in range(self.capacity):
            self._hire()
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in list(self._workers):
            self._dismiss(worker)
        self._queue.clear()

    def _assign(self) -> None:
        while self._queue:
            worker = next((w for w in self._workers if not w.running), None)
            if worker is None and len(self._workers) < self.capacity:
                worker = self._hire()
            if worker is not None:
                self._send(worker, self._queue[0])
                worker.running = _by_hash(self._queue.popleft())
            elif self.capacity == 1 and self._workers[0].takes_another:
                self._send(self._workers[0], self._queue[0])
                self._workers[0].next_group = self._queue.popleft()
            else:
                return

    def _send(self, worker: _Worker, group: Group) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died: `events` will find out
            worker.connection.send(group)

    def _go_on(self, worker: _Worker) -> None:
        """With the group that a worker has been sent ahead; one that is broken is replaced instead."""
        if worker.is_broken:
            self._dismiss(worker)
        elif worker.next_group is not None:
            worker.running, worker.next_group = _by_hash(worker.next_group), None

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._setup), daemon=True)
        # Ctrl-C, and a terminal that is closed, are the runner's to handle. Workers inherit the mask, so they
        # never see them, not even while they import torch. (Starting the resource tracker, which `start` does
        # if need be, lifts the mask.)
        resource_tracker.ensure_running()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
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
        if worker.next_group is not None:
            self._queue.appendleft(worker.next_group)
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)

    def _bury(self, worker: _Worker) -> Failure:
        self._remove(worker)
        code = worker.process.exitcode
        return Failure(f"its worker process died with exit code {code}", "out of memory, or killed?")


def _by_hash(group: Group) -> dict[str, Trial]:
    return {trial.hash: trial for trial in group.trials}


def _work(connection: Connection, setup: WorkerSetup) -> None:
    """A worker's life: load the data once, then run groups until the runner is gone, or the device broken."""
    threading.Thread(target=_end_with_runner, daemon=True).start()
    results: queue.SimpleQueue[Event] = queue.SimpleQueue()
    sender = threading.Thread(target=_send_all, args=(connection, results), daemon=True)
    sender.start()
    data: DeviceData | None = None
    is_broken = False
    with contextlib.suppress(EOFError, ConnectionResetError):
        while not is_broken:
            group = connection.recv()
            if data is None:
                data = setup.load()
            for event in setup.run(group, data):
                results.put(event)
                is_broken |= isinstance(event.content, Failure) and event.content.broke_device
        sender.join()  # until the runner has heard of it, and ends this process


def _send_all(connection: Connection, results: "queue.SimpleQueue[Event]") -> None:
    """Send results as the runner takes them: it may be writing down earlier ones."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            connection.send(results.get())


def _end_with_runner() -> None:
    """Exit as soon as the runner is gone: the next one's workers write to the same checkpoints."""
    runner = multiprocessing.parent_process()
    assert runner is not None
    wait([runner.sentinel])
    os._exit(1)
