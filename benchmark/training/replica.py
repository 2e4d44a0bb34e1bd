"""One trial on its way: judged, watched inside, and remembered. Its steps are an engine's."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmark.base.registry import lookup
from benchmark.contract import DIVERGENCE_FACTOR
from benchmark.data.datasets import DeviceData, Split
from benchmark.probes.watch import Probes
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.evaluate import Score, is_trained, reestimate, score
from benchmark.training.events import CurveRow, Evaluation, Outcome
from benchmark.training.losses import loss_cap
from benchmark.training.population import Row
from benchmark.training.state import Layout, TrainState, flatten
from benchmark.training.step import BatchOrder, Problem, StreamKeys, noise_draws
from benchmark.training.trial import Trial
from benchmark.variants.data_start import start_from_data
from benchmark.variants.networks import Network, build_network, initialize
from benchmark.variants.norms import NORMALIZATIONS

INTERVAL_METRICS = ("train_loss", "train_accuracy", "gradient_norm", "examples_per_s")


@dataclass
class Progress:
    """What a trial remembers beside its training state."""

    train_seconds: float = 0.0
    probe_seconds: float = 0.0
    initial_loss: float = math.nan
    best_val_loss: float = math.inf
    best_step: int = 0
    best_tensors: dict[str, Tensor] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For a checkpoint, which holds plain data."""
        return {**vars(self), "evaluations": [vars(evaluation) for evaluation in self.evaluations]}

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Progress":
        """From a checkpoint's `document`."""
        evaluations = [Evaluation(**entry) for entry in document["evaluations"]]
        return cls(**{**document, "evaluations": evaluations})


class Replica:
    """One trial: a row of a population.

    Its network is built, initialized and brought to the device; the state is the initial one, or that of its
    checkpoint.

    Args:
        trial: what is trained.
        data: its data set, on the training device.
        checkpoints: where to keep its progress and weights.

    Attributes:
        state: its training state, until a population takes it over.
    """

    def __init__(self, trial: Trial, data: DeviceData, checkpoints: Checkpoints) -> None:
        self.trial = trial
        self.loss_cap = loss_cap(data.num_classes, trial.loss)
        self.diverged = False
        self._data = data
        self._checkpoints = checkpoints
        device = data.train.labels.device

        self.network = network_of(trial, data)
        initialize(self.network, trial.seed, trial.init_gain)
        self.network.to(device)
        start_from_data(self.network, data.reestimation.take(slice(None)), trial.init_gain)
        self._normalization = lookup(NORMALIZATIONS, trial.variant.normalization, "normalization")
        self._layout = Layout.of(self.network)
        # Whether judged metrics differ from the moving-average ones at all.
        self._rejudged = trial.statistics == "reestimated" and self._normalization.is_reestimated
        self._keys = StreamKeys.of(trial.seed, device)
        self._probes = Probes(
            trial.probes,
            self.network,
            trial.variant.activation,
            data.reestimation,
            trial.num_evaluations,
            trial.walk_rate,
            trial.loss,
            lambda num_images, at: noise_draws(self.network, num_images, self._keys.noise, at),
        )
        self._before_last_step: Tensor | None = None
        saved = checkpoints.load_progress(device)
        if saved is None:
            self.state, self.progress = self._initial_state(), Progress()
        else:
            self.state, self.progress = saved[0], Progress.read(saved[1])

    def problem(self) -> Problem:
        """What it shares with the other rows of a population."""
        return Problem(
            self.network,
            self._layout,
            self._data.train,
            self.trial.augmentation,
            self.trial.optimizer,
            self.trial.loss,
            self._normalization.clip_norm,
        )

    def row(self) -> Row:
        """What it has of its own as a row of a population."""
        rate = torch.tensor(self.trial.learning_rate, device=self._data.train.labels.device)
        order = BatchOrder(self._keys.order, len(self._data.train), self.trial.batch_size)
        return Row(self._keys, rate, order, int(self.state.step))

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to train."""
        steps = self.progress.evaluations[-1].row["step"] if self.progress.evaluations else 0
        return self.diverged or steps >= self.trial.num_steps

    @property
    def is_watched_next(self) -> bool:
        """Whether probes are due at the next evaluation: then `before_last_step` is to be told."""
        return self._probes.due(len(self.progress.evaluations))

    def before_last_step(self, state: TrainState) -> None:
        """Take note of the parameters before the last step of an interval."""
        self._before_last_step = state.parameters.clone()

    def evaluate(self, state: TrainState, sums: list[float] | None, seconds: float) -> Evaluation:
        """Judge the present weights.

        Args:
            state: its own, [P]; read only.
            sums: what the interval's steps summed up (see `Population.sums`); None at initialization.
            seconds: what the interval took to train.
        """
        self.state = state
        self.progress.train_seconds += seconds
        interval = None if sums is None else self._interval_row(sums, seconds)
        row = self._row(interval)
        steps_done = int(row["step"])
        if interval is None:
            self.progress.initial_loss = row["clean_train_loss"]
        if row["val_loss"] < self.progress.best_val_loss or interval is None:
            # Huge initial weights have no finite loss: whatever has one is better.
            found = row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf
            self.progress.best_val_loss, self.progress.best_step = found, steps_done
            self.progress.best_tensors = {name: value.clone() for name, value in self._tensors().items()}
        evaluation = Evaluation(row, self._probe(steps_done))
        self.progress.evaluations.append(evaluation)
        self.diverged = interval is not None and self._has_diverged(row)
        return evaluation

    def checkpoint(self) -> None:
        """Keep what it would need to go on from here."""
        self._checkpoints.save_progress(self.state.clone(), self.progress.document())

    def finish(self) -> Outcome:
        """Judge it, and keep its last and best weights in place of its progress."""
        outcome = self._outcome()
        last = {name: value.clone() for name, value in self._tensors().items()}
        self._checkpoints.finish(last, self.progress.best_tensors)
        return outcome

    def _initial_state(self) -> TrainState:
        parameters = flatten(self.network)
        return TrainState(
            parameters,
            self.trial.optimizer.moments(parameters),
            {name: buffer.clone() for name, buffer in self.network.named_buffers()},
            torch.zeros((), dtype=torch.int64, device=parameters.device),
        )

    def _interval_row(self, sums: list[float], seconds: float) -> CurveRow:
        every = self.trial.eval_every
        loss, accuracy, gradient_norm = (total / every for total in sums)
        speed = every * self.trial.batch_size / seconds
        return dict(zip(INTERVAL_METRICS, (loss, accuracy, gradient_norm, speed), strict=True))

    def _row(self, interval: CurveRow | None) -> CurveRow:
        tensors, data = self._tensors(), self._data
        moving = judged = self._score(tensors, data.validation, data.clean_train)
        if self._rejudged:
            judged = self._score(self._judged_tensors(), data.validation, data.clean_train)
        steps_done, batch_size = int(self.state.step), self.trial.batch_size
        row: CurveRow = {
            "step": steps_done,
            "epoch": steps_done * batch_size / len(data.train),
            "examples": steps_done * batch_size,
            "train_seconds": self.progress.train_seconds,
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
        return row

    def _has_diverged(self, row: CurveRow) -> bool:
        """Section 5: a non-finite loss or parameter, or a loss a thousand times where it began."""
        limit = DIVERGENCE_FACTOR * max(self.loss_cap, self.progress.initial_loss)
        # The judged losses too: the interval's last step is the first that its own losses do not see.
        losses = (row["train_loss"], row["val_loss"], row["clean_train_loss"])
        finite = all(map(math.isfinite, losses)) and bool(self.state.parameters.isfinite().all())
        return not finite or row["train_loss"] > limit

    def _probe(self, steps_done: int) -> list[dict[str, Any]]:
        if not self.is_watched_next:
            return []
        began = time.perf_counter()
        updates = None
        if self._before_last_step is not None:
            updates = self._layout.split(self.state.parameters - self._before_last_step)
        rows = self._probes.observe(steps_done, self._tensors(), updates)
        self.progress.probe_seconds += time.perf_counter() - began
        return rows

    def _outcome(self) -> Outcome:
        data, last = self._data, self.progress.evaluations[-1].row
        metrics = {
            "num_steps_done": last["step"],
            "num_parameters": float(self.state.parameters.numel()),
            "train_seconds": self.progress.train_seconds,
            "probe_seconds": self.progress.probe_seconds,
            "best_val_loss": best if math.isfinite(best := self.progress.best_val_loss) else self.loss_cap,
            "best_val_step": float(self.progress.best_step),
        }
        status: dict[str, str] = {}
        for suffix in ("", "_ema"):
            losses = (last[f"val_loss{suffix}"], last[f"clean_train_loss{suffix}"])
            lost = self.diverged or not all(map(math.isfinite, losses))
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
            return {"test_loss": self.loss_cap, "test_accuracy": 1 / self._data.num_classes}
        tensors = self._judged_tensors() if self._rejudged else self._tensors()
        (test,) = self._score(tensors, self._data.test)
        return {"test_loss": test.loss, "test_accuracy": test.accuracy}

    def _score(self, tensors: dict[str, Tensor], *splits: Split) -> list[Score]:
        return score(self.network, tensors, *splits, loss=self.trial.loss)

    def _judged_tensors(self) -> dict[str, Tensor]:
        return reestimate(self.network, self._tensors(), self._data.reestimation, self.trial.batch_size)

    def _tensors(self) -> dict[str, Tensor]:
        return self._layout.split(self.state.parameters) | self.state.buffers


def network_of(trial: Trial, data: DeviceData) -> Network:
    """A trial's network, its weights not yet initialized.

    Raises:
        InputError: the variant has no definition for this network, these images or this batch size.
    """
    return build_network(
        trial.network,
        trial.variant,
        data.image_shape,
        data.num_classes,
        trial.num_steps,
        trial.batch_size,
    )
