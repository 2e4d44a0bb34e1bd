"""Measures along the axis of a study: how each variant does at each of its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.family import Family, position_of
from analysis.load import Results
from analysis.measures import select
from analysis.measures.rates import max_stable_rate
from analysis.stats import bootstrap_interval

DECADE = 10.0
"""Values that span more stand on a logarithmic axis."""

VALUE_COLUMNS = ["position", "value", "x"]


def axis_errors(family: Family) -> pd.DataFrame:
    """Per value, variant and confirm seed, the final validation error at the variant's own best rate.

    Returns:
        frame with columns position, value (its name), x (where it stands, see `axis_places`), variant,
        activation, seed, error (1 - judged accuracy; a diverged trial counts as chance).
    """
    pieces = []
    for member in family.members:
        for variant in member.variants:
            trials = select.confirm_trials(member, variant)
            errors = pd.DataFrame({"seed": trials["seed"], "error": 1 - trials["final_val_accuracy"]})
            pieces.append(errors.assign(**_keys(family, member, variant)))
    columns = [*VALUE_COLUMNS, "variant", "activation", "seed", "error"]
    return pd.concat(pieces, ignore_index=True)[columns]


def axis_table(family: Family, rng: np.random.Generator) -> pd.DataFrame:
    """Per value and variant, error and highest stable rate.

    Args:
        family: of study runs.
        rng: of the bootstrap intervals.

    Returns:
        frame with columns position, value, x, variant, activation, best_learning_rate (NaN: none);
        error_mean, error_low, error_high (95% bootstrap interval of the mean), n (confirm seeds); stable_low,
        stable_high: between them lies the median over the sweep seeds of the highest stable rate (0: half
        the seeds have none; inf: stable at the highest rate tried), n_stable (sweep seeds).
    """
    errors = axis_errors(family)
    rows = []
    for member in family.members:
        for variant in member.variants:
            keys = _keys(family, member, variant)
            own = errors.loc[
                (errors["position"] == keys["position"]) & (errors["variant"] == variant), "error"
            ]
            mean = low = high = np.nan
            if len(own):
                size = bootstrap_interval(own.to_numpy(dtype=float), rng)
                mean, low, high = size.value, size.low, size.high
            rate = select.best_rate(member, variant)
            edges = max_stable_rate(member, variant)
            rows.append(
                keys
                | {"best_learning_rate": np.nan if rate is None else rate}
                | {"error_mean": mean, "error_low": low, "error_high": high, "n": len(own)}
                | {
                    "stable_low": 10 ** _median(edges["low"], "lower"),
                    "stable_high": 10 ** _median(edges["high"], "higher"),
                    "n_stable": len(edges),
                }
            )
    return pd.DataFrame(rows)


def axis_places(family: Family) -> list[float]:
    """Where each value stands on a figure: its logarithm, itself, or its number in the list.

    Numbers stand at themselves, or at their log10 where they are positive and span more than a decade.
    """
    values = family.axis["values"]
    if not family.is_numeric:
        return [float(position) for position in range(len(values))]
    if min(values) > 0 and max(values) / min(values) > DECADE:
        return [float(np.log10(value)) for value in values]
    return [float(value) for value in values]


def _keys(family: Family, member: Results, variant: str) -> dict[str, Any]:
    position = position_of(member)
    return {
        "position": position,
        "value": family.name_of(member),
        "x": axis_places(family)[position],
        "variant": variant,
        "activation": select.split_variant(variant)[1],
    }


def _median(values: pd.Series[float], method: Any) -> float:
    """A median that is one of the values: infinite ends never meet in an average."""
    return float(values.astype(float).quantile(0.5, interpolation=method)) if len(values) else np.nan
