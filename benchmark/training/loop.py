"""One trial, from its initial weights to its outcome, as a stream of evaluations."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmark.base.registry import lookup
from benchmark.contract import DIVERGENCE_FACTOR
from benchmark.data.datasets import DeviceData, Split
from benchmark.probes.watch import Probes
from benchmark.study.plan import Trial
from benchmark.study.spec import StudySpec
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.evaluate import Score, is_trained, reestimate, score
from benchmark.training.losses import loss_cap
from benchmark.training.state import Layout, TrainState, flatten
from benchmark.training.step import BatchOrder, Keys, Problem, noise_draws, step
from benchmark.variants.data_start import start_from_data
from benchmark.variants.networks import Network, build_network, initialize
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

Row = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation saw.

    Attributes:
        row: a row of the trial's curves; the columns are `metrics.CURVE_METRICS`.
        probes: rows (step, probe, layer, index, value) of what was watched inside.
    """

    row: Row
    probes: list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: `trained`, `stuck` or `diverged`, by the judged metrics.
        status_ema: the same by moving-average statistics.
        metrics: final metrics by name; a diverged trial's loss counts as the loss cap, its accuracy as 1/K.
    """

    status: str
    status_ema: str
    metrics: dict[str, float]


@dataclass
class _Progress:
    """What the loop itself remembers, beside the training state."""

    train_seconds: float = 0.0
    probe_seconds: float = 0.0
    initial_loss: float = math.nan
    best_val_loss: float = math.inf
    best_step: int = 0
    best_tensors: dict[str, Tensor] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)


class TrialLoop:
    """Trains one trial.

    Args:
        trial: what to train.
        data: its data set, on the training device.
        checkpoints: where to keep its progress and weights.
        checkpoint_every_s: seconds between checkpoints of progress.
    """

    def __init__(
        self, trial: Trial, data: DeviceData, checkpoints: Checkpoints, checkpoint_every_s: float = 30.0
    ) -> None:
        study = trial.study
        self.trial = trial
        self.data = data
        self.device = data.train.labels.device
        self.loss_cap = loss_cap(data.num_classes, study.loss)
        self._checkpoints = checkpoints
        self._checkpoint_every_s = checkpoint_every_s

        self.network = _network(study, trial.variant, data)
        initialize(self.network, trial.seed, trial.init_gain)
        self.network.to(self.device)
        start_from_data(self.network, data.reestimation.take(slice(None)), trial.init_gain)
        normalization = lookup(NORMALIZATIONS, trial.variant.normalization, "normalization")
        self.problem = Problem(
            self.network,
            Layout.of(self.network),
            data.train,
            study.data.augmentation,
            study.optimizer,
            study.loss,
            normalization.clip_norm,
        )
        # Whether judged metrics differ from the moving-average ones at all.
        self._rejudged = study.judge.statistics == "reestimated" and normalization.is_reestimated
        self.keys = Keys.of(trial.seed, self.device)
        self.lr = torch.tensor(trial.learning_rate, device=self.device)
        self._order = BatchOrder(self.keys.order, len(data.train), study.budget.batch_size)
        self._probes = Probes(
            study.probes,
            self.network,
            trial.variant.activation,
            data.reestimation,
            num_evaluations(trial),
            trial.walk_rate,
            study.loss,
            lambda num_images, at: noise_draws(self.network, num_images, self.keys.noise, at),
        )
        self._before_last_step: Tensor | None = None

        saved = checkpoints.load_progress(self.device)
        if saved is None:
            self.state, self._progress = self._initial_state(), _Progress()
        else:
            self.state, progress = saved
            evaluations = [Evaluation(**entry) for entry in progress.pop("evaluations")]
            self._progress = _Progress(**progress, evaluations=evaluations)

    def run(self) -> Iterator[Evaluation | Outcome]:
        """Yield an evaluation at initialization and after every interval, then the outcome.

        A resumed trial first yields again what it had yielded before its checkpoint.
        """
        budget = self.trial.study.budget
        every = self.trial.eval_every
        yield from list(self._progress.evaluations)
        if not self._progress.evaluations:
            yield self._evaluate(None)
        self._warm_up()
        saved_at = time.monotonic()
        diverged = False
        while (
            start := round(self._progress.evaluations[-1].row["step"])
        ) < budget.num_steps and not diverged:
            sums, seconds = self._train_interval(start, every)
            self._progress.train_seconds += seconds
            evaluation = self._evaluate(_interval_row(sums, seconds, every, budget.batch_size))
            diverged = self._has_diverged(evaluation.row)
            yield evaluation
            if time.monotonic() - saved_at > self._checkpoint_every_s and not diverged:
                self._checkpoints.save_progress(self.state, self._progress_document())
                saved_at = time.monotonic()
        outcome = self._outcome(diverged)
        self._checkpoints.finish(self._tensors(), self._progress.best_tensors)
        yield outcome

    def _initial_state(self) -> TrainState:
        parameters = flatten(self.network)
        return TrainState(
            parameters,
            self.problem.optimizer.moments(parameters),
            {name: buffer.clone() for name, buffer in self.network.named_buffers()},
            torch.zeros((), dtype=torch.int64, device=self.device),
        )

    def _warm_up(self) -> None:
        """One step on a copy, thrown away: what the first step costs extra is not training time."""
        step(self.problem, self.state.clone(), self._order.batches(0, 1)[0], self.keys, self.lr)
        self._synchronize()

    def _train_interval(self, start: int, num_steps: int) -> tuple[list[float], float]:
        """Train, without waiting for the device until the end; sums of the steps' metrics, and seconds."""
        began = time.perf_counter()
        sums = torch.zeros(3, device=self.device)
        watched = self._probes.due(len(self._progress.evaluations))
        for position, index in enumerate(self._order.batches(start, num_steps)):
            if watched and position == num_steps - 1:
                self._before_last_step = self.state.parameters.clone()
            sums += step(self.problem, self.state, index, self.keys, self.lr)
        totals: list[float] = sums.tolist()  # waits for the device
        return totals, time.perf_counter() - began

    def _has_diverged(self, row: Row) -> bool:
        """Section 5: a non-finite loss or parameter, or a loss a thousand times where it began."""
        limit = DIVERGENCE_FACTOR * max(self.loss_cap, self._progress.initial_loss)
        # The judged losses too: the interval's last step is the first that its own losses do not see.
        losses = (row["train_loss"], row["val_loss"], row["clean_train_loss"])
        finite = all(map(math.isfinite, losses)) and bool(self.state.parameters.isfinite().all())
        return not finite or row["train_loss"] > limit

    def _evaluate(self, interval: Row | None) -> Evaluation:
        """Judge the present weights; `interval`: what the training before it measured, None at the start."""
        tensors, data = self._tensors(), self.data
        moving = judged = self._score(tensors, data.validation, data.clean_train)
        if self._rejudged:
            judged = self._score(self._judged_tensors(), data.validation, data.clean_train)
        steps_done = int(self.state.step)
        batch_size = self.trial.study.budget.batch_size
        row: Row = {
            "step": steps_done,
            "epoch": steps_done * batch_size / len(data.train),
            "examples": steps_done * batch_size,
            "train_seconds": self._progress.train_seconds,
            "learning_rate": self.trial.learning_rate,
            **(interval or dict.fromkeys(INTERVAL_METRICS, math.nan)),
            "parameter_norm": float(torch.linalg.vector_norm(self.state.parameters)),
        }
        for suffix, (validation, clean_train) in (("", judged), ("_ema", moving)):
            row |= {
                f"val_loss{suffix}": validation.loss,
                f"val_accuracy{suffix}": validation.accuracy,
                f"clean_train_loss{suffix}": clean_train.loss,
                f"clean_train_accuracy{suffix}": clean_train.accuracy,
            }
        if interval is None:
            self._progress.initial_loss = row["clean_train_loss"]
        if row["val_loss"] < self._progress.best_val_loss or interval is None:
            self._progress.best_val_loss, self._progress.best_step = row["val_loss"], steps_done
            self._progress.best_tensors = {name: value.clone() for name, value in tensors.items()}
        evaluation = Evaluation(row, self._probe(steps_done))
        self._progress.evaluations.append(evaluation)
        return evaluation

    def _probe(self, steps_done: int) -> list[dict[str, Any]]:
        if not self._probes.due(len(self._progress.evaluations)):
            return []
        began = time.perf_counter()
        updates = None
        if self._before_last_step is not None:
            updates = self.problem.layout.split(self.state.parameters - self._before_last_step)
        rows = self._probes.observe(steps_done, self._tensors(), updates)
        self._progress.probe_seconds += time.perf_counter() - began
        return rows

    def _outcome(self, diverged: bool) -> Outcome:
        data, last = self.data, self._progress.evaluations[-1].row
        metrics = {
            "num_steps_done": last["step"],
            "num_parameters": float(self.state.parameters.numel()),
            "train_seconds": self._progress.train_seconds,
            "probe_seconds": self._progress.probe_seconds,
            "best_val_loss": self._progress.best_val_loss,
            "best_val_step": float(self._progress.best_step),
        }
        status: dict[str, str] = {}
        for suffix in ("", "_ema"):
            losses = (last[f"val_loss{suffix}"], last[f"clean_train_loss{suffix}"])
            lost = diverged or not all(map(math.isfinite, losses))
            for split in ("val", "clean_train"):
                counted = (self.loss_cap, 1 / data.num_classes)
                measured = (last[f"{split}_loss{suffix}"], last[f"{split}_accuracy{suffix}"])
                loss, accuracy = counted if lost else measured
                metrics[f"final_{split}_loss{suffix}"] = loss
                metrics[f"final_{split}_accuracy{suffix}"] = accuracy
            trained = is_trained(
                metrics[f"final_val_accuracy{suffix}"], len(data.validation), data.num_classes
            )
            status[suffix] = "diverged" if lost else "trained" if trained else "stuck"
        if self.trial.reads_test:
            metrics |= self._test_metrics(status[""] == "diverged")
        return Outcome(status[""], status["_ema"], metrics)

    def _test_metrics(self, diverged: bool) -> dict[str, float]:
        """The test split, read once per trial, after every choice is made."""
        if diverged:
            return {"test_loss": self.loss_cap, "test_accuracy": 1 / self.data.num_classes}
        tensors = self._judged_tensors() if self._rejudged else self._tensors()
        (test,) = self._score(tensors, self.data.test)
        return {"test_loss": test.loss, "test_accuracy": test.accuracy}

    def _score(self, tensors: dict[str, Tensor], *splits: Split) -> list[Score]:
        return score(self.network, tensors, *splits, loss=self.problem.loss)

    def _judged_tensors(self) -> dict[str, Tensor]:
        batch_size = self.trial.study.budget.batch_size
        return reestimate(self.network, self._tensors(), self.data.reestimation, batch_size)

    def _tensors(self) -> dict[str, Tensor]:
        return self.problem.layout.split(self.state.parameters) | self.state.buffers

    def _progress_document(self) -> dict[str, Any]:
        document = vars(self._progress).copy()
        document["evaluations"] = [vars(evaluation) for evaluation in self._progress.evaluations]
        return document

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


INTERVAL_METRICS = ("train_loss", "train_accuracy", "gradient_norm", "examples_per_s")


def check_networks(study: StudySpec, data: DeviceData) -> None:
    """Build every variant's network once, before any trial is started.

    Raises:
        InputError: one has no definition for this network, these images or this batch size.
    """
    for variant in study.variants.product():
        _network(study, variant, data)


def _network(study: StudySpec, variant: Variant, data: DeviceData) -> Network:
    budget = study.budget
    return build_network(
        study.network, variant, data.image_shape, data.num_classes, budget.num_steps, budget.batch_size
    )


def num_evaluations(trial: Trial) -> int:
    """How often a trial that spends its budget is evaluated after its initialization."""
    return trial.study.budget.num_steps // trial.eval_every


def _interval_row(sums: list[float], seconds: float, num_steps: int, batch_size: int) -> Row:
    loss, accuracy, gradient_norm = (total / num_steps for total in sums)
    return dict(
        zip(INTERVAL_METRICS, (loss, accuracy, gradient_norm, num_steps * batch_size / seconds), strict=True)
    )
