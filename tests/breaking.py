"""Workers that misbehave, for tests of worker processes, which import what they run."""

import os
import signal
import time
from dataclasses import dataclass
from unittest import mock

import torch

from benchmark.execution import executor
from benchmark.training.events import Evaluation, Event, Failure, Outcome


@dataclass(frozen=True)
class BreaksAt(executor.WorkerSetup):
    """Trials of one seed break the device; in the process that ran one, every later trial fails too.

    Attributes:
        bad_seed: of the trials that break it.
    """

    bad_seed: int

    def load(self):
        """As CUDA's errors are: each later call gives it again."""
        is_broken = False
        train = executor.train

        def run(trials, *arguments, **options):
            nonlocal is_broken
            is_broken |= any(trial.seed == self.bad_seed for trial in trials)
            if is_broken:
                raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
            yield from train(trials, *arguments, **options)

        mock.patch.object(executor, "train", run).start()  # until the process ends
        return super().load()


NUM_EVALUATIONS = 40


class Talks(executor.WorkerSetup):
    """Trials that train nothing and say much, more than a pipe holds; each leaves a file when it ends."""

    def load(self):
        """No data."""

    def run(self, group, data):
        for trial in group.trials:
            for _ in range(NUM_EVALUATIONS):
                yield Event(trial, Evaluation({}, [{"words": "x" * 2**16}]))
            yield Event(trial, Outcome("trained", "trained", {}))
            (self.folder / trial.hash).touch()


DIES, BROKEN = 13, 15
"""Seeds of unlucky trials."""


class Unlucky(executor.WorkerSetup):
    """Trials of seed `DIES` take their process along, once each; those of `BROKEN` break its device.

    A process with a broken device fails with every later trial.
    """

    def run(self, group, data):
        global _is_broken  # noqa: PLW0603 as of a process
        _is_broken |= any(trial.seed == BROKEN for trial in group.trials)
        if _is_broken:
            for trial in group.trials:
                yield Event(trial, Failure("CUDA error", "Traceback ...", broke_device=True))
            return
        for event in super().run(group, data):
            yield event
            died = self.folder / f"died-{event.trial.hash}"
            if event.trial.seed == DIES and not died.exists() and event.content.row["step"]:
                died.touch()
                time.sleep(0.5)  # until what it has said is heard
                os.kill(os.getpid(), signal.SIGKILL)


_is_broken = False


@dataclass(frozen=True)
class Elsewhere(executor.WorkerSetup):
    """On another machine, as it seems, in all processes but one; each leaves a file with its number as name.

    Attributes:
        runner: the number of that process.
    """

    runner: int

    @property
    def machine(self):
        return "this model" if os.getpid() == self.runner else "another model"

    def prepare(self):
        (self.folder / "pids").mkdir(exist_ok=True)
        (self.folder / "pids" / str(os.getpid())).touch()
        return super().prepare()
