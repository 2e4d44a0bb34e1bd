"""From a study to its rates, seeds and cells. Pure: nothing is trained, read or written."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.contract import BASELINE, BEST, CONFIRM_SEED_OFFSET, RATE_MULTIPLES, role_of
from benchmark.study.spec import StudySpec
from benchmark.variants.variant import Variant

_EXTENSION_RATES = 2  # rates that one extension adds to the grid (protocol, section 4)


@dataclass(frozen=True)
class ConfirmCell:
    """A cell of the confirm stage, and why it is there: `best`, `x1`, `x5`, `x30`."""

    variant: Variant
    learning_rate: float
    roles: tuple[str, ...]


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


def bisect_rate(one: float, other: float) -> float:
    """The rate halfway between two in log10."""
    return round_rate((one * other) ** 0.5)


def round_rate(rate: float) -> float:
    """A rate to 6 significant digits, so that equal rates are equal numbers and names read well."""
    return float(f"{rate:.6g}")


def sweep_seeds(study: StudySpec) -> range:
    """Seeds of sweep and refine."""
    return range(study.seeds.first, study.seeds.first + study.seeds.sweep)


def confirm_seeds(study: StudySpec) -> range:
    """Seeds of confirm: fresh ones."""
    first = CONFIRM_SEED_OFFSET + study.seeds.first
    return range(first, first + study.seeds.confirm)


def most_alike(study: StudySpec) -> int:
    """The most trials of a variant that can train at once: the sweep's, as far as its sampler knows them."""
    search = study.search
    if search.sampler == "tpe":
        return 1 if search.pruning else study.seeds.sweep
    return search.num_rates * study.seeds.sweep


def other_gains(study: StudySpec) -> tuple[float, ...]:
    """Init gains that the sweep has not trained."""
    return tuple(gain for gain in study.init.gains if gain != 1.0)


def confirm_cells(study: StudySpec, best: dict[Variant, float | None]) -> list[ConfirmCell]:
    """What confirm trains, given each variant's best rate (None: it never trained).

    Each variant at its own best; and every normalized variant at 1, 5 and 30 times the best rate of the
    unnormalized variant of the same activation.
    """
    roles: dict[tuple[Variant, float], list[str]] = {}
    for variant, rate in best.items():
        if rate is not None:
            roles.setdefault((variant, rate), []).append(BEST)
        baseline = best.get(Variant(BASELINE, variant.activation))
        if variant.normalization != BASELINE and baseline is not None:
            for multiple in RATE_MULTIPLES:
                key = (variant, round_rate(baseline * multiple))
                roles.setdefault(key, []).append(role_of(multiple))
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
    num_edges = 2 * num_variants * study.seeds.sweep
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
