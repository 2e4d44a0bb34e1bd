"""One trial on its way: judged, watched inside, and remembered. Its steps are an engine's."""

import math
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor

from benchmark.base.registry import lookup
from benchmark.contract import CURVE_METRICS, DIVERGENCE_FACTOR
from benchmark.data.datasets import DeviceData, Split
from benchmark.probes.watch import Probes
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.evaluate import Judgement, is_trained
from benchmark.training.events import CurveRow, Evaluation, Outcome
from benchmark.training.losses import loss_cap
from benchmark.training.population import Reading, Row
from benchmark.training.schedules import factors_on
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

    __pydantic_config__: ClassVar = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    train_seconds: float = 0.0
    probe_seconds: float = 0.0
    initial_loss: float = math.nan
    best_val_loss: float = math.inf
    best_step: int = 0
    best_parameters: Tensor | None = None
    best_buffers: dict[str, Tensor] = field(default_factory=dict)
    test: list[float] | None = None
    evaluations: list[Evaluation] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For a checkpoint, which holds plain data."""
        return {**vars(self), "evaluations": [vars(evaluation) for evaluation in self.evaluations]}

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Progress":
        """From a checkpoint's `document`.

        Raises:
            ValueError: it is of another form.
        """
        progress = _PROGRESS.validate_python(document)
        if set(document) != set(vars(progress)):
            raise ValueError(f"its progress lacks {', '.join(set(vars(progress)) - set(document))}")
        if any(set(evaluation.row) != set(CURVE_METRICS) for evaluation in progress.evaluations):
            raise ValueError("a row of its curves has other columns")
        return progress


_PROGRESS = TypeAdapter(Progress)


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
        start_from_data(self.network, data.reestimation.take(slice(None)))
        self._normalization = lookup(NORMALIZATIONS, trial.variant.normalization, "normalization")
        self._layout = Layout.of(self.network)
        self._keys = StreamKeys.of(trial.seed, device)
        self._probes = Probes(
            trial.probes,
            self.network,
            trial.variant.activation,
            data.reestimation,
            trial.num_evaluations,
            trial.walk_rate,
            trial.learning_rate,
            trial.loss,
            lambda num_images, at: noise_draws(self.network, num_images, self._keys.noise, at),
        )
        self._before_last_step: Tensor | None = None
        self.state, self.progress = self._initial_state(), Progress()
        if (saved := checkpoints.load_progress(device, self._saved)) is not None:
            self.state, self.progress = saved

    def problem(self) -> Problem:
        """What it shares with the other rows of a population."""
        return Problem(
            self.network,
            self._layout,
            self._data.train,
            self.trial.batch_size,
            self.trial.augmentation,
            self.trial.optimizer,
            self.trial.loss,
            self._normalization.clip_norm,
            self.trial.precision,
            self._normalization.unit_clip,
            factors_on(self.trial.schedule, self.trial.num_steps, self._data.train.labels.device),
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

    @property
    def reestimation(self) -> Split | None:
        """What its statistics are re-estimated on; None where moving averages judge it, or it has none."""
        rejudged = self.trial.statistics == "reestimated" and self._normalization.is_reestimated
        return self._data.reestimation if rejudged else None

    @property
    def splits_next(self) -> tuple[Split, ...]:
        """What the next evaluation is on: validation, clean training; where it is the last, test.

        Test is read once per trial, after every choice is made.
        """
        data = self._data
        last = len(self.progress.evaluations) == self.trial.num_evaluations
        reads_test = last and self.trial.reads_test and data.test is not data.validation
        return (data.validation, data.clean_train, *([data.test] if reads_test else []))

    def before_last_step(self, state: TrainState) -> None:
        """Take note of the parameters before the last step of an interval."""
        self._before_last_step = state.parameters.clone()

    def evaluate(
        self, state: TrainState, judgement: Judgement, reading: Reading, seconds: float | None
    ) -> Evaluation:
        """Take note of how the present weights do.

        Args:
            state: its own, [P]; read only.
            judgement: on `splits_next`, or on those and more.
            reading: what the population says of it.
            seconds: what the interval took to train; None at initialization.
        """
        self.state = state
        self.progress.train_seconds += seconds or 0.0
        row = self._row(judgement, reading, seconds)
        steps_done = int(row["step"])
        if seconds is None:
            self.progress.initial_loss = row["clean_train_loss"]
        if row["val_loss"] < self.progress.best_val_loss or seconds is None:
            # Huge initial weights have no finite loss: whatever has one is better.
            found = row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf
            self.progress.best_val_loss, self.progress.best_step = found, steps_done
            self.progress.best_parameters = state.parameters.clone()
            self.progress.best_buffers = {name: value.clone() for name, value in state.buffers.items()}
        if self.trial.reads_test and len(self.progress.evaluations) == self.trial.num_evaluations:
            validation, _, *test = judgement.judged
            score = test[0] if test else validation  # under validation = "test" they are one split
            self.progress.test = [score.loss, score.accuracy]
        evaluation = Evaluation(row, self._probe(steps_done))
        self.progress.evaluations.append(evaluation)
        self.diverged = seconds is not None and self._has_diverged(row, reading)
        return evaluation

    def checkpoint(self) -> None:
        """Keep what it would need to go on from here."""
        self._checkpoints.save_progress(self.state.clone(), self.progress.document())

    def finish(self) -> Outcome:
        """Judge it, and keep its last and best weights in place of its progress."""
        outcome = self._outcome()
        last = {name: value.clone() for name, value in self._tensors().items()}
        assert self.progress.best_parameters is not None  # since its initialization
        best = self._layout.split(self.progress.best_parameters) | self.progress.best_buffers
        self._checkpoints.finish(last, best)
        return outcome

    def _saved(self, document: dict[str, Any]) -> tuple[TrainState, Progress]:
        """State and progress of a checkpoint.

        Raises:
            KeyError, TypeError, ValueError: it is of another form.
        """
        state = TrainState(**document["state"])
        if not state.fits(self.state):
            raise ValueError("its state is another network's")
        return state, Progress.read(document["progress"])

    def _initial_state(self) -> TrainState:
        parameters = flatten(self.network)
        return TrainState(
            parameters,
            self.trial.optimizer.moments(parameters),
            {name: buffer.clone() for name, buffer in self.network.named_buffers()},
            torch.zeros((), dtype=torch.int64, device=parameters.device),
        )

    def _row(self, judgement: Judgement, reading: Reading, seconds: float | None) -> CurveRow:
        every, batch_size = self.trial.eval_every, self.trial.batch_size
        steps_done = len(self.progress.evaluations) * every
        interval = dict.fromkeys(INTERVAL_METRICS, math.nan)
        if seconds is not None:
            means = (total / every for total in (reading.loss, reading.accuracy, reading.gradient_norm))
            interval = dict(zip(INTERVAL_METRICS, (*means, every * batch_size / seconds), strict=True))
        row: CurveRow = {
            "step": steps_done,
            "epoch": steps_done * batch_size / len(self._data.train),
            "examples": steps_done * batch_size,
            "train_seconds": self.progress.train_seconds,
            "learning_rate": self.trial.learning_rate,
            **interval,
            "parameter_norm": reading.parameter_norm,
        }
        for suffix, found in (("", judgement.judged), ("_ema", judgement.moving)):
            validation, clean_train = found[:2]
            row |= {
                f"val_loss{suffix}": validation.loss,
                f"val_accuracy{suffix}": validation.accuracy,
                f"clean_train_loss{suffix}": clean_train.loss,
                f"clean_train_accuracy{suffix}": clean_train.accuracy,
            }
        return row

    def _has_diverged(self, row: CurveRow, reading: Reading) -> bool:
        """Section 5: a non-finite loss or parameter, or a loss a thousand times where it began."""
        limit = DIVERGENCE_FACTOR * max(self.loss_cap, self.progress.initial_loss)
        # The judged losses too: the interval's last step is the first that its own losses do not see.
        losses = (row["train_loss"], row["val_loss"], row["clean_train_loss"])
        return not (reading.is_finite and all(map(math.isfinite, losses))) or row["train_loss"] > limit

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
        if diverged:
            return {"test_loss": self.loss_cap, "test_accuracy": 1 / self._data.num_classes}
        assert self.progress.test is not None  # since its last evaluation
        loss, accuracy = self.progress.test
        return {"test_loss": loss, "test_accuracy": accuracy}

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
