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

More = Callable[[int], Sequence[Trial]]
"""room -> at most so many further trials of the same population."""


def train(
    trials: Sequence[Trial],
    data: DeviceData,
    checkpoints: Callable[[Trial], Checkpoints],
    more: More = lambda room: (),
    rows: int = 0,
    checkpoint_every_s: float = 30.0,
    engine: Engine | None = None,
) -> Iterator[Event]:
    """Train a population.

    Yields, for each trial, an evaluation at initialization and after every interval, then its outcome. A
    resumed trial first yields again what it had yielded before its checkpoint. A trial that diverges or ends
    leaves the others untouched; one that waits may take its row.

    Args:
        trials: of one `shared_hash`; at most as many as the engine takes.
        data: their data set, on the training device.
        checkpoints: where a trial keeps its progress and weights.
        more: is asked for trials where rows are free; of the same `shared_hash`.
        rows: the most trials at once; by default as many as it begins with.
        checkpoint_every_s: seconds between checkpoints of progress.
        engine: takes the steps; by default the trials' own.

    Raises:
        ValueError: the trials cannot be rows of one population.
    """
    engine = engine or ENGINES[trials[0].engine]
    if len({trial.shared_hash for trial in trials}) != 1 or len(trials) > engine.max_rows:
        names = ", ".join(trial.name for trial in trials)
        raise ValueError(
            f"trials: expected 1 to {engine.max_rows} of one population, found {names or 'none'}"
        )
    rows = rows or len(trials)
    torch.set_num_threads(trials[0].threads)
    replicas: list[Replica] = []
    population: Population | None = None
    warm: set[int] = set()  # numbers of rows
    saved_at = time.monotonic()
    while True:
        new = [Replica(trial, data, checkpoints(trial)) for trial in trials]
        if new:
            population = _joined(population, new)
            replicas += new
            yield from _begin(population, replicas, len(new), engine)
        assert population is not None
        for position, replica in enumerate(replicas):
            replica.state = population.state.row(position)
            if replica.has_ended:
                yield Event(replica.trial, replica.finish())
        training = [position for position, replica in enumerate(replicas) if not replica.has_ended]
        replicas = [replicas[position] for position in training]
        population = population.keep(training) if training else None
        room = rows - len(replicas)
        trials = more(room) if room else ()
        if population is None:
            if not trials:
                return
            continue
        if trials:
            continue
        if len(replicas) not in warm:
            _warm_up(population, engine)
            warm.add(len(replicas))
        yield from _interval(population, replicas, engine)
        if time.monotonic() - saved_at > checkpoint_every_s:
            for replica in replicas:
                if not replica.diverged:
                    replica.checkpoint()
            saved_at = time.monotonic()


def _joined(population: Population | None, new: Sequence[Replica]) -> Population:
    rows, states = [replica.row() for replica in new], [replica.state for replica in new]
    if population is None:
        return Population.of(new[0].problem(), rows, states)
    return population.joined(rows, states)


def _begin(
    population: Population, replicas: Sequence[Replica], num_new: int, engine: Engine
) -> Iterator[Event]:
    """The last `num_new` rows' evaluations at initialization, or those before their checkpoints."""
    first = len(replicas) - num_new
    new = range(first, len(replicas))
    fresh = [position for position in new if not replicas[position].progress.evaluations]
    for position in new:
        for evaluation in list(replicas[position].progress.evaluations):
            yield Event(replicas[position].trial, evaluation)
    if fresh:
        yield from _evaluations(population.keep(fresh), [replicas[p] for p in fresh], None, engine)


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
    yield from _evaluations(population, replicas, began, engine)


def _evaluations(
    population: Population, replicas: Sequence[Replica], began: float | None, engine: Engine
) -> Iterator[Event]:
    """Evaluate every row; `began`: when the interval's training did, None at initialization."""
    readings = population.read()  # waits for the device
    seconds = None if began is None else (time.perf_counter() - began) / len(replicas)
    splits = max((replica.splits_next for replica in replicas), key=len)
    judgements = engine.judge(population, splits, replicas[0].reestimation)
    for position, replica in enumerate(replicas):
        state = population.state.row(position)
        evaluation = replica.evaluate(state, judgements[position], readings[position], seconds)
        yield Event(replica.trial, evaluation)


def _warm_up(population: Population, engine: Engine) -> None:
    """One step on a copy, thrown away: what the first step costs extra is not training time."""
    copy = population.clone()
    engine.advance(copy, 1)
    copy.read()  # waits for the device
