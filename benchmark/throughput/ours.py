"""The suite's engines, through their seam: all that this room knows of how training is set up."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmark.base.registry import lookup
from benchmark.data.datasets import DeviceData
from benchmark.execution.choice import choose
from benchmark.study.spec import StudySpec
from benchmark.throughput.ceilings import Operations
from benchmark.throughput.nets import trials_of
from benchmark.throughput.timing import Took, timed
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import AUTO, ENGINES, Engine
from benchmark.training.events import Evaluation, Outcome
from benchmark.training.loop import train
from benchmark.training.population import Population
from benchmark.training.replica import Replica

_TRIAL_STEPS = 20  # at least, of a trial that is measured in part


class Ours:
    """An engine that trains a population.

    Args:
        study: what it trains.
        normalization: by name.
        data: on the training device.
        engine: a name of `ENGINES`.
        replicas: rows of the population.

    Attributes:
        num_images: of a step, all replicas together.
        launches: operators that one step launches from the host.

    Raises:
        InputError: the engine cannot train this here.
    """

    launches: float | None

    def __init__(
        self, study: StudySpec, normalization: str, data: DeviceData, engine: str, replicas: int
    ) -> None:
        self.num_images = replicas * study.budget.batch_size
        self._engine = _engine(engine, data)
        trials = trials_of(study, normalization, replicas, torch.get_num_threads(), engine)
        with tempfile.TemporaryDirectory() as folder:
            members = [Replica(trial, data, Checkpoints(Path(folder) / trial.hash)) for trial in trials]
        self._population = Population.of(
            members[0].problem(), [member.row() for member in members], [member.state for member in members]
        )
        self.measure(1)  # what an engine prepares is no operator of its steps
        with Operations() as operations:
            self.measure(1)
        self.launches = float(operations.count)

    def measure(self, num_steps: int) -> Took:
        """Train so many steps, and wait for them."""

        def work() -> None:
            self._engine.advance(self._population, num_steps)
            self._population.read()  # waits for the device

        return timed(work)


@dataclass(frozen=True)
class TrialTook:
    """Seconds of a replica's parts of a confirm trial: shares of what its population takes.

    Attributes:
        step: of an optimizer step.
        evaluation: of an evaluation, without probes.
        num_steps, num_evaluations: of the whole trial.
    """

    step: float
    evaluation: float
    num_steps: int
    num_evaluations: int

    @property
    def whole(self) -> float:
        """Of all of it."""
        return self.num_steps * self.step + self.num_evaluations * self.evaluation

    @property
    def evaluation_share(self) -> float:
        """Of all evaluations."""
        return 1 - self.num_steps * self.step / self.whole


def measure_trial(
    study: StudySpec, normalization: str, data: DeviceData, engine: str, replicas: int
) -> TrialTook:
    """Time confirm trials, as a worker trains them: a few intervals, of which the whole is composed.

    Probes are off, which are read at some evaluations alone, and so is the reading of the test split at the
    end: a hundredth of all that is evaluated, but half of what is measured here.

    Raises:
        InputError: the engine cannot train this here.
    """
    trainer = _engine(engine, data)
    whole = trials_of(study, normalization, replicas, torch.get_num_threads(), engine)
    every = min(whole[0].eval_every, _TRIAL_STEPS)
    num_intervals = -(-_TRIAL_STEPS // every)
    quiet = whole[0].probes.model_copy(update={"enabled": ()})
    parts = [
        replace(trial, num_steps=every * num_intervals, eval_every=every, probes=quiet, reads_test=False)
        for trial in whole
    ]
    marks: list[float] = []
    trained = 0.0
    with tempfile.TemporaryDirectory() as folder:
        events = train(parts, data, lambda trial: Checkpoints(Path(folder) / trial.hash), engine=trainer)
        for event in events:
            if isinstance(event.content, Evaluation):
                marks.append(time.perf_counter())
                if event.content.row["step"] == parts[0].num_steps:
                    trained += event.content.row["train_seconds"]
            else:
                assert isinstance(event.content, Outcome)
    step = trained / (replicas * parts[0].num_steps)
    # From the last row's first evaluation to its last, but for the steps; one more warms up.
    spent = marks[-1] - marks[replicas - 1] - trained - replicas * step
    evaluation = max(spent, 0.0) / (replicas * num_intervals)
    return TrialTook(step, evaluation, whole[0].num_steps, 1 + whole[0].num_evaluations)


def chosen(study: StudySpec, normalization: str, data: DeviceData, most_replicas: int) -> tuple[str, int]:
    """What `engine = "auto"` takes for such trials, where so many wait: (engine, replicas)."""
    (trial,) = trials_of(study, normalization, 1, torch.get_num_threads())
    choice = choose(trial, data, AUTO, most_replicas)
    return choice.engine, choice.rows


def _engine(name: str, data: DeviceData) -> Engine:
    engine = lookup(ENGINES, name, "engine")
    engine.check(data.train.labels.device, torch.get_num_threads())
    return engine
