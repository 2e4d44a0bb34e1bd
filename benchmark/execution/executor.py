"""What runs trials, wherever that is.

An executor takes groups of trials that can share one population, and gives back events, in the order in which
each trial produced them. Only what reads the events writes anything but checkpoints. No executor knows what a
study is.
"""

import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from benchmark.base import seeding
from benchmark.base.environment import device_name, numerics
from benchmark.data.datasets import DataSpec, DeviceData, load
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.events import Event, Failure, Outcome
from benchmark.training.loop import train
from benchmark.training.trial import Trial


@dataclass(frozen=True)
class Group:
    """Trials of one `shared_hash`, to be trained as one population.

    Attributes:
        trials: the first `rows` begin; each other takes the row of one that ends.
        rows: how many are trained at once.
    """

    trials: tuple[Trial, ...]
    rows: int


_DEVICE_ERRORS = ("CUDA error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS")
"""What messages of PyTorch's libraries say, where they are plain RuntimeErrors."""


class Executor(Protocol):
    """Runs trials. Use as a context manager: leaving it ends whatever still runs."""

    @property
    def capacity(self) -> int:
        """How many groups run side by side: at least one."""

    def submit(self, group: Group) -> None:
        """Start a group, or queue it behind those that run."""

    def events(self) -> Iterator[Event]:
        """What has happened since the last call; waits for something if trials are running."""

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True)
class WorkerSetup:
    """What a process needs to know to run trials.

    Attributes:
        data: which data set.
        device: where to train.
        folder: the suite's folder (`mlruns`): data cache and checkpoints are below it.
        checkpoint_every_s: seconds between a trial's checkpoints.
    """

    data: DataSpec
    device: str
    folder: Path
    checkpoint_every_s: float

    @property
    def machine(self) -> str:
        """What times and roundings depend on: the device's model, and its numerics."""
        device = torch.device(self.device)
        return f"{device_name(device)}, {numerics(device)}"

    def prepare(self) -> torch.device:
        """Prepare this process to train; the device."""
        seeding.make_deterministic()
        device = torch.device(self.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # or streams and graphs would be the first device's
        return device

    def load(self) -> DeviceData:
        """Prepare this process and bring the data to the device."""
        return load(self.data, self.prepare(), self.folder / "data")

    def run(self, group: Group, data: DeviceData) -> Iterator[Event]:
        """Run a group; an exception ends all of its trials that have not ended as failures."""
        running = {trial.hash: trial for trial in group.trials}
        waiting = deque(group.trials)

        def more(room: int) -> list[Trial]:
            return [waiting.popleft() for _ in range(min(room, len(waiting)))]

        try:
            for event in train(
                more(group.rows), data, self._checkpoints, more, group.rows, self.checkpoint_every_s
            ):
                if isinstance(event.content, Outcome):
                    del running[event.trial.hash]
                yield event
        except Exception as error:  # whatever a trial raises must not take the study down
            failure = Failure(
                f"{type(error).__name__}: {error}",
                traceback.format_exc(),
                broke_device=_is_of_the_device(error),
                out_of_memory=_is_of_memory(error),
            )
            for trial in running.values():
                yield Event(trial, failure)

    def _checkpoints(self, trial: Trial) -> Checkpoints:
        return Checkpoints(self.folder / "checkpoints" / trial.hash, self.machine)


def _is_of_memory(error: Exception) -> bool:
    """Whether there was not room enough: CPU allocators of PyTorch say so in a RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _is_of_the_device(error: Exception) -> bool:
    """Whether an error is an accelerator's own: nothing in the process can use the device after it.

    CUDA reports one at whichever call comes next, and again at every later one (CUDA runtime API, "sticky"
    errors). Memory that PyTorch's allocator was refused is none.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _DEVICE_ERRORS)
    )
