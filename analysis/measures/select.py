"""Which trials and curves a measure is about."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results import Results, Variant
from benchmark.contract import BASELINE, BEST, CONFIRM_SEED_OFFSET, ENDED, RATE_MULTIPLES

SAME_RATE = f"x{RATE_MULTIPLES[0]}"
"""The role of a confirm cell at the best rate of the reference."""

CACHED = 4096
"""Frames kept: every claim and figure asks for the same few. Results never change; nor may these."""


def reference_of(results: Results, variant: str, reference: str = BASELINE) -> str:
    """Name of the variant of the same activation with the reference's normalization, by default none."""
    return Variant(reference, results.planned[variant].activation).name


def sweep_seeds(results: Results) -> range:
    """Seeds of the sweep and of the refinement."""
    seeds = results.study["seeds"]
    return range(int(seeds["first"]), int(seeds["first"]) + int(seeds["sweep"]))


def confirm_seeds(results: Results) -> range:
    """Seeds of the confirm stage, disjoint from the sweep's."""
    seeds = results.study["seeds"]
    first = CONFIRM_SEED_OFFSET + int(seeds["first"])
    return range(first, first + int(seeds["confirm"]))


def sweep_grid(results: Results) -> list[float]:
    """The sweep's final rates, ascending; while they are undecided, those that were tried."""
    decided = results.decisions.get("grid")
    if decided is not None:
        return [float(rate) for rate in decided]
    tried = results.trials.loc[results.trials["stage"] == "sweep", "learning_rate"]
    return [float(rate) for rate in np.sort(tried.unique())]


def decided(results: Results, variant: str) -> dict[str, Any]:
    """What the select stage decided on a variant; empty before."""
    return dict(results.decisions.get("variants", {}).get(variant, {}))


def best_rate(results: Results, variant: str) -> float | None:
    """eta* of a variant; None where it has none, or none yet."""
    known = decided(results, variant)
    rate = known["best_learning_rate"] if known else None
    return None if rate is None else float(rate)


def confirm_rate(results: Results, variant: str, role: str = BEST, reference: str = BASELINE) -> float | None:
    """The confirm stage's rate in a role: `best`, or `x1`, `x5`, `x30` times the reference's eta*.

    The reference itself plays `best` only; its `x1` is the same rate. The study names roles beside none:
    beside another reference, `x1` is a cell that was trained at that one's best rate, if there is any, and
    there are no other multiples.
    """
    own = reference_of(results, variant, reference)
    cells = [cell for cell in results.decisions.get("confirm", []) if cell["variant"] == variant]
    if role == BEST or (role == SAME_RATE and variant == own):
        found = [cell for cell in cells if BEST in cell["roles"]]
    elif reference == BASELINE:
        found = [cell for cell in cells if role in cell["roles"]]
    else:
        rate = confirm_rate(results, own) if role == SAME_RATE else None
        found = [cell for cell in cells if cell["learning_rate"] == rate]
    return float(found[0]["learning_rate"]) if found else None


def same_rate(rates: pd.Series[float], rate: float) -> pd.Series[bool]:
    """Where the rates are this one, up to the rounding of a float written as text."""
    return pd.Series(np.isclose(rates, rate, rtol=1e-9, atol=0), index=rates.index)


def ended_trials(results: Results, *stages: str, variant: str | None = None) -> pd.DataFrame:
    """Trials with an outcome, at the network's own init gain."""
    return _ended(_Same(results.trials), stages, variant)


def confirm_trials(
    results: Results, variant: str, role: str = BEST, reference: str = BASELINE
) -> pd.DataFrame:
    """Ended trials of a confirm cell, by ascending seed; empty where there is no such cell."""
    return _confirmed(_Same(results.trials), variant, confirm_rate(results, variant, role, reference))


def confirm_curves(
    results: Results, variant: str, role: str = BEST, reference: str = BASELINE
) -> dict[int, pd.DataFrame]:
    """The evaluations of a confirm cell's trials by seed, ascending; each one's by ascending step."""
    rate = confirm_rate(results, variant, role, reference)
    return _curves_by_seed(_Same(results.trials), _Same(results.curves), variant, rate)


def curves_of(results: Results, trials: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of these trials, each trial's by ascending step."""
    return _sorted_curves(results.curves, trials)


def rows_of(frame: pd.DataFrame, trials: Iterable[str]) -> pd.DataFrame:
    """The rows of curves or probes that are of these trials, in the frame's order."""
    return _taken(frame, ("trial_hash",), trials)


def probe_rows(results: Results, probe: str, variant: str) -> pd.DataFrame:
    """The rows of a variant's probe, in the frame's order."""
    return _taken(results.probes, ("probe", "variant"), [(probe, variant)])


def _sorted_curves(curves: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    return rows_of(curves, trials["trial_hash"]).sort_values(["seed", "trial_hash", "step"])


def _taken(frame: pd.DataFrame, columns: tuple[str, ...], keys: Iterable[Any]) -> pd.DataFrame:
    places = _places(_Same(frame), columns)
    found = [places[key] for key in keys if key in places]
    return frame.iloc[np.sort(np.concatenate(found))] if found else frame.iloc[:0]


class _Same:
    """A frame as a key of a cache: equal to itself alone. Results never change, and share their frames."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __hash__(self) -> int:
        return id(self.frame)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.frame is self.frame


@lru_cache(maxsize=16)
def _places(of: _Same, columns: tuple[str, ...]) -> dict[Any, NDArray[np.int64]]:
    """Where the rows of each key stand: looked for once, not in the whole frame by every measure."""
    names = list(columns) if len(columns) > 1 else columns[0]
    found: Any = of.frame.groupby(names, sort=False).indices
    return dict(found)


@lru_cache(maxsize=CACHED)
def _ended(of: _Same, stages: tuple[str, ...], variant: str | None) -> pd.DataFrame:
    """`ended_trials` of a frame, which results that differ in what was decided share."""
    trials = of.frame if variant is None else _taken(of.frame, ("variant",), [variant])
    wanted = trials["status"].isin(ENDED) & trials["stage"].isin(stages)
    return trials[wanted & (trials["init_gain"] == 1.0)]


@lru_cache(maxsize=CACHED)
def _confirmed(of: _Same, variant: str, rate: float | None) -> pd.DataFrame:
    trials = _ended(of, ("confirm",), variant)
    if rate is None:
        return trials.iloc[:0]
    return trials[same_rate(trials["learning_rate"], rate)].sort_values("seed")


@lru_cache(maxsize=CACHED)
def _curves_by_seed(of: _Same, curves: _Same, variant: str, rate: float | None) -> dict[int, pd.DataFrame]:
    rows = _sorted_curves(curves.frame, _confirmed(of, variant, rate))
    return {int(own["seed"].iloc[0]): own for _, own in rows.groupby("seed")}


def paired_difference(upper: pd.DataFrame, lower: pd.DataFrame) -> pd.DataFrame:
    """Per seed, the least and greatest `upper - lower` that two intervals allow.

    Args:
        upper: columns seed, low, high.
        lower: the same; seeds that only one of them has are left out.

    Returns:
        frame with columns seed, low, high, by ascending seed.
    """
    seeds, of_upper, of_lower = np.intersect1d(
        upper["seed"].to_numpy(dtype=int), lower["seed"].to_numpy(dtype=int), return_indices=True
    )
    above, below = (
        {end: frame[end].to_numpy(dtype=float)[rows] for end in ("low", "high")}
        for frame, rows in ((upper, of_upper), (lower, of_lower))
    )
    return pd.DataFrame(
        {"seed": seeds, "low": above["low"] - below["high"], "high": above["high"] - below["low"]}
    )


def as_points(values: pd.DataFrame) -> pd.DataFrame:
    """A point measure (seed, value) as intervals (seed, low, high) of no width."""
    return pd.DataFrame({"seed": values["seed"], "low": values["value"], "high": values["value"]})
