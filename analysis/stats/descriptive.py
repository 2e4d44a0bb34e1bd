"""Summaries that describe and decide nothing: means with bootstrap intervals, IQM, P(A better than B)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap, trim_mean

from analysis.stats.signed_rank import Floats

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A summary with its bootstrap interval; low and high are NaN at n = 1, which has none."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Band:
    """A curve of summaries with its pointwise bootstrap interval, each [num_points]; NaN where undefined."""

    value: Floats
    low: Floats
    high: Floats
    n: int


def iqm(x: ArrayLike, axis: int | None = None) -> Floats:
    """Interquartile mean: of the middle half, the scores at its edges in part where four does not divide n.

    As Agarwal et al. (2108.13264) advise, whose rliable trims a whole number of scores and so keeps more than
    half of, say, six (two thirds). Four copies of each score have a quarter that is whole.

    Args:
        x: Scores, any shape.
        axis: Reduced axis; None for all.
    """
    scores = np.asarray(x, dtype=np.float64)
    return np.asarray(trim_mean(np.repeat(scores, 4, axis=axis), proportiontocut=0.25, axis=axis))


def median_value(values: ArrayLike, method: Literal["lower", "higher"]) -> float:
    """A median that is one of the values, so that infinite ends never meet in an average.

    Args:
        values: [n].
        method: which of the two middle ones of an even number.

    Returns:
        NaN of no values.
    """
    array = np.asarray(values, dtype=np.float64)
    return float(np.quantile(array, 0.5, method=method)) if array.size else np.nan


def bootstrap_interval(
    x: ArrayLike,
    rng: np.random.Generator,
    statistic: Callable[..., Floats] = np.mean,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a statistic of one sample.

    Percentile, since it is defined for every sample; BCa fails on constant ones, which whole
    families of seeds here are (all reached, none diverged).

    Args:
        x: Sample, [n].
        rng: Source of the resampling.
        statistic: Reduces an array along `axis`.
        confidence: Of the two-sided interval.
    """
    x = np.asarray(x, dtype=np.float64)
    band = bootstrap_band(x[:, None], rng, statistic, confidence)
    return Interval(float(band.value[0]), float(band.low[0]), float(band.high[0]), band.n)


def bootstrap_band(
    curves: ArrayLike,
    rng: np.random.Generator,
    statistic: Callable[..., Floats] = np.mean,
    confidence: float = 0.95,
) -> Band:
    """Pointwise percentile bootstrap band of a summary curve; whole seeds are resampled together.

    Args:
        curves: One row per seed, [n, num_points]. A point where a seed has no finite value (before the first
            measurement, after a divergence) has no summary: NaN.
        rng: Source of the resampling.
        statistic: Reduces an array along `axis`.
        confidence: Of the two-sided pointwise interval.

    Raises:
        ValueError: If there is no curve.
    """
    curves = np.asarray(curves, dtype=np.float64)
    if curves.ndim != 2 or curves.shape[0] == 0:
        raise ValueError(f"expected curves [n, num_points] of at least one seed, found shape {curves.shape}")
    n, num_points = curves.shape
    value, low, high = (np.full(num_points, np.nan) for _ in range(3))
    defined = np.isfinite(curves).all(axis=0)
    if defined.any():
        value[defined] = statistic(curves[:, defined], axis=0)
    if defined.any() and n > 1:
        result = bootstrap(
            (curves[:, defined],),
            statistic,
            axis=0,
            vectorized=True,
            method="percentile",
            confidence_level=confidence,
            n_resamples=NUM_RESAMPLES,
            batch=200,
            rng=rng,
        )
        low[defined], high[defined] = result.confidence_interval
    return Band(value, low, high, n)


def probability_of_improvement(
    a: ArrayLike, b: ArrayLike, rng: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """P(A > B) over pairs of the same seed, ties counting half, with its percentile bootstrap interval.

    Bouthillier et al. (2103.03098) call an improvement significant where the interval's lower end is above
    0.5, and meaningful too where its upper end is above 0.75. All wins give the interval [1, 1]: the
    bootstrap can't see beyond its sample, one reason why nothing is decided by it.

    Args:
        a: Scores of A, higher is better, paired by seed, [n]; infinite ones are compared like any other.
        b: Scores of B, [n].
        rng: Source of the resampling.
        confidence: Of the two-sided interval.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"expected pairs, found shapes {a.shape} and {b.shape}")
    return bootstrap_interval((a > b) + 0.5 * (a == b), rng, confidence=confidence)


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Share of runs that score above each threshold (after rliable, Agarwal et al. 2108.13264).

    Args:
        scores: Of all runs pooled, any shape; higher is better.
        thresholds: [k].

    Returns:
        [k], from 1 down to 0 as the thresholds grow.
    """
    scores, thresholds = np.asarray(scores).ravel(), np.asarray(thresholds)
    return np.asarray((scores[None, :] > thresholds[:, None]).mean(axis=1))
