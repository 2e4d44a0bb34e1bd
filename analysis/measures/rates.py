"""Where along the learning rates a variant trains (protocol, 5 and 6)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures import select
from analysis.results import Results
from benchmark.contract import capped_loss, is_stable, share_above_chance

Rho = float | Literal["trained"] | None
"""Share of the best accuracy above chance that a stable trial keeps; None: as the study decided."""

EDGE_COLUMNS = ["seed", "low", "high"]


def stability_threshold(results: Results, variant: str, rho: Rho = None) -> float:
    """Least final validation accuracy of a stable trial: 1/K + rho (best cell's mean - 1/K).

    NaN while the study has not decided it: then no trial is known to be stable.
    """
    if rho == "trained":
        return -np.inf
    decided = select.decided(results, variant)
    if not decided:
        return np.nan
    if rho is None:
        return float(decided["stability_threshold"])
    return share_above_chance(float(decided["best_cell_accuracy"]), results.chance, rho)


@lru_cache(maxsize=select.CACHED)
def stability(results: Results, rho: Rho = None) -> pd.Series[bool]:
    """Per trial, indexed like `results.trials`: did it train and keep rho of its variant's best accuracy?

    Stuck, diverged, failed and running trials are not stable.
    """
    trials = results.trials
    thresholds = {v: stability_threshold(results, v, rho) for v in trials["variant"].unique()}
    accuracy = trials["final_val_accuracy"].astype(float)
    stable = is_stable(trials["status"], accuracy, trials["variant"].map(thresholds).astype(float))
    return pd.Series(stable, index=trials.index, dtype=bool)


@lru_cache(maxsize=select.CACHED)
def max_stable_rate(
    results: Results, variant: str, rho: Rho = None, *, contiguous: bool = False
) -> pd.DataFrame:
    """Per sweep seed, the interval that holds the highest stable rate.

    After Ioffe & Szegedy (1502.03167) and Bjorck et al. (1806.02375). low is the highest stable rate tried,
    high the next rate tried above it (+inf if none); (-inf, +inf) for a seed with no stable rate. Failed
    trials say nothing, so they only widen intervals.

    Args:
        results: a study's.
        variant: whose.
        rho: see `stability_threshold`.
        contiguous: count only rates that are stable in an unbroken run upwards from eta*.

    Returns:
        frame with columns seed, low, high: log10 of the learning rate. Greater is better.
    """
    start = select.best_rate(results, variant) if contiguous else None
    rows = []
    for seed, log_rates, stable in _by_seed(results, variant, rho):
        counted = stable
        if contiguous:
            from_best = log_rates >= (np.inf if start is None else np.log10(start) - 1e-9)
            counted = from_best & np.logical_and.accumulate(stable | ~from_best)
        rows.append((seed, *_upper_edge(log_rates, counted)))
    return pd.DataFrame(rows, columns=EDGE_COLUMNS)


def stable_band(results: Results, variant: str, rho: Rho = None) -> pd.DataFrame:
    """Per sweep seed, decades between the lowest and the highest stable rate, as an interval.

    Returns:
        frame with columns seed, low, high (decades; greater is better), and the edges it follows from as
        log10 rates: lower_low, lower_high, upper_low, upper_high.
    """
    rows = []
    for seed, log_rates, stable in _by_seed(results, variant, rho):
        upper_low, upper_high = _upper_edge(log_rates, stable)
        mirrored = _upper_edge(-log_rates[::-1], stable[::-1])
        lower_low, lower_high = -mirrored[1], -mirrored[0]
        width = (upper_low - lower_high, upper_high - lower_low)
        rows.append((seed, *width, lower_low, lower_high, upper_low, upper_high))
    columns = [*EDGE_COLUMNS, "lower_low", "lower_high", "upper_low", "upper_high"]
    return pd.DataFrame(rows, columns=columns)


def failure_share(results: Results, variant: str) -> pd.DataFrame:
    """Per sweep seed, the share of the rates' range in which it did not train. Smaller is better.

    A share "on this range": another range gives another share.

    Returns:
        frame with columns seed, value (share of the grid's rates, for description), low, high (share of the
        range, see `share_of_range`).
    """
    sweep = select.ended_trials(results, "sweep", variant=variant)
    failed = sweep.assign(counted=sweep["status"] != "trained", level=np.log10(sweep["learning_rate"]))
    return shares_by_seed(failed)


def shares_by_seed(trials: pd.DataFrame) -> pd.DataFrame:
    """`share_of_range` of every seed's trials.

    Args:
        trials: columns seed, level, counted (bool).

    Returns:
        frame with columns seed, value (mean of counted), low, high.
    """
    rows = []
    for seed, own in trials.sort_values("level").groupby("seed"):
        counted = own["counted"].to_numpy(dtype=bool)
        rows.append((seed, counted.mean(), *share_of_range(own["level"].to_numpy(dtype=float), counted)))
    return pd.DataFrame(rows, columns=["seed", "value", "low", "high"])


def share_of_range(levels: NDArray[np.float64], counted: NDArray[np.bool_]) -> tuple[float, float]:
    """The share of a range of which only some levels were tried, as the interval that is known.

    A gap between neighbours that both count counts whole; between neighbours of which one does, some part of
    it counts: none to all. Judged as a bare count of levels, the share is a lattice that has no value at
    delta, and the signed-rank test errs on it in up to a third of studies (docs/calibration.md).

    Args:
        levels: [n], ascending.
        counted: [n].

    Returns:
        least and greatest share; (0, 1) for less than two levels.
    """
    if len(levels) < 2:
        return 0.0, 1.0
    gaps = np.diff(levels) / (levels[-1] - levels[0])
    both, either = counted[:-1] & counted[1:], counted[:-1] | counted[1:]
    return float(gaps[both].sum()), float(gaps[either].sum())


def learning_rate_sensitivity(results: Results, variant: str) -> float:
    """Mean over the grid of min(final loss, C), minus the least cell's, nats. Smaller is better.

    After Wortsman et al. (2309.14322), who cap at the loss at initialization; here the cap is the constant
    predictor's, which is the same for all variants. Diverged trials count as C; NaN without a sweep.
    """
    sweep = select.ended_trials(results, "sweep", variant=variant)
    if sweep.empty:
        return float("nan")
    cells = cell_losses(results, sweep)
    return float(cells.mean() - cells.min())


def cell_losses(results: Results, sweep: pd.DataFrame) -> pd.Series[float]:
    """Mean over seeds of min(final validation loss, C) of every rate, nats; a non-finite loss counts as C."""
    return capped_losses(results, sweep).groupby(sweep["learning_rate"]).mean()


def capped_losses(results: Results, trials: pd.DataFrame) -> pd.Series[float]:
    """Min(final validation loss, C) of every trial, nats, indexed like the trials."""
    losses = trials["final_val_loss"].astype(float)
    return losses.map(lambda loss: capped_loss(loss, results.loss_cap))


@lru_cache(maxsize=select.CACHED)
def _by_seed(
    results: Results, variant: str, rho: Rho
) -> list[tuple[int, NDArray[np.float64], NDArray[np.bool_]]]:
    """Per sweep seed: log10 of the rates tried, ascending, and which of them were stable."""
    trials = select.ended_trials(results, "sweep", "refine", variant=variant)
    trials = trials.assign(stable=stability(results, rho)).sort_values("learning_rate")
    return [
        (
            int(own["seed"].iloc[0]),
            np.log10(own["learning_rate"].to_numpy(dtype=float)),
            own["stable"].to_numpy(dtype=bool),
        )
        for _, own in trials.groupby("seed")
    ]


def _upper_edge(log_rates: NDArray[np.float64], stable: NDArray[np.bool_]) -> tuple[float, float]:
    """The interval of the highest stable rate, from ascending log10 rates."""
    if not stable.any():
        return -np.inf, np.inf
    last = int(np.flatnonzero(stable)[-1])
    above = log_rates[last + 1 :]
    return float(log_rates[last]), float(above[0]) if above.size else np.inf
