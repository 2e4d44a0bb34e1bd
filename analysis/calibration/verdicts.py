"""Calibration: how often the verdict rule errs, and what it can see, on studies whose truth is known.

Every cell of the table simulates whole studies (`analysis.calibration.simulation`) with a family of two
activations of the same true effect, and judges each with the functions that judge real ones: `tests_of`,
`holm`, `decide`, `estimate`. Every rate stands with the 95% Wilson interval of its Monte-Carlo error.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from analysis import stats
from analysis.calibration import simulation
from analysis.calibration.simulation import CIFAR100, QUICK, SHAPES, Observer
from analysis.stats.signed_rank import Floats
from benchmark.contract import ALPHA

NUM_ACTIVATIONS = 2  # of a family, as in `cifar100`; `quick` has three
NUM_SEEDS = (6, 8, 10, 20)

FALSE_SUPPORTED, FALSE_REFUTED = "false SUPPORTED", "false REFUTED"
SUPPORTED_SHARE, REFUTED_SHARE = "share SUPPORTED", "share REFUTED"
COVERAGE_LOW, COVERAGE_HIGH = "coverage of the lower end", "coverage of the upper end"


@dataclass(frozen=True)
class Measure:
    """A deciding measure as it is simulated.

    Attributes:
        name: For the table.
        delta: Smallest effect of interest (protocol, section 9), in the measure's unit.
        spread: Standard deviation of a variant's own noise over seeds, same unit.
        effects: True effects at which power is measured.
        observe: What the measurement makes of the truth.
        split: Standard deviation of what a study's one validation set adds to the effect of all its seeds,
            same unit; 0: errors are conditional on the split, as verdicts are.
    """

    name: str
    delta: float
    spread: float
    effects: tuple[float, ...]
    observe: Observer
    split: float = 0.0


_QUICK, _CIFAR100 = simulation.max_stable_rate(QUICK), simulation.max_stable_rate(CIFAR100)
_LOG_RATIOS = tuple(float(ratio) for ratio in np.log10([1.0, 1.5, 2.0]))
MEASURES = (
    Measure("max stable rate, quick", 0.3, 0.1, (0.0, 0.5, 0.8), _QUICK),
    Measure("max stable rate, quick, wide", 0.3, 0.25, (0.0, 0.5, 0.8), _QUICK),
    Measure(
        "max stable rate, quick, narrow",
        *(0.3, 0.1, (0.0, 0.5, 0.8)),
        simulation.max_stable_rate(QUICK, band=0.45),
    ),
    Measure("max stable rate, cifar100", 0.3, 0.1, (0.0, 0.5, 0.8), _CIFAR100),
    Measure("stable band, quick", 0.3, 0.1, (0.0, 0.8, 1.6), simulation.stable_band(QUICK)),
    Measure("time to target", float(np.log10(1.2)), 0.05, _LOG_RATIOS, simulation.time_to_target),
    Measure("failure share, quick", 0.1, 0.05, (0.0, 0.2, 0.4), simulation.failure_share(8)),
    Measure("gap", 0.05, 0.03, (0.0, 0.1, 0.15), simulation.generalization_gap(0.0)),
    Measure("gap, 5% untrained", 0.05, 0.03, (0.0, 0.1, 0.15), simulation.generalization_gap(0.05)),
)
_BY_NAME = {measure.name: measure for measure in MEASURES}
UNCONDITIONAL = tuple(
    replace(_BY_NAME[name], name=f"{name}, split {split:g}", effects=(), split=split)
    for name, splits in (("time to target", (0.01, 0.02, 0.04)), ("gap", (0.005, 0.01, 0.02)))
    for split in splits
)
"""What verdicts err in where the split is drawn anew with every study: beyond what is promised."""


def run(num_studies: int, seed: int, out: Path | None) -> pd.DataFrame:
    """Simulates and judges every cell: measure x shape x number of seeds x true effect.

    Args:
        num_studies: Simulated studies per cell.
        seed: Of the whole table; each cell has a stream of its own.
        out: CSV file to write the rates to, or None.

    Returns:
        One row per rate: quantity, measure, shape, n, effect, num_studies, rate, and low, high of its
        Wilson interval. Errors are at effect = delta and count a study with any false verdict in its
        family; shares are per claim; coverage is of each end of the interval, nominally at least 0.95.
    """
    frames = []
    for index, (measure, shape, n, effect) in enumerate(_cells()):
        rng = np.random.default_rng([seed, index])
        size = (num_studies, NUM_ACTIVATIONS, n)
        reference, treated = simulation.draw_pairs(shape, effect, measure.spread, size, rng)
        if measure.split:
            treated = treated + measure.split * rng.standard_normal((*size[:2], 1))
        low, high = measure.observe(reference, treated, rng)
        rates = _rates(low, high, effect, measure.delta)
        frames.append(
            _with_interval(rates, num_studies).assign(measure=measure.name, shape=shape, n=n, effect=effect)
        )
    columns = ["quantity", "measure", "shape", "n", "effect", "num_studies", "rate", "low", "high"]
    table = pd.concat(frames, ignore_index=True)[columns]
    if out is not None:
        table.to_csv(out, index=False)
    return table


def _cells() -> Iterator[tuple[Measure, str, int, float]]:
    """Errors and coverage at delta for every shape; power for normal data."""
    for measure in MEASURES:
        for n in NUM_SEEDS:
            yield from ((measure, shape, n, measure.delta) for shape in SHAPES)
            yield from ((measure, "normal", n, effect) for effect in measure.effects)
    for measure in UNCONDITIONAL:
        yield from ((measure, "normal", n, measure.delta) for n in NUM_SEEDS)


def judge_study(low: Floats, high: Floats, delta: float) -> list[str]:
    """The outcomes of one study's family, as the claims judge it.

    Args:
        low: Least effects, [num_activations, n].
        high: Greatest effects, [num_activations, n].
        delta: Smallest effect of interest.
    """
    pvalues = [stats.tests_of(*pair, delta) for pair in zip(low, high, strict=True)]
    supported, refuted = (stats.holm(direction) for direction in zip(*pvalues, strict=True))
    return [stats.decide(*adjusted) for adjusted in zip(supported, refuted, strict=True)]


def _rates(low: Floats, high: Floats, effect: float, delta: float) -> dict[str, float]:
    """Rates of one cell: errors and coverage where the effect is delta, shares of outcomes elsewhere."""
    outcomes = np.array([judge_study(*study, delta) for study in zip(low, high, strict=True)])
    supported, refuted = outcomes == stats.SUPPORTED, outcomes == stats.REFUTED
    if effect != delta:
        # The first activation alone: independent studies, so that the Wilson interval holds.
        return {SUPPORTED_SHARE: supported[:, 0].mean(), REFUTED_SHARE: refuted[:, 0].mean()}
    estimates = [stats.estimate(*pair) for pair in zip(low[:, 0], high[:, 0], strict=True)]
    slack = 1e-9  # the effect lies on the lattice of discretized data; ends are rounded to as much
    return {
        FALSE_SUPPORTED: supported.any(axis=1).mean(),
        FALSE_REFUTED: refuted.any(axis=1).mean(),
        COVERAGE_LOW: float(np.mean([found.low <= effect + slack for found in estimates])),
        COVERAGE_HIGH: float(np.mean([found.high >= effect - slack for found in estimates])),
    }


def _with_interval(rates: dict[str, float], num_studies: int) -> pd.DataFrame:
    """One row per rate, with the Wilson interval of a share of num_studies."""
    frame = pd.DataFrame({"quantity": list(rates), "rate": list(rates.values()), "num_studies": num_studies})
    count = (frame["rate"] * num_studies).round()
    low, high = proportion_confint(count, num_studies, method="wilson")
    return frame.assign(low=low, high=high)


def excesses(table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose error is above 5% (or whose coverage is below 95%) beyond Monte-Carlo error."""
    error = table["quantity"].isin([FALSE_SUPPORTED, FALSE_REFUTED]) & (table["low"] > ALPHA)
    coverage = table["quantity"].isin([COVERAGE_LOW, COVERAGE_HIGH]) & (table["high"] < 1 - ALPHA)
    return table[error | coverage].reset_index(drop=True)


def table_markdown(table: pd.DataFrame) -> str:
    """The two tables of a calibration as Markdown: errors with coverage, and power.

    Args:
        table: What `run` returned.
    """
    num_studies, largest = table["num_studies"].iloc[0], (table["high"] - table["low"]).max() / 2
    parts = [
        f"{num_studies} studies per cell; 95% Wilson intervals of the rates are at most +-{largest:.3f}, and "
        f"narrower near 0 and 1. Bold: worse than promised beyond that error.",
        *_section(
            table,
            "Errors and coverage at effect = delta",
            (FALSE_SUPPORTED, FALSE_REFUTED, COVERAGE_LOW, COVERAGE_HIGH),
            ["measure", "shape"],
            "Share of studies with any false SUPPORTED / any false REFUTED in a family of two, promised: at "
            "most .05 each; then share of intervals whose lower / upper end is on the right side of the true "
            "effect, promised: at least .95 each. Rows with a split are not promised: each study draws its "
            "validation set anew, which shifts the effect of all its seeds by an error of that deviation.",
        ),
        *_section(
            table,
            "Power, normal data",
            (SUPPORTED_SHARE, REFUTED_SHARE),
            ["measure", "effect"],
            "Share of claims SUPPORTED / REFUTED at this true effect, corrected for the family.",
        ),
    ]
    return "\n".join(parts) + "\n"


def _section(
    table: pd.DataFrame, title: str, quantities: tuple[str, ...], keys: list[str], note: str
) -> list[str]:
    """One table: a row per combination of `keys`, a column per number of seeds, all quantities in each."""
    chosen = table[table["quantity"].isin(quantities)]
    bad = excesses(table).merge(chosen, how="inner")
    bad_keys = set(zip(bad["quantity"], *(bad[key] for key in keys), bad["n"], strict=True))
    rates = chosen.set_index(["quantity", *keys, "n"])["rate"].to_dict()

    def cell(row: tuple[object, ...], n: int) -> str:
        texts = []
        for quantity in quantities:
            where = (quantity, *row, n)
            text = f"{rates[where]:.3f}".removeprefix("0")
            texts.append(f"**{text}**" if where in bad_keys else text)
        return " / ".join(texts)

    rows = list(dict.fromkeys(zip(*(chosen[key] for key in keys), strict=True)))
    header = [*keys, *(f"n = {n}" for n in NUM_SEEDS)]
    lines = [f"\n## {title}\n", note + "\n", "| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for row in rows:
        names = [f"{key:.2f}" if isinstance(key, float) else str(key) for key in row]
        lines.append("| " + " | ".join([*names, *(cell(row, n) for n in NUM_SEEDS)]) + " |")
    return lines
