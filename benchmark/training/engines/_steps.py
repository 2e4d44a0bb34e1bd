"""What engines that launch each operation have in common."""

from collections.abc import Sequence

from benchmark.data.datasets import Split
from benchmark.training.evaluate import Judgement, reestimate, scores
from benchmark.training.population import Population
from benchmark.training.step import step


def advance(population: Population, num_steps: int, *, channels_last: bool) -> None:
    """Take steps with all rows side by side; `stepped` is the caller's to say."""
    problem, state = population.problem, population.state
    network = problem.bind(state, channels_last=channels_last)
    for index in population.batches(num_steps):
        population.sums += step(problem, network, state, index, population.keys, population.learning_rates)


def judge(
    population: Population,
    splits: Sequence[Split],
    reestimation: Split | None,
    *,
    channels_last: bool,
) -> list[Judgement]:
    """Evaluate all rows side by side."""
    problem = population.problem
    network = problem.bind(population.state, channels_last=channels_last)
    tensors = network.tensors(population.state)
    try:
        if reestimation is None:
            judged = averaged = scores(network.module, tensors, *splits, loss=problem.loss)
        else:
            own = reestimate(network.module, tensors, reestimation, problem.batch_size)
            judged = scores(network.module, own, *splits, loss=problem.loss)
            averaged = scores(network.module, tensors, *splits, loss=problem.loss)
    finally:
        network.module.train()
    return [Judgement(own, by) for own, by in zip(judged, averaged, strict=True)]
