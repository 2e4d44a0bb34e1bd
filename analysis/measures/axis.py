"""Measures along the axis of a study: how each variant does at each of its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.family import Family, position_of
from analysis.measures import select
from analysis.measures.rates import max_stable_rate
from analysis.results import Results
from analysis.stats import bootstrap_interval, estimate, holm, median_value, tests_of

DECADE = 10.0
"""Values that span more stand on a logarithmic axis."""

VALUE_COLUMNS = ["position", "value", "x"]


def axis_errors(family: Family) -> pd.DataFrame:
    """Per value, variant and confirm seed, the final validation error at the variant's own best rate.

    Returns:
        frame with columns position, value (its name), x (where it stands, see `axis_places`), variant,
        activation, seed, error (1 - judged accuracy; a diverged trial counts as chance), error_ema (the
        same by the moving averages of normalization statistics).
    """
    pieces = []
    for member in family.members:
        for variant in member.variants:
            trials = select.confirm_trials(member, variant)
            errors = pd.DataFrame(
                {
                    "seed": trials["seed"],
                    "error": 1 - trials["final_val_accuracy"],
                    "error_ema": 1 - trials["final_val_accuracy_ema"],
                }
            )
            pieces.append(errors.assign(**_keys(family, member, variant)))
    columns = [*VALUE_COLUMNS, "variant", "activation", "seed", "error", "error_ema"]
    return pd.concat(pieces, ignore_index=True)[columns]


def axis_table(family: Family, rng: np.random.Generator) -> pd.DataFrame:
    """Per value and variant, error and highest stable rate.

    Args:
        family: of study runs.
        rng: of the bootstrap intervals.

    Returns:
        frame with columns position, value, x, variant, activation, best_learning_rate (NaN: none);
        error_mean, error_low, error_high (95% bootstrap interval of the mean), error_ema_mean (by moving
        averages), n (confirm seeds); stable_low, stable_high: between them lies the median over the sweep
        seeds of the highest stable rate (0: half the seeds have none; inf: stable at the highest rate tried),
        n_stable (sweep seeds).
    """
    errors = axis_errors(family)
    rows = []
    for member in family.members:
        for variant in member.variants:
            keys = _keys(family, member, variant)
            of_cell = errors[(errors["position"] == keys["position"]) & (errors["variant"] == variant)]
            own = of_cell["error"]
            mean = low = high = np.nan
            if len(own):
                size = bootstrap_interval(own.to_numpy(dtype=float), rng)
                mean, low, high = size.value, size.low, size.high
            rate = select.best_rate(member, variant)
            edges = max_stable_rate(member, variant)
            rows.append(
                keys
                | {"best_learning_rate": np.nan if rate is None else rate}
                | {"error_mean": mean, "error_low": low, "error_high": high}
                | {"error_ema_mean": of_cell["error_ema"].mean(), "n": len(own)}
                | {
                    "stable_low": 10 ** median_value(edges["low"], "lower"),
                    "stable_high": 10 ** median_value(edges["high"], "higher"),
                    "n_stable": len(edges),
                }
            )
    return pd.DataFrame(rows)


_ROUNDING = 1e-9
STABLE_RATE, FINAL_ERROR = "highest stable rate", "final error"
AGAINST_NONE = ", against none"
"""After a measure's name: less that of the unnormalized net of the same activation and seed."""

TREND_COLUMNS = [
    "variant",
    "activation",
    "measure",
    "per",
    "slope",
    "slope_low",
    "slope_high",
    "p_falls",
    "p_rises",
    "n",
    "family_size",
]


def axis_trends(family: Family) -> pd.DataFrame:
    """How each variant's highest stable rate and final error, and its lead on none, move along the axis.

    Per seed, the least-squares slope over the values; of the highest stable rate, which is known as an
    interval at each value, the least and the greatest slope that the intervals allow. The same of the paired
    difference to the unnormalized net of the same activation: log10(own rate) - log10(its rate), own error -
    its error. The unit of analysis is the seed, as in the claims: Hodges-Lehmann effect, 90% interval and
    exact one-sided signed-rank tests of zero, Holm-adjusted per measure and direction over the planned
    variants. Each direction has its own 5%, so where nothing moves, up to 10% of the families tell a trend.

    Returns:
        frame with columns variant, activation, measure (`highest stable rate`: log10; `final error`: share;
        each also `..., against none`), per (what the slope is per: `doubling` on a logarithmic axis, else
        `unit`), slope, slope_low, slope_high, p_falls, p_rises, n (seeds with every value), family_size
        (tests adjusted together); empty for an axis of other than numbers, or with a value not run yet.
    """
    if not family.is_numeric or family.missing:
        return pd.DataFrame(columns=TREND_COLUMNS)
    weights = _slope_weights(family)
    pieces = []
    for measure, read in ((STABLE_RATE, max_stable_rate), (FINAL_ERROR, _final_errors)):
        own = {name: [read(member, name) for member in family.members] for name in family.newest.variants}
        against = {
            name: [select.paired_difference(*pair) for pair in zip(values, own[reference], strict=True)]
            for name, values in own.items()
            if (reference := select.reference_of(family.newest, name)) in own and reference != name
        }
        pieces.append(_trends_of(family.newest, own, weights).assign(measure=measure))
        pieces.append(_trends_of(family.newest, against, weights).assign(measure=measure + AGAINST_NONE))
    told = [piece for piece in pieces if len(piece)]
    if not told:  # no trial has ended yet
        return pd.DataFrame(columns=TREND_COLUMNS)
    trends = pd.concat(told, ignore_index=True)
    per = "doubling" if is_logarithmic(family) else "unit"
    return trends.assign(per=per)[TREND_COLUMNS]


def _slope_weights(family: Family) -> NDArray[np.float64]:
    """What each value's measure is multiplied by in the least-squares slope, [num_values]."""
    places = np.array(axis_places(family))
    weights: NDArray[np.float64] = (places - places.mean()) / np.square(places - places.mean()).sum()
    weights[np.abs(weights) < _ROUNDING * np.abs(weights).max()] = 0.0  # a middle value
    weights *= np.log10(2) if is_logarithmic(family) else 1.0
    return weights


def _trends_of(
    newest: Results, measured: dict[str, list[pd.DataFrame]], weights: NDArray[np.float64]
) -> pd.DataFrame:
    """The trends of one measure, adjusted together.

    Args:
        newest: whose variants they are.
        measured: variant -> a frame (seed, low, high) for every value; all planned variants.
        weights: of the slope, [num_values].
    """
    rows = []
    for variant, pieces in measured.items():
        low, high = (_wide(pieces, end) for end in ("low", "high"))
        if low.empty:
            continue
        # The least slope takes the least of what pulls it up and the greatest of what pulls it down.
        least = _weighted(np.where(weights > 0, low, high), weights)
        greatest = _weighted(np.where(weights > 0, high, low), weights)
        size = estimate(least, greatest)
        rises, falls = tests_of(least, greatest, 0.0)
        rows.append(
            {
                "variant": variant,
                "activation": newest.planned[variant].activation,
                "slope": size.effect,
                "slope_low": size.low,
                "slope_high": size.high,
                "p_falls": falls,
                "p_rises": rises,
                "n": size.n,
                "family_size": len(measured),
            }
        )
    frame = pd.DataFrame(rows)
    for column in ("p_falls", "p_rises"):
        if rows:
            frame[column] = _holm_of(frame[column], len(measured))
    return frame


def _holm_of(pvalues: pd.Series[float], planned: int) -> NDArray[np.float64]:
    """Holm-adjusted p-values of the planned tests, of which what could not be evaluated counts as p = 1."""
    absent = np.ones(planned - len(pvalues))
    return holm(np.concatenate([pvalues.to_numpy(dtype=float), absent]))[: len(pvalues)]


def _final_errors(member: Results, variant: str) -> pd.DataFrame:
    """Per confirm seed, the final validation error at the own best rate, as an interval of no width."""
    trials = select.confirm_trials(member, variant)
    errors = 1 - trials["final_val_accuracy"].astype(float)
    return select.as_points(pd.DataFrame({"seed": trials["seed"], "value": errors}))


def _wide(pieces: list[pd.DataFrame], end: str) -> pd.DataFrame:
    """One end of every value's intervals, [seeds that have all values, num_values]."""
    columns = [piece.set_index("seed")[end].astype(float) for piece in pieces]
    return pd.concat(columns, axis=1, join="inner")


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted sums of every row; a weight of zero takes nothing of an infinite value."""
    used = weights != 0
    sums: NDArray[np.float64] = np.asarray(values, dtype=float)[:, used] @ weights[used]
    return sums


def is_logarithmic(family: Family) -> bool:
    """Do the axis' values stand at their logarithms: positive numbers that span more than a decade?"""
    numbers = family.numbers
    return numbers is not None and min(numbers) > 0 and max(numbers) / min(numbers) > DECADE


def axis_places(family: Family) -> list[float]:
    """Where each value stands on a figure: its logarithm, itself, or its number in the list.

    Numbers stand at themselves, or at their log10 where they are positive and span more than a decade.
    """
    numbers = family.numbers
    if numbers is None:
        return [float(position) for position in range(len(family.names))]
    if is_logarithmic(family):
        return [float(np.log10(number)) for number in numbers]
    return numbers


def _keys(family: Family, member: Results, variant: str) -> dict[str, Any]:
    position = position_of(member)
    return {
        "position": position,
        "value": family.name_of(member),
        "x": axis_places(family)[position],
        "variant": variant,
        "activation": member.planned[variant].activation,
    }
