"""The reference engine: one replica, one step after another, each operation launched as it is written."""

from collections.abc import Sequence

import torch

from benchmark.data.datasets import Split
from benchmark.training.engines import _steps
from benchmark.training.evaluate import Judgement
from benchmark.training.population import Population


class Eager:
    """Plain PyTorch.

    Args:
        name: in the registry.
        channels_last: whether maps lie in memory position by position (NHWC).
    """

    max_rows = 1

    def __init__(self, name: str, *, channels_last: bool = False) -> None:
        self.name = name
        self._channels_last = channels_last

    def check(self, device: torch.device, threads: int) -> None:
        """It runs anywhere."""

    def advance(self, population: Population, num_steps: int) -> None:
        """Take the steps row by row."""
        for position in range(len(population.rows)):
            _steps.advance(population.row(position), num_steps, channels_last=self._channels_last)
        population.stepped(num_steps)

    def judge(
        self, population: Population, splits: Sequence[Split], reestimation: Split | None
    ) -> list[Judgement]:
        """Evaluate row by row."""
        return [
            judgement
            for position in range(len(population.rows))
            for judgement in _steps.judge(
                population.row(position),
                splits,
                reestimation,
                channels_last=self._channels_last,
            )
        ]
