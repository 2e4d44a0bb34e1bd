"""How fast a variant gets somewhere (protocol, 6): times as intervals, censored at the budget."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd

from analysis.measures import select
from analysis.results import Results
from benchmark.contract import BASELINE, BEST

Unit = Literal["steps", "examples", "seconds"]


def target_accuracy(results: Results, activation: str) -> float:
    """The validation accuracy to reach, fixed before the confirm stage; NaN where it is not fixed."""
    target = results.decisions.get("targets", {}).get(activation)
    return np.nan if target is None else float(target["accuracy"])


def budget(results: Results) -> float:
    """The budget T in steps."""
    return float(results.study["budget"]["num_steps"])


def step_in(results: Results, variant: str, seed: int, unit: Unit) -> float:
    """What a step of a variant is in a unit.

    In seconds: as measured in turns with the other variants before the study's first trial (protocol, section
    6). There are as many rounds as confirm seeds, and each seed has one of its own: so the scatter of the
    machine is in that of the paired effects.
    """
    if unit == "steps":
        return 1.0
    if unit == "examples":
        return float(results.study["budget"]["batch_size"])
    rounds = results.steps_s[variant]
    return rounds[seed % len(rounds)]


def time_to_target(
    results: Results,
    variant: str,
    at: str = BEST,
    unit: Unit = "steps",
    target: float | pd.Series[float] | None = None,
    reference: str = BASELINE,
) -> pd.DataFrame:
    """Per confirm seed, the interval that holds the time to the target accuracy (after AlgoPerf, airbench).

    (previous evaluation, t] at the first evaluation t at or above target; (T, inf) if there is none, also
    for a trial that diverged: it would never have arrived. Examples and seconds are multiples of the steps
    (`step_in`).

    Args:
        results: a study's.
        variant: whose.
        at: the confirm cell: `best` (own eta*), or `x1`, `x5`, `x30` times the reference's eta*.
        unit: steps, examples or seconds.
        target: accuracy, one for all or by seed; by default the activation's.
        reference: the normalization whose eta* the roles are multiples of.

    Returns:
        frame with columns seed, low, high, by ascending seed. Smaller is better.
    """
    if isinstance(target, pd.Series):
        return _times(results, variant, at, unit, target, reference)
    if target is None:
        target = target_accuracy(results, results.planned[variant].activation)
    return _times_to_one(results, variant, at, unit, target, reference)


def _times(
    results: Results, variant: str, at: str, unit: Unit, target: float | pd.Series[float], reference: str
) -> pd.DataFrame:
    """What `time_to_target` gives."""
    rows = []
    for seed, curve in select.confirm_curves(results, variant, at, reference).items():
        wanted = float(target.get(seed, np.nan)) if isinstance(target, pd.Series) else float(target)
        unit_per_step = step_in(results, variant, seed, unit)
        low, high = _arrival(curve, wanted, budget(results))
        rows.append((seed, low * unit_per_step, high * unit_per_step))
    return pd.DataFrame(rows, columns=["seed", "low", "high"])


_times_to_one = lru_cache(maxsize=select.CACHED)(_times)
"""Of a target for all seeds: a variant's times are compared with many others'."""


def log_speedup(reference: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """Per seed, log10(reference time / time) as an interval; both censored is (-inf, inf), never zero.

    Args:
        reference: columns seed, low, high, as `time_to_target` gives them.
        times: the same of the other variant.

    Returns:
        frame with columns seed, low, high. Greater is faster.
    """
    return select.paired_difference(_log10(reference), _log10(times))


def anytime_accuracy(results: Results, variant: str, at: str = BEST) -> pd.DataFrame:
    """Per confirm seed, mean validation accuracy over the budget (trapezoids between evaluations).

    From where a trial diverged on, its accuracy counts as chance.

    Returns:
        frame with columns seed, value. Greater is better.
    """
    num_steps = budget(results)
    rows = []
    for seed, curve in select.confirm_curves(results, variant, at).items():
        lost = ~np.isfinite(curve["val_loss"].to_numpy(dtype=float))
        accuracy = np.where(lost, results.chance, curve["val_accuracy"].to_numpy(dtype=float))
        steps = curve["step"].to_numpy(dtype=float)
        if steps[-1] < num_steps:
            steps, accuracy = np.append(steps, num_steps), np.append(accuracy, results.chance)
        rows.append((seed, np.trapezoid(accuracy, steps) / num_steps))
    return pd.DataFrame(rows, columns=["seed", "value"])


def best_accuracy(results: Results, variant: str, at: str = BEST) -> pd.Series[float]:
    """Per confirm seed, the highest validation accuracy of the curve, indexed by seed."""
    curves = select.curves_of(results, select.confirm_trials(results, variant, at))
    return curves.groupby("seed")["val_accuracy"].max().astype(float)


def _arrival(curve: pd.DataFrame, target: float, horizon: float) -> tuple[float, float]:
    """The steps between which a curve first arrives; a target met at init counts into the first interval."""
    times = curve["step"].to_numpy(dtype=float)
    arrived = np.flatnonzero(curve["val_accuracy"].to_numpy(dtype=float)[1:] >= target) + 1
    if arrived.size == 0:
        return horizon, np.inf
    first = int(arrived[0])
    return float(times[first - 1]), float(times[first])


def _log10(times: pd.DataFrame) -> pd.DataFrame:
    """log10 of an interval of times; the first interval starts at time 0, whose logarithm is -inf."""
    with np.errstate(divide="ignore"):
        return times.assign(low=np.log10(times["low"]), high=np.log10(times["high"]))
