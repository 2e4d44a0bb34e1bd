"""One training run: exactly what training reads, and the hash of all of it."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

from pydantic import TypeAdapter

from benchmark import contract
from benchmark.data.augment import Augmentation
from benchmark.probes.watch import ProbesSpec
from benchmark.training.losses import Loss
from benchmark.training.optimizers import Adam, AdamW, RmsProp, Sgd
from benchmark.training.precision import Precision
from benchmark.training.schedules import Schedule
from benchmark.variants.networks import AnyNetworkSpec
from benchmark.variants.variant import Variant

Statistics = Literal["reestimated", "moving-average"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run of a variant.

    It knows no study: what a study says beyond this changes none of its numbers (`study.identity` says why,
    field by field). So trials of several studies are the same trial where these fields are.

    Attributes:
        variant: what is trained.
        learning_rate: of the optimizer, before the schedule.
        seed: of initial weights, data order, augmentation, dropout and noise.
        init_gain: factor on the drawn weights, before anything starts from data.
        walk_rate: the learning rate that landscape probes walk at, the unnormalized variant's best; None
            where they are off or it has none.
        num_steps: T, optimizer steps.
        batch_size: examples per step.
        eval_every: steps between evaluations.
        reads_test: whether it is scored on the test split: only where no choice comes after it.
        data_fingerprint: of the data set's pixels, labels, splits and preprocessing.
        augmentation: of training images.
        network: its size.
        optimizer: its rule.
        schedule: what the rate is at each step.
        loss: what it trains on and is judged by.
        statistics: which normalization statistics judged metrics use.
        probes: what is watched inside.
        precision: of training steps.
        threads: of the CPU; other counts sum in other orders, and so round otherwise.
        engine: a name in `ENGINES`; each rounds in its own way.
    """

    variant: Variant
    learning_rate: float
    seed: int
    init_gain: float = 1.0
    walk_rate: float | None = None
    num_steps: int
    batch_size: int
    eval_every: int
    reads_test: bool
    data_fingerprint: str
    augmentation: Augmentation | None
    network: AnyNetworkSpec
    optimizer: Sgd | RmsProp | Adam | AdamW
    schedule: Schedule
    loss: Loss
    statistics: Statistics
    probes: ProbesSpec
    precision: Precision
    threads: int
    engine: str

    @property
    def name(self) -> str:
        """For people: `batch-relu lr=0.031 seed=3`."""
        gain = "" if self.init_gain == 1.0 else f" gain={self.init_gain:.3g}"
        return f"{self.variant} lr={self.learning_rate:.3g}{gain} seed={self.seed}"

    @property
    def num_evaluations(self) -> int:
        """How often it is evaluated after its initialization, if it spends its budget."""
        return self.num_steps // self.eval_every

    @cached_property
    def hash(self) -> str:
        """What identifies it within one Major.Minor of the protocol: a hash of every field. 16 hex digits."""
        return _digest(self._fields)

    @cached_property
    def shared_hash(self) -> str:
        """The same of trials that can be rows of one population: they differ in `ROW_FIELDS` alone."""
        return _digest({name: value for name, value in self._fields.items() if name not in ROW_FIELDS})

    @cached_property
    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return fields


ROW_FIELDS = ("learning_rate", "seed", "init_gain", "walk_rate")
"""What replicas of one population each have of their own."""


@cache
def _adapter() -> TypeAdapter[Trial]:
    return TypeAdapter(Trial)  # takes a moment, and importing should not


def _digest(fields: dict[str, Any]) -> str:
    identity = json.dumps({"protocol": contract.PROTOCOL, **fields}, sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
