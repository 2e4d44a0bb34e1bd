"""The reference engine: one replica, one step after another, each operation launched as it is written."""

from benchmark.training.population import Population
from benchmark.training.step import step


class Eager:
    """Plain PyTorch."""

    name = "eager"
    max_rows = 1

    def advance(self, population: Population, num_steps: int) -> None:
        """Take the steps row by row."""
        for position, row in enumerate(population.rows):
            state, sums = population.state.row(position), population.sums[position]
            for index in row.order.batches(row.num_steps_done, num_steps):
                sums += step(population.problem, state, index, row.keys, row.learning_rate)
        population.stepped(num_steps)
