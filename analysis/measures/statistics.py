"""Training against test time: judged statistics, re-estimated, beside the moving averages that nets deploy.

A variant's normalizations average their batches' statistics with weight w = `RUNNING_WEIGHT` per step. So the
mean 0 and variance 1 that they start from still weigh (1 - w)^T after T steps, and what they hold is of
weights some 1 / w steps old (a geometric average's mean age is (1 - w) / w).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.measures import select
from analysis.results import Results
from benchmark.contract import RUNNING_WEIGHT, is_stable, share_above_chance

NEAR = 0.01
"""A difference of accuracies (mean over seeds) that counts as gone, and a share of the start that does."""

COLUMNS = [
    "variant",
    "learning_rate",
    "is_best",
    "n",
    "accuracy",
    "accuracy_ema",
    "difference",
    "stable",
    "stable_ema",
]


def start_weight(num_steps: int) -> float:
    """What the averages' start weighs after so many steps: (1 - w)^T."""
    return (1 - RUNNING_WEIGHT) ** num_steps


def steps_to_forget(share: float = NEAR) -> int:
    """Steps after which the averages' start weighs at most this share."""
    return math.ceil(math.log(share) / math.log1p(-RUNNING_WEIGHT))


def moving_average_table(results: Results) -> pd.DataFrame:
    """Each sweep cell by either kind of statistics, of the variants in which they differ anywhere.

    Returns:
        frame with columns variant, learning_rate, is_best (it is eta*), n, accuracy and accuracy_ema (mean
        final validation accuracies; diverged trials count as chance), difference, stable and stable_ema
        (shares of the seeds, each by a threshold from its own best cell).
    """
    rows = []
    rho = float(results.study["judge"]["rho"])
    for variant in results.variants:
        sweep = select.ended_trials(results, "sweep", variant=variant)
        judged, averaged = sweep["final_val_accuracy"], sweep["final_val_accuracy_ema"]
        if sweep.empty or np.allclose(judged.astype(float), averaged.astype(float), equal_nan=True):
            continue
        stable = [
            is_stable(sweep[status], accuracy, _threshold(results, sweep, accuracy, rho))
            for status, accuracy in (("status", judged), ("status_ema", averaged))
        ]
        cells = sweep.assign(stable=stable[0], stable_ema=stable[1]).groupby("learning_rate")
        best = select.best_rate(results, variant)
        for rate, cell in cells:
            means = cell[["final_val_accuracy", "final_val_accuracy_ema", "stable", "stable_ema"]].mean()
            accuracy, average, *shares = means.astype(float)
            rows.append(
                (variant, rate, rate == best, len(cell), accuracy, average, average - accuracy, *shares)
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _threshold(results: Results, sweep: pd.DataFrame, accuracy: pd.Series[float], rho: float) -> float:
    best = float(accuracy.astype(float).groupby(sweep["learning_rate"]).mean().max())
    return share_above_chance(best, results.chance, rho)


def moving_average_words(results: Results, table: pd.DataFrame) -> list[str]:
    """How far apart the two are at each variant's own best rate, at which step that ends, and why.

    Args:
        results: the study's.
        table: from `moving_average_table`.
    """
    if table.empty:
        return []
    num_steps = int(results.study["budget"]["num_steps"])
    sentences = [
        words
        for variant in table["variant"].unique()
        if (words := _at_best(results, str(variant), num_steps)) is not None
    ]
    kept = 1 - RUNNING_WEIGHT
    sentences.append(
        f"Why: the averages keep {kept:g} of what they hold at every step. After this study's {num_steps} "
        f"steps the mean 0 and variance 1 that they start from still weigh {kept:g}^{num_steps} = "
        f"{start_weight(num_steps):.1%}; that falls to {NEAR:.0%} after {steps_to_forget()} steps, whatever "
        f"the net. And what they hold is of weights some {round(1 / RUNNING_WEIGHT)} steps old, which no "
        "budget mends while the weights still move."
    )
    return sentences


def _at_best(results: Results, variant: str, num_steps: int) -> str | None:
    """One variant's sentence; None where it has no confirm trials at its own best rate."""
    curves = select.curves_of(results, select.confirm_trials(results, variant))
    if curves.empty:
        return None
    values = {
        name: curves.pivot(index="step", columns="seed", values=name).mean(axis=1, skipna=False)
        for name in ("val_accuracy", "val_accuracy_ema")
    }
    apart = (values["val_accuracy"] - values["val_accuracy_ema"]).dropna()
    if apart.empty:
        return None
    # The first steps, where both are near chance, do not count: only a closeness that lasts.
    far = np.flatnonzero(apart.abs().to_numpy() > NEAR)
    judged, average = (float(values[name].loc[apart.index[-1]]) for name in values)
    if far.size == 0:
        until = "they are never further apart"
    elif far[-1] + 1 < len(apart):
        until = f"from step {int(apart.index[far[-1] + 1])} on they are no further apart than {NEAR:g}"
    else:
        until = f"within {num_steps} steps they do not come as near as {NEAR:g} for good"
    return (
        f"{variant}, at its own best rate: {judged:.3f} by re-estimated statistics at its last evaluation, "
        f"{average:.3f} by moving averages (mean validation accuracies); {until}."
    )
