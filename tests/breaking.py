"""A device that breaks, for tests of worker processes, which import what they run."""

from dataclasses import dataclass
from unittest import mock

import torch

from benchmark.execution import executor


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
