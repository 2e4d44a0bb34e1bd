"""From a study to its cells and trials. Pure: nothing is trained, read or written."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmark import contract
from benchmark.contract import BASELINE, CONFIRM_SEED_OFFSET, RATE_MULTIPLES
from benchmark.study.spec import StudySpec
from benchmark.variants.variant import Variant

_EXTENSION_RATES = 2  # rates that one extension adds to the grid (protocol, section 4)


@dataclass(frozen=True)
class Trial:
    """One training run: a variant at a learning rate with a seed, in a stage of a study.

    Attributes:
        study: gives everything else that the numbers depend on.
        fingerprint: of the data set's pixels, labels and splits.
        init_gain: factor on the initial weights.
        walk_rate: the learning rate that landscape probes walk at, the unnormalized variant's best; None
            where they are off or it has none.
    """

    study: StudySpec
    variant: Variant
    learning_rate: float
    seed: int
    stage: str
    fingerprint: str
    init_gain: float = 1.0
    walk_rate: float | None = None

    @property
    def name(self) -> str:
        """For people: `batch-relu lr=0.031 seed=3`."""
        gain = "" if self.init_gain == 1.0 else f" gain={self.init_gain:.3g}"
        return f"{self.variant} lr={self.learning_rate:.3g}{gain} seed={self.seed}"

    @property
    def eval_every(self) -> int:
        """Steps between evaluations."""
        budget = self.study.budget
        return budget.confirm_eval_every if self.stage == "confirm" else budget.eval_every

    @property
    def reads_test(self) -> bool:
        """Whether it is scored on the test split: only where no choice comes after it."""
        return self.stage == "confirm" or self.study.search.sampler == "fixed"

    @cached_property
    def hash(self) -> str:
        """What identifies the trial: a hash of all that determines its numbers, without names and paths."""
        study = self.study.model_dump(
            mode="json", include={"network", "optimizer", "loss", "judge", "probes"}
        )
        study["judge"].pop("rho")  # judges a study's trials against each other; no trial's own numbers
        identity = study | {
            "protocol": contract.PROTOCOL,
            "data": self.study.data.model_dump(mode="json", exclude={"root"}),
            "fingerprint": self.fingerprint,
            "num_steps": self.study.budget.num_steps,
            "batch_size": self.study.budget.batch_size,
            "eval_every": self.eval_every,
            "variant": str(self.variant),
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "stage": self.stage,
            "reads_test": self.reads_test,
            "init_gain": self.init_gain,
            "walk_rate": self.walk_rate,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ConfirmCell:
    """A cell of the confirm stage, and why it is there: `best`, `x1`, `x5`, `x30`."""

    variant: Variant
    learning_rate: float
    roles: tuple[str, ...]


def study_hash(study: StudySpec) -> str:
    """Identifies a study run: a hash of the protocol and of all but how it is executed. 8 hex digits."""
    document = study.model_dump_json(exclude={"execution": True, "description": True, "data": {"root"}})
    return hashlib.sha256((contract.PROTOCOL + document).encode()).hexdigest()[:8]


def grid(study: StudySpec) -> tuple[float, ...]:
    """The sweep's learning rates, ascending, equispaced in log10."""
    search = study.search
    return tuple(round_rate(rate) for rate in np.geomspace(search.low, search.high, search.num_rates))


def extend_grid(rates: Sequence[float], *, upwards: bool) -> tuple[float, ...]:
    """The grid with two more rates, at its own spacing, above or below."""
    ratio = (rates[-1] / rates[0]) ** (1 / (len(rates) - 1))
    if upwards:
        return (*rates, *(round_rate(rates[-1] * ratio**i) for i in range(1, _EXTENSION_RATES + 1)))
    return (*(round_rate(rates[0] / ratio**i) for i in range(_EXTENSION_RATES, 0, -1)), *rates)


def bisect_rate(stable: float, unstable: float) -> float:
    """The rate halfway between two in log10."""
    return round_rate((stable * unstable) ** 0.5)


def round_rate(rate: float) -> float:
    """A rate to 6 significant digits, so that equal rates are equal numbers and names read well."""
    return float(f"{rate:.6g}")


def sweep_seeds(study: StudySpec) -> range:
    """Seeds of sweep and refine."""
    return range(study.seeds.sweep)


def confirm_seeds(study: StudySpec) -> range:
    """Seeds of confirm: fresh ones."""
    return range(CONFIRM_SEED_OFFSET, CONFIRM_SEED_OFFSET + study.seeds.confirm)


def other_gains(study: StudySpec) -> tuple[float, ...]:
    """Init gains that the sweep has not trained."""
    return tuple(gain for gain in study.init.gains if gain != 1.0)


def cell(
    study: StudySpec, variant: Variant, rate: float, seeds: Iterable[int], stage: str, fingerprint: str
) -> list[Trial]:
    """The trials of one cell."""
    return [Trial(study, variant, rate, seed, stage, fingerprint) for seed in seeds]


def confirm_cells(study: StudySpec, best: dict[Variant, float | None]) -> list[ConfirmCell]:
    """What confirm trains, given each variant's best rate (None: it never trained).

    Each variant at its own best; and every normalized variant at 1, 5 and 30 times the best rate of the
    unnormalized variant of the same activation.
    """
    roles: dict[tuple[Variant, float], list[str]] = {}
    for variant, rate in best.items():
        if rate is not None:
            roles.setdefault((variant, rate), []).append("best")
        baseline = best.get(Variant(BASELINE, variant.activation))
        if variant.normalization != BASELINE and baseline is not None:
            for multiple in RATE_MULTIPLES:
                key = (variant, round_rate(baseline * multiple))
                roles.setdefault(key, []).append(f"x{multiple}")
    return [ConfirmCell(variant, rate, tuple(names)) for (variant, rate), names in roles.items()]


@dataclass(frozen=True)
class StageSize:
    """How many cells and trials a stage has, at most where the data decide."""

    stage: str
    num_cells: int
    num_trials: int
    is_bound: bool


def stage_sizes(study: StudySpec) -> list[StageSize]:
    """The sizes of the stages that a study has, as far as they are known before it runs."""
    num_variants = len(study.variants.product())
    sweep = StageSize(
        "sweep",
        num_variants * study.search.num_rates,
        num_variants * study.search.num_rates * study.seeds.sweep,
        is_bound=False,
    )
    if study.search.sampler == "fixed":
        return [sweep]
    num_edges = num_variants * study.seeds.sweep
    normalized = [v for v in study.variants.product() if v.normalization != BASELINE]
    has_baseline = BASELINE in study.variants.normalizations
    num_confirm = num_variants + (len(normalized) * len(RATE_MULTIPLES) if has_baseline else 0)
    refine = num_edges * study.search.num_bisections
    gains = num_variants * len(other_gains(study))
    sizes = [
        sweep,
        StageSize("refine", refine, refine, is_bound=True),
        StageSize("gains", gains, gains * study.seeds.sweep, is_bound=True),
        StageSize("confirm", num_confirm, num_confirm * study.seeds.confirm, is_bound=True),
    ]
    return [size for size in sizes if size.num_trials]
