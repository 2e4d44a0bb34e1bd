"""Workers that misbehave, for tests of worker processes, which import what they run."""

from dataclasses import dataclass
from unittest import mock

import torch

from benchmark.execution import executor
from benchmark.training.events import Evaluation, Event, Outcome


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
