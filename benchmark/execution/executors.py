"""Where trials run: in this process, or side by side in local worker processes.

An executor takes jobs and gives back events, in the order in which each trial produced them. Only the
runner, which reads the events, writes anything but checkpoints.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch

from benchmark.base import seeding
from benchmark.data.datasets import DataSpec, DeviceData, load
from benchmark.study.plan import Trial
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.loop import Evaluation, Outcome, TrialLoop


@dataclass(frozen=True)
class Failure:
    """A trial that raised an exception, or whose process died: an error, never a result."""

    message: str
    details: str


@dataclass(frozen=True)
class Event:
    """Something a trial produced."""

    trial: Trial
    content: Evaluation | Outcome | Failure


@dataclass(frozen=True)
class Workplace:
    """What a worker needs to know to run trials.

    Attributes:
        data: which data set.
        device: where to train.
        folder: the suite's folder (`mlruns`): data cache and checkpoints are below it.
        threads: CPU threads per trial.
        checkpoint_every_s: seconds between a trial's checkpoints.
    """

    data: DataSpec
    device: str
    folder: Path
    threads: int
    checkpoint_every_s: float

    def load(self) -> DeviceData:
        """Prepare this process and bring the data to the device."""
        torch.set_num_threads(self.threads)
        seeding.make_deterministic()
        return load(self.data, torch.device(self.device), self.folder / "data")

    def run(self, trial: Trial, data: DeviceData) -> Iterator[Evaluation | Outcome | Failure]:
        """Run one trial; an exception ends it as a failure."""
        try:
            checkpoints = Checkpoints(self.folder / "checkpoints" / trial.hash)
            yield from TrialLoop(trial, data, checkpoints, self.checkpoint_every_s).run()
        except Exception as error:  # whatever a trial raises must not take the study down
            yield Failure(f"{type(error).__name__}: {error}", traceback.format_exc())


class Executor(Protocol):
    """Runs trials. Use as a context manager: leaving it ends whatever still runs."""

    capacity: int

    def submit(self, trial: Trial) -> None:
        """Start a trial, or queue it behind those that run."""

    def events(self) -> Iterator[Event]:
        """What has happened since the last call; waits for something if trials are running."""

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *exc: object) -> None: ...


class InProcess:
    """Runs trials one after another in this process: on an accelerator, or to debug."""

    capacity = 1

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self._data: DeviceData | None = None
        self._queue: deque[Trial] = deque()

    def submit(self, trial: Trial) -> None:
        """Queue a trial."""
        self._queue.append(trial)

    def events(self) -> Iterator[Event]:
        """Run the first queued trial to its end."""
        if self._data is None:
            self._data = self._workplace.load()
        trial = self._queue.popleft()
        for content in self._workplace.run(trial, self._data):
            yield Event(trial, content)

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *exc: object) -> None:
        self._queue.clear()


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    trial: Trial | None = None


class Workers:
    """Runs trials in worker processes, one each at a time.

    Args:
        workplace: what the workers need to know.
        capacity: how many run side by side.
    """

    def __init__(self, workplace: Workplace, capacity: int) -> None:
        self.capacity = capacity
        self._workplace = workplace
        # Spawned, not forked: a forked child inherits torch's and MLflow's threads' locks in any state.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._queue: deque[Trial] = deque()

    def submit(self, trial: Trial) -> None:
        """Give a trial to a free worker, or queue it."""
        self._queue.append(trial)
        self._assign()

    def events(self) -> Iterator[Event]:
        """Wait until a worker has something to say, and pass it on."""
        busy = {worker.connection: worker for worker in self._workers if worker.trial is not None}
        for ready in wait(list(busy)):
            worker = busy[ready]  # type: ignore[index]
            trial = worker.trial
            assert trial is not None
            try:
                content = worker.connection.recv()
            except (EOFError, OSError):
                content = self._bury(worker)
            if not isinstance(content, Evaluation):
                worker.trial = None
                self._assign()  # first: the worker should not wait for what is made of its result
            yield Event(trial, content)

    def __enter__(self) -> "Workers":
        for _ in range(self.capacity):
            self._hire()
        return self

    def __exit__(self, *exc: object) -> None:
        self._queue.clear()
        for worker in self._workers:
            worker.process.kill()  # checkpoints are written atomically: nothing is lost by a kill
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def _assign(self) -> None:
        while self._queue:
            worker = next((w for w in self._workers if w.trial is None), None)
            if worker is None:
                if len(self._workers) >= self.capacity:
                    return
                worker = self._hire()
            worker.trial = self._queue.popleft()
            with contextlib.suppress(BrokenPipeError):  # it died idle: `events` will find out
                worker.connection.send(worker.trial)

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._workplace), daemon=True)
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

    def _bury(self, worker: _Worker) -> Failure:
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)
        code = worker.process.exitcode
        return Failure(f"its worker process died with exit code {code}", "out of memory, or killed?")


def _work(connection: Connection, workplace: Workplace) -> None:
    """A worker's life: load the data once, then run trials until the runner is gone."""
    threading.Thread(target=_end_with_runner, daemon=True).start()
    data: DeviceData | None = None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            trial = connection.recv()
            if data is None:
                data = workplace.load()
            for content in workplace.run(trial, data):
                connection.send(content)


def _end_with_runner() -> None:
    """Exit as soon as the runner is gone: the next one's workers write to the same checkpoints."""
    runner = multiprocessing.parent_process()
    assert runner is not None
    wait([runner.sentinel])
    os._exit(1)


def num_workers(asked: int, threads: int, device: str) -> int:
    """Trials side by side; asked for 0: as many as the cores carry on CPU, one on an accelerator."""
    if asked:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads) if device == "cpu" else 1


def open_executor(workplace: Workplace, workers: int) -> Executor:
    """The executor for a number of trials side by side."""
    return InProcess(workplace) if workers == 1 else Workers(workplace, workers)
