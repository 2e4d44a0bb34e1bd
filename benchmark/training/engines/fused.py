"""Replicas side by side in one network, each operation launched once for all of them."""

from collections.abc import Sequence

import torch

from benchmark.base.errors import InputError
from benchmark.data.datasets import Split
from benchmark.training.engines import _steps
from benchmark.training.evaluate import Judgement
from benchmark.training.population import Population
from benchmark.variants.wide import LEAST_ROWS


class Fused:
    """R replicas as one network with R times the channels, channels last (see `variants.wide`).

    On a CPU no bit of a row depends on which others there are, or how many; a lone one trains beside a copy.
    """

    name = "fused"
    max_rows = 16

    def check(self, device: torch.device, threads: int) -> None:
        """Refuse several threads of a CPU: which of them sums what depends on how many replicas there are."""
        if device.type == "cpu" and threads > 1:
            raise InputError(
                f"execution.engine: expected execution.threads = 1 for 'fused', found {threads}: set it to "
                "1, or use 'channels-last'"
            )

    def advance(self, population: Population, num_steps: int) -> None:
        """Take the steps of all rows at once."""
        num_rows = len(population.rows)
        padded = _padded(population)
        _steps.advance(padded, num_steps, channels_last=True)
        if padded is not population:
            population.state.copy_(padded.state.part(0, num_rows))
            population.sums.copy_(padded.sums[:num_rows])
        population.stepped(num_steps)

    def judge(
        self, population: Population, splits: Sequence[Split], reestimation: Split | None
    ) -> list[Judgement]:
        """Evaluate all rows at once."""
        found = _steps.judge(_padded(population), splits, reestimation, channels_last=True)
        return found[: len(population.rows)]


def _padded(population: Population) -> Population:
    return population.padded(max(LEAST_ROWS, len(population.rows)))
