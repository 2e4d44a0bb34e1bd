"""Reading curves where the training loss is the same: nets compare where they are as far, not when.

Shapes: E evaluations of a trial, by step; L levels of the loss.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.measures import select
from analysis.results import Results

NUM_LEVELS = 9
"""Levels of the training loss at which a pair is compared: they part its common range in ten."""

Floats = NDArray[np.float64]


def common_levels(losses: Iterable[ArrayLike], num_levels: int = NUM_LEVELS) -> Floats:
    """Levels of the loss that every one of these trials passes.

    They part the range from the least of the losses at the start to the greatest of the minima into equal
    parts, its ends left out. A plateau is one level, however long it is.

    Args:
        losses: of each trial [E], finite.
        num_levels: L.

    Returns:
        [L], falling; [0] where there is no such range.
    """
    each = [np.asarray(own, dtype=float) for own in losses]
    if not each or any(own.size == 0 for own in each):
        return np.empty(0)
    start, end = min(own[0] for own in each), max(own.min() for own in each)
    return np.linspace(start, end, num_levels + 2)[1:-1] if end < start else np.empty(0)


def at_levels(losses: ArrayLike, values: ArrayLike, levels: ArrayLike) -> Floats:
    """What a curve is where its loss first falls to each level, by linear interpolation in the loss.

    Args:
        losses: [E], finite.
        values: [E].
        levels: [L].

    Returns:
        [L], NaN where the loss never falls to the level, or begins below it.
    """
    loss, value = np.asarray(losses, dtype=float), np.asarray(values, dtype=float)
    found = np.full(np.shape(levels), np.nan)
    for position, level in enumerate(np.asarray(levels, dtype=float)):
        below = np.flatnonzero(loss <= level)
        if below.size == 0 or loss[0] < level:
            continue
        after, before = int(below[0]), max(int(below[0]) - 1, 0)
        ends = [after, before]
        found[position] = np.interp(level, loss[ends], value[ends])
    return found


def with_training_loss(results: Results, probes: pd.DataFrame) -> pd.DataFrame:
    """A probe's rows with the clean training loss at their evaluation, where both are finite.

    Args:
        results: of the study.
        probes: rows of `Results.probes`.

    Returns:
        the rows, by trial and step, with a column clean_train_loss.
    """
    curves = select.rows_of(results.curves, probes["trial_hash"].unique())
    losses = curves[["trial_hash", "step", "clean_train_loss"]].drop_duplicates(["trial_hash", "step"])
    rows = probes.merge(losses, on=["trial_hash", "step"], how="inner")
    finite = np.isfinite(rows[["value", "clean_train_loss"]].to_numpy(dtype=float)).all(axis=1)
    kept: pd.DataFrame = rows[finite].sort_values(["trial_hash", "step"], ignore_index=True)
    return kept


def over_levels(rows: pd.DataFrame, keys: list[str], num_levels: int = 20) -> pd.DataFrame:
    """Over seeds, what a probe is at levels of the training loss; for figures.

    Levels are equally spaced from the greatest loss at a start to the least loss of all. One that fewer than
    half of a group's trials pass is left out.

    Args:
        rows: of `with_training_loss`.
        keys: columns that make a group.
        num_levels: L.

    Returns:
        frame with the keys and columns level, low, median, high, n (trials that pass the level).
    """
    columns = [*keys, "level", "low", "median", "high", "n"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    starts = rows.groupby("trial_hash")["clean_train_loss"].first()
    levels = np.linspace(starts.max(), rows["clean_train_loss"].min(), num_levels)
    each = {
        group: at_levels(own["clean_train_loss"], own["value"], levels)
        for group, own in rows.groupby([*keys, "trial_hash"], sort=False)
    }
    groups_of = pd.MultiIndex.from_tuples(list(each), names=[*keys, "trial_hash"])
    read = pd.DataFrame(list(each.values()), groups_of, pd.Index(levels, name="level"))
    groups = read.groupby(level=keys, sort=False)
    over = {"low": groups.min(), "median": groups.median(), "high": groups.max(), "n": groups.count()}
    over["share"] = read.notna().groupby(level=keys, sort=False).mean()
    frame = pd.DataFrame({name: table.stack() for name, table in over.items()})
    return frame[frame["share"] >= 0.5].reset_index()[columns]
