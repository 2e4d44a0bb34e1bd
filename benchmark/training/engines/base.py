"""What an engine is."""

from typing import Protocol

from benchmark.training.population import Population


class Engine(Protocol):
    """Computes training steps.

    Attributes:
        name: in the registry.
        max_rows: the most replicas that it takes in one population.
    """

    name: str
    max_rows: int

    def advance(self, population: Population, num_steps: int) -> None:
        """Take steps with every row, in place, without waiting for the device.

        Each row goes on from its own step. The steps' metrics are added to the population's sums, and the
        steps to its rows (`Population.stepped`).

        Args:
            population: at most `max_rows` rows; rows that diverge go on with what they have.
            num_steps: of every row.
        """
