"""Trials of one variant, from their initial weights to their outcomes, as a stream of events."""

import time
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmark.data.datasets import DeviceData
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import ENGINES, Engine
from benchmark.training.events import Event
from benchmark.training.population import Population
from benchmark.training.replica import Replica
from benchmark.training.trial import Trial

EAGER = ENGINES["eager"]


def train(
    trials: Sequence[Trial],
    data: DeviceData,
    checkpoints: Callable[[Trial], Checkpoints],
    engine: Engine = EAGER,
    checkpoint_every_s: float = 30.0,
) -> Iterator[Event]:
    """Train a population.

    Yields, for each trial, an evaluation at initialization and after every interval, then its outcome. A
    resumed trial first yields again what it had yielded before its checkpoint. A trial that diverges or ends
    leaves the others untouched.

    Args:
        trials: of one `shared_hash`; at most as many as the engine takes.
        data: their data set, on the training device.
        checkpoints: where a trial keeps its progress and weights.
        engine: takes the steps.
        checkpoint_every_s: seconds between checkpoints of progress.

    Raises:
        ValueError: the trials cannot be rows of one population.
    """
    if len({trial.shared_hash for trial in trials}) != 1 or len(trials) > engine.max_rows:
        names = ", ".join(trial.name for trial in trials)
        raise ValueError(
            f"trials: expected 1 to {engine.max_rows} of one population, found {names or 'none'}"
        )
    torch.set_num_threads(trials[0].threads)
    replicas = [Replica(trial, data, checkpoints(trial)) for trial in trials]
    for replica in replicas:
        for evaluation in list(replica.progress.evaluations) or [replica.evaluate(replica.state, None, 0.0)]:
            yield Event(replica.trial, evaluation)

    states = [replica.state for replica in replicas]
    population = Population.of(replicas[0].problem(), [replica.row() for replica in replicas], states)
    _warm_up(population, engine)
    saved_at = time.monotonic()
    while True:
        for position, replica in enumerate(replicas):
            replica.state = population.state.row(position)
            if replica.has_ended:
                yield Event(replica.trial, replica.finish())
        training = [position for position, replica in enumerate(replicas) if not replica.has_ended]
        if not training:
            return
        population, replicas = population.keep(training), [replicas[position] for position in training]
        yield from _interval(population, replicas, engine)
        if time.monotonic() - saved_at > checkpoint_every_s:
            for replica in replicas:
                if not replica.diverged:
                    replica.checkpoint()
            saved_at = time.monotonic()


def _interval(population: Population, replicas: Sequence[Replica], engine: Engine) -> Iterator[Event]:
    """Train until the next evaluation, without waiting for the device, and evaluate every row.

    What a population takes is shared equally among its rows.
    """
    num_steps = replicas[0].trial.eval_every
    began = time.perf_counter()
    watched = [position for position, replica in enumerate(replicas) if replica.is_watched_next]
    if watched:
        if num_steps > 1:
            engine.advance(population, num_steps - 1)
        for position in watched:
            replicas[position].before_last_step(population.state.row(position))
        engine.advance(population, 1)
    else:
        engine.advance(population, num_steps)
    sums = population.take_sums()
    seconds = (time.perf_counter() - began) / len(replicas)
    for position, replica in enumerate(replicas):
        evaluation = replica.evaluate(population.state.row(position), sums[position], seconds)
        yield Event(replica.trial, evaluation)


def _warm_up(population: Population, engine: Engine) -> None:
    """One step on a copy, thrown away: what the first step costs extra is not training time."""
    copy = population.clone()
    engine.advance(copy, 1)
    copy.take_sums()  # waits for the device
