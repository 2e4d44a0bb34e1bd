"""Which executor runs a study, which engine trains each variant, and how many trials of it at once."""

import importlib.util
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmark.base.errors import InputError
from benchmark.data.datasets import DeviceData
from benchmark.execution.executor import Executor, WorkerSetup
from benchmark.execution.in_process import InProcess
from benchmark.execution.workers import Workers
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import AUTO, ENGINES, Engine
from benchmark.training.population import Population
from benchmark.training.replica import Replica
from benchmark.training.trial import Trial

_ROWS = (4, 8, 16)
_STEPS, _STEPS_OF_A_DEVICE = 2, 16  # of a measurement, on a CPU and elsewhere: steps launched ahead take less
_IMAGES = 256  # at most, that it evaluates on a CPU: of large nets a whole evaluation takes minutes there
_ROUNDS = 3  # in which the candidates take turns
_SECONDS = 20.0  # after which there is no further round
_HOPELESS = 1.5  # times the best's cost in the first round: not measured again
_TURN_S = 0.03  # that a variant steps at least in a turn of the clock that claims are judged by
_GAIN = 0.95  # of what fewer rows cost: what more must come down to, or still more are not tried


def num_workers(asked: int, threads: int, device: str) -> int:
    """Groups side by side; asked for 0: as many as the cores carry on CPU, one on an accelerator."""
    if asked:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads) if device == "cpu" else 1


def open_executor(
    setup: WorkerSetup,
    asked: int,
    threads: int = 1,
    *,
    kind: str = "local",
    address: str = "",
    note: Callable[[str], None] = lambda message: None,
) -> Executor:
    """The executor for a number of groups side by side.

    On an accelerator even a single one has a process of its own, which is replaced when its device breaks.

    Args:
        setup: what the workers need to know.
        asked: groups side by side on a device; 0: as many as it carries.
        threads: CPU threads of each.
        kind: `local`, or `ray`.
        address: of Ray's cluster; empty: one of this machine alone.
        note: is told what is worth a line.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """
    if kind == "ray":
        if importlib.util.find_spec("ray") is None:
            raise InputError('execution.executor: "ray" expects Ray, found it not installed: pip install ray')
        from benchmark.execution.on_ray import OnRay

        if not asked and not address:
            asked = num_workers(asked, threads, torch.device(setup.device).type)
        return OnRay(setup, address, asked, threads, note)
    workers = num_workers(asked, threads, torch.device(setup.device).type)
    if workers == 1 and torch.device(setup.device).type == "cpu":
        return InProcess(setup)
    return Workers(setup, workers)


@dataclass(frozen=True)
class Cost:
    """What a replica takes of a population's time, in seconds: a step, and an evaluation, probes apart."""

    step_s: float
    evaluation_s: float

    def of(self, trial: Trial) -> float:
        """What a trial takes."""
        return trial.num_steps * self.step_s + (1 + trial.num_evaluations) * self.evaluation_s


@dataclass(frozen=True)
class Choice:
    """How a variant's trials are trained.

    Attributes:
        engine: a name in `ENGINES`.
        rows: replicas at once.
        cost: as it was measured.
        tried: of every candidate, `fused x 8`, the seconds per trial, or why it cannot be had here.
        steps_s: seconds that a step of one trial takes, a number for each round in which all variants took
            turns; what the seconds to a target are counted in.
    """

    engine: str
    rows: int
    cost: Cost
    tried: Mapping[str, float | str]
    steps_s: tuple[float, ...] = ()

    def document(self) -> dict[str, Any]:
        """For the study's log."""
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Choice":
        """From a `document`."""
        return cls(
            **{**document, "cost": Cost(**document["cost"]), "steps_s": tuple(document["steps_s"])},
        )


def choose(trial: Trial, data: DeviceData, engine: str, most_rows: int) -> Choice:
    """The engine and the number of rows by which trials like this one take least time, as measured here.

    The candidates take turns; what is far behind after one turn has no other. On a CPU an evaluation is
    measured on some of its images.

    Args:
        trial: of the variant, at any rate and seed.
        data: its data set, on the training device.
        engine: a name in `ENGINES`, or `AUTO` for all of them.
        most_rows: how many trials there are to train at once.

    Raises:
        InputError: nothing that was asked for can be had here.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(trial.threads)
    try:
        return _choose(trial, data, engine, most_rows)
    finally:
        torch.set_num_threads(threads)


def _choose(trial: Trial, data: DeviceData, engine: str, most_rows: int) -> Choice:
    began = time.monotonic()
    tried: dict[str, float | str] = {}
    measures: dict[tuple[str, int], Measurement] = {}
    costs: dict[tuple[str, int], list[Cost]] = {}
    for name in ENGINES if engine == AUTO else [engine]:
        fewer = math.inf
        for rows in _rows_of(ENGINES[name], most_rows):
            try:
                measures[name, rows] = Measurement(trial, data, name, rows)
                costs[name, rows] = [measures[name, rows].cost()]
            except InputError as error:
                tried[f"{name} x {rows}"] = str(error)
                break
            except RuntimeError as error:  # no memory for so many, or a layer that cannot be had side by side
                tried[f"{name} x {rows}"] = f"{type(error).__name__}: {error}".splitlines()[0]
                break
            own = costs[name, rows][0].of(trial)
            if own > _GAIN * fewer:
                break  # more rows gain little, if anything, and of large nets their steps take long
            fewer = own
    if not costs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in tried.items())
        raise InputError(
            f"execution.engine: expected one that can train {trial.variant} here, found {reasons}"
        )
    limit = _HOPELESS * min(cost[0].of(trial) for cost in costs.values())
    hopeful = [candidate for candidate, cost in costs.items() if cost[0].of(trial) <= limit]
    for _ in range(_ROUNDS - 1):
        if time.monotonic() - began > _SECONDS:
            break
        for candidate in hopeful:
            costs[candidate].append(measures[candidate].cost())
    medians = {
        candidate: Cost(median(c.step_s for c in cost), median(c.evaluation_s for c in cost))
        for candidate, cost in costs.items()
    }
    tried |= {f"{name} x {rows}": cost.of(trial) for (name, rows), cost in medians.items()}
    chosen = min(hopeful, key=lambda candidate: medians[candidate].of(trial))
    return Choice(*chosen, medians[chosen], tried)


def _rows_of(engine: Engine, most: int) -> list[int]:
    """How many rows of an engine are worth a try: one, or several where it takes them."""
    several = [rows for rows in _ROWS if rows <= min(engine.max_rows, most)]
    return several or [1]


def time_steps(
    choices: Mapping[Trial, Choice], data: DeviceData, rounds: int
) -> dict[Trial, tuple[float, ...]]:
    """Seconds that a step of one trial takes, in rounds in which all of them take turns.

    All are timed on equal terms, with the engine and the rows that most of them are trained with: near ties
    are decided by chance, and would move the ratios. What cannot be had so is timed as it is trained.

    Times that trials note while a study runs also hold what ran beside them: their first intervals above
    all, while the runner writes what has just ended. Here nothing else of the study runs, and what else the
    machine does meets neighbours in a round alike.

    Args:
        choices: how trials like these, one of each variant, are trained.
        data: their data set, on the training device.
        rounds: how many times each is measured.
    """
    threads = torch.get_num_threads()
    try:
        terms = Counter((choice.engine, choice.rows) for choice in choices.values())
        (engine, rows), _ = terms.most_common(1)[0]
        clocks = {
            trial: _stepping(trial, data, (engine, rows), (own.engine, own.rows))
            for trial, own in choices.items()
        }
        taken: dict[Trial, list[float]] = {trial: [] for trial in choices}
        for _ in range(rounds):
            for trial, (measured, num_steps) in clocks.items():
                torch.set_num_threads(trial.threads)
                taken[trial].append(measured.step_s(num_steps))
        return {trial: tuple(seconds) for trial, seconds in taken.items()}
    finally:
        torch.set_num_threads(threads)


def _stepping(
    trial: Trial, data: DeviceData, common: tuple[str, int], own: tuple[str, int]
) -> tuple["Measurement", int]:
    """What steps the trial by the common engine and rows, or else its own, and how many steps make a turn."""
    torch.set_num_threads(trial.threads)
    try:
        (_, rows), measured = common, Measurement(trial, data, *common)
    except (InputError, RuntimeError):
        (_, rows), measured = own, Measurement(trial, data, *own)
    of_population = rows * measured.step_s(measured.num_steps)
    return measured, max(measured.num_steps, math.ceil(_TURN_S / of_population))


class Measurement:
    """Measures the cost of a trial among `rows` of them.

    Attributes:
        num_steps: of one measurement.
    """

    def __init__(self, trial: Trial, data: DeviceData, engine: str, rows: int) -> None:
        """Build the population, and take its first step.

        Raises:
            InputError: the engine cannot run here.
        """
        self._trainer, self._rows = ENGINES[engine], rows
        self._trainer.check(data.train.labels.device, trial.threads)
        with tempfile.TemporaryDirectory() as folder:
            replicas = [
                Replica(replace(trial, seed=trial.seed + row, engine=engine), data, Checkpoints(Path(folder)))
                for row in range(rows)
            ]
        states = [replica.state for replica in replicas]
        self._population = Population.of(
            replicas[0].problem(), [replica.row() for replica in replicas], states
        )
        splits, reestimation = replicas[0].splits_next, replicas[0].reestimation
        # Judged by its own statistics and by moving averages; what those are estimated on costs about as
        # much.
        judged = sum(map(len, splits))
        self._num_images = judged if reestimation is None else 2 * judged + len(reestimation)
        on_cpu = splits[0].images.device.type == "cpu"
        self._sample = splits[0].first(_IMAGES) if on_cpu else splits[0]
        self.num_steps = _STEPS if on_cpu else _STEPS_OF_A_DEVICE
        self._start = self._population.state.clone()
        self._trainer.advance(self._population, 1)

    def step_s(self, num_steps: int) -> float:
        """Seconds of a replica's step, from initial weights: one that diverges takes another time."""
        self._population.state.copy_(self._start)
        self._population.read()
        began = time.perf_counter()
        self._trainer.advance(self._population, num_steps)
        self._population.read()  # waits for the device
        return (time.perf_counter() - began) / num_steps / self._rows

    def cost(self) -> Cost:
        """Of a step, and of an evaluation."""
        step_s = self.step_s(self.num_steps)
        began = time.perf_counter()
        self._trainer.judge(self._population, [self._sample], None)
        image_s = (time.perf_counter() - began) / len(self._sample) / self._rows
        return Cost(step_s, image_s * self._num_images)
