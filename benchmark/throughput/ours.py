"""The suite's engines, through their seam: all that this room knows of how training is set up."""

import contextlib
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmark.base.registry import lookup
from benchmark.data.datasets import DeviceData
from benchmark.study.spec import StudySpec
from benchmark.throughput.ceilings import Operations
from benchmark.throughput.nets import trials_of
from benchmark.throughput.timing import Took, timed
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import ENGINES
from benchmark.training.events import Evaluation, Outcome
from benchmark.training.loop import train
from benchmark.training.population import Population
from benchmark.training.replica import Replica
from benchmark.training.trial import Trial

_COUNTED_STEPS = 2
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
        self._engine = lookup(ENGINES, engine, "engine")
        self._population = _population(
            trials_of(study, normalization, replicas, torch.get_num_threads()), data
        )
        self.measure(1)  # what an engine prepares is no operator of its steps
        with Operations() as operations:
            self.measure(_COUNTED_STEPS)
        self.launches = operations.count / _COUNTED_STEPS

    def measure(self, num_steps: int) -> Took:
        """Train so many steps, and wait for them."""

        def work() -> None:
            self._engine.advance(self._population, num_steps)
            self._population.take_sums()

        return timed(work)


def _population(trials: list[Trial], data: DeviceData) -> Population:
    """What `training.loop.train` makes of trials: the one place here that knows it."""
    with tempfile.TemporaryDirectory() as folder:
        replicas = [Replica(trial, data, Checkpoints(Path(folder) / trial.hash)) for trial in trials]
    rows, states = [replica.row() for replica in replicas], [replica.state for replica in replicas]
    return Population.of(replicas[0].problem(), rows, states)


@dataclass(frozen=True)
class TrialTook:
    """Seconds of the parts of a confirm trial.

    Attributes:
        step: of an optimizer step.
        evaluation: of an evaluation, without probes.
        test: of the reading of the test split, with what ends a trial.
        num_steps, num_evaluations: of the whole trial.
    """

    step: float
    evaluation: float
    test: float
    num_steps: int
    num_evaluations: int

    @property
    def whole(self) -> float:
        """Of all of it."""
        return self.num_steps * self.step + self.num_evaluations * self.evaluation + self.test

    @property
    def evaluation_share(self) -> float:
        """Of the evaluations, the test split's included."""
        return 1 - self.num_steps * self.step / self.whole


def measure_trial(study: StudySpec, normalization: str, data: DeviceData, engine: str) -> TrialTook:
    """Time a confirm trial of the study: a few intervals of it, from which its whole budget is composed.

    Probes are off: they are read at some evaluations alone.
    """
    (whole,) = trials_of(study, normalization, 1, torch.get_num_threads())
    every = min(whole.eval_every, _TRIAL_STEPS)
    part = replace(
        whole,
        num_steps=every * -(-_TRIAL_STEPS // every),
        eval_every=every,
        probes=whole.probes.model_copy(update={"enabled": ()}),
    )
    taken_by = lookup(ENGINES, engine, "engine")
    marks, rows = [time.perf_counter()], []
    with tempfile.TemporaryDirectory() as folder:
        events = train([part], data, lambda trial: Checkpoints(Path(folder)), taken_by)
        with contextlib.closing(events):  # type: ignore[type-var]
            for event in events:
                marks.append(time.perf_counter())
                if isinstance(event.content, Evaluation):
                    rows.append(event.content.row)
                assert isinstance(event.content, Evaluation | Outcome)
    trained = rows[-1]["train_seconds"]
    step = trained / part.num_steps
    # The time until the last evaluation, but for the steps and the one that warms up.
    evaluation = max(marks[-2] - marks[0] - trained - step, 0.0) / len(rows)
    test = marks[-1] - marks[-2]
    return TrialTook(step, evaluation, test, whole.num_steps, 1 + whole.num_evaluations)
