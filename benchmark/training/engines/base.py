"""What an engine is."""

from collections.abc import Sequence
from typing import Protocol

import torch

from benchmark.data.datasets import Split
from benchmark.training.evaluate import Judgement
from benchmark.training.population import Population


class Engine(Protocol):
    """Computes training steps, and judges what they lead to.

    Attributes:
        name: in the registry.
        max_rows: the most replicas that it takes in one population.
    """

    name: str
    max_rows: int

    def check(self, device: torch.device, threads: int) -> None:
        """Raise InputError if it cannot run here: what it needs, and what there is.

        Args:
            device: to train on.
            threads: of the CPU.
        """

    def advance(self, population: Population, num_steps: int) -> None:
        """Take steps with every row, in place, without waiting for the device.

        Each row goes on from its own step. The steps' metrics are added to the population's sums, and the
        steps to its rows (`Population.stepped`).

        Args:
            population: at most `max_rows` rows; rows that diverge go on with what they have.
            num_steps: of every row.
        """

    def judge(
        self, population: Population, splits: Sequence[Split], reestimation: Split | None
    ) -> list[Judgement]:
        """Evaluate every row as it is.

        Args:
            population: read only.
            splits: what on.
            reestimation: images to re-estimate normalization statistics on; None: moving averages judge.
        """
