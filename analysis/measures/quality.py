"""How good a variant gets, and how steadily (protocol, 6)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.measures import select
from analysis.measures.matched import at_levels
from analysis.results import Results
from analysis.stats import iqm
from benchmark.contract import BEST

SPIKE_WINDOW = 10
SPIKE_MADS = 5.0
"""A spike exceeds the median of the last 10 intervals by 5 x their MAD (protocol, 6)."""


def generalization_gap(
    results: Results,
    reference: str,
    variant: str,
    at: str = BEST,
    at_reference: str = BEST,
    *,
    factor: float = 1.0,
) -> pd.DataFrame:
    """Per confirm seed, the generalization gaps of a pair at the same training loss.

    Gap = clean validation loss - clean training loss, nats. The matched training loss is the higher of the
    pair's two minima; each curve is read at its first crossing of it, by linear interpolation.

    Args:
        results: a study's.
        reference: the variant whose gap comes first.
        variant: the other.
        at: its confirm cell.
        at_reference: the reference's.
        factor: at least 1; the curves are read at this multiple of the matched loss, which both pass earlier.

    Returns:
        frame with columns seed, low, high: gap of the reference - gap of the variant, nats, (-inf, inf)
        for a pair with an untrained trial, or that starts below the loss; and training_loss, gap_reference,
        gap_variant (NaN there).
    """
    cells = []
    for name, role in ((reference, at_reference), (variant, at)):
        trials = select.confirm_trials(results, name, role)
        curves = select.confirm_curves(results, name, role)
        trained = set(trials.loc[trials["status"] == "trained", "seed"].astype(int))
        cells.append({seed: curve if seed in trained else None for seed, curve in curves.items()})
    rows: list[tuple[float, ...]] = []
    for seed in sorted(set(cells[0]) & set(cells[1])):
        pair = [curve for cell in cells if (curve := cell[seed]) is not None]
        if len(pair) < 2:
            rows.append((seed, -np.inf, np.inf, np.nan, np.nan, np.nan))
            continue
        level = factor * max(float(curve["clean_train_loss"].min()) for curve in pair)
        if any(level > float(curve["clean_train_loss"].iloc[0]) for curve in pair):
            rows.append((seed, -np.inf, np.inf, level, np.nan, np.nan))  # a multiple that no training crosses
            continue
        gaps = [gap_at(curve, level) for curve in pair]
        rows.append((seed, gaps[0] - gaps[1], gaps[0] - gaps[1], level, *gaps))
    return pd.DataFrame(
        rows, columns=["seed", "low", "high", "training_loss", "gap_reference", "gap_variant"]
    )


def gap_at(curve: pd.DataFrame, level: float) -> float:
    """Validation loss - training loss where the training loss first falls to `level`, nats.

    Args:
        curve: one trial's evaluations by step; its training loss must reach the level.
        level: clean training loss, nats.
    """
    finite = curve[np.isfinite(curve["clean_train_loss"]) & np.isfinite(curve["val_loss"])]
    train = finite["clean_train_loss"].to_numpy(dtype=float)
    val = finite["val_loss"].to_numpy(dtype=float)
    if train[0] <= level:
        return float(val[0] - train[0])
    return float(at_levels(train, val, [level])[0] - level)


def seed_spread(results: Results) -> pd.DataFrame:
    """Spread over confirm seeds of the final validation accuracy at eta*; descriptive.

    After Picard (2109.08203) and rliable. Diverged trials count as chance.

    Returns:
        frame with a row per variant: variant, n, mean, std (NaN at n = 1), min, max, range, iqm.
    """
    rows = []
    for variant in results.variants:
        accuracy = select.confirm_trials(results, variant)["final_val_accuracy"].to_numpy(dtype=float)
        if accuracy.size == 0:
            continue
        rows.append(
            {
                "variant": variant,
                "n": accuracy.size,
                "mean": accuracy.mean(),
                "std": accuracy.std(ddof=1) if accuracy.size > 1 else np.nan,
                "min": accuracy.min(),
                "max": accuracy.max(),
                "range": np.ptp(accuracy),
                "iqm": float(iqm(accuracy)),
            }
        )
    return pd.DataFrame(rows, columns=["variant", "n", "mean", "std", "min", "max", "range", "iqm"])


def loss_spikes(results: Results, variant: str, at: str = BEST) -> pd.DataFrame:
    """Per confirm seed, intervals whose mean training loss stands out from the ten before.

    Returns:
        frame with columns seed, num_spikes, num_judged (intervals with ten finite ones before them).
    """
    rows = []
    for seed, curve in select.confirm_curves(results, variant, at).items():
        loss = curve["train_loss"].to_numpy(dtype=float)[1:]
        rows.append((seed, *count_spikes(loss[np.isfinite(loss)])))
    return pd.DataFrame(rows, columns=["seed", "num_spikes", "num_judged"])


def count_spikes(loss: NDArray[np.float64]) -> tuple[int, int]:
    """Number of spikes, and of intervals that could have been one.

    Args:
        loss: [num_intervals] mean losses, finite.
    """
    if loss.size <= SPIKE_WINDOW:
        return 0, 0
    before = np.lib.stride_tricks.sliding_window_view(loss, SPIKE_WINDOW)[:-1]
    median = np.median(before, axis=1)
    mad = np.median(np.abs(before - median[:, None]), axis=1)
    spikes = loss[SPIKE_WINDOW:] > median + SPIKE_MADS * mad
    return int(spikes.sum()), int(spikes.size)


def best_after_k(results: Results, variant: str) -> pd.DataFrame:
    """Expected best validation accuracy after k draws, with replacement, among the rates of the sweep.

    Returns:
        frame with columns k (1 to the number of rates), value. Greater is better.
    """
    sweep = select.ended_trials(results, "sweep", variant=variant)
    scores = sweep.groupby("learning_rate")["final_val_accuracy"].mean()
    return pd.DataFrame({"k": np.arange(1, len(scores) + 1), "value": expected_maximum(scores)})


def expected_maximum(scores: ArrayLike) -> NDArray[np.float64]:
    """Expected maximum of k draws with replacement, for k = 1 ... n.

    With scores sorted ascending, sum_i v_i ((i / n)^k - ((i - 1) / n)^k): Dodge et al. 2019, "Show Your
    Work" (1909.03004).

    Args:
        scores: [n], greater is better.

    Returns:
        [n].
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    n = ordered.size
    cdf = (np.arange(n + 1) / n)[None, :] ** np.arange(1, n + 1)[:, None] if n else np.ones((0, 1))
    return np.asarray(np.diff(cdf, axis=1) @ ordered)
