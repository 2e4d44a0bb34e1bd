"""Times to target with censoring: the Kaplan-Meier curve and the restricted mean.

A time is known as the interval (t - E, t] between two evaluations; here it counts at t, the evaluation that
saw it. Runs that never arrive are censored at the budget T. Descriptive: the verdicts are decided by
`analysis.stats.signed_rank`, which takes the intervals as they are.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import CensoredData, ecdf

from analysis.stats.descriptive import Interval, bootstrap_interval
from analysis.stats.signed_rank import Floats


@dataclass(frozen=True)
class SurvivalCurve:
    """Share of runs that have not reached the target, as a right-continuous step function.

    Attributes:
        times: 0 and every time at which something was observed, ascending, [k].
        survival: Share not there after each time; 1 at time 0, [k].
        low: Lower end of the pointwise interval; NaN where undefined (S = 1, S = 0, or one run), [k].
        high: Upper end of it, [k].
    """

    times: Floats
    survival: Floats
    low: Floats
    high: Floats


def kaplan_meier(times: ArrayLike, observed: ArrayLike, confidence: float = 0.95) -> SurvivalCurve:
    """Kaplan-Meier estimate with pointwise log-log intervals (scipy.stats.ecdf of right-censored data).

    The log-log band stays inside [0, 1], which Greenwood's plain one does not at few seeds.

    Args:
        times: Time of arrival, or of censoring, finite, [n].
        observed: True where the run arrived, False where it was censored, [n].
        confidence: Of the pointwise interval.
    """
    times, observed = np.asarray(times, dtype=np.float64), np.asarray(observed, dtype=bool)
    if times.size == 0 or times.shape != observed.shape or not np.isfinite(times).all():
        raise ValueError(f"expected finite times, each with its flag, found {times} and {observed}")
    sf = ecdf(CensoredData.right_censored(times, ~observed)).sf
    with warnings.catch_warnings():
        # SciPy warns that the band is undefined where S is 0 or 1; the NaN there say the same.
        warnings.simplefilter("ignore", RuntimeWarning)
        band: Any = sf.confidence_interval(confidence_level=confidence, method="log-log")
    low, high = band.low.probabilities, band.high.probabilities
    if times.size == 1:
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    return SurvivalCurve(
        times=np.concatenate([[0.0], sf.quantiles]),
        survival=np.concatenate([[1.0], sf.probabilities]),
        low=np.concatenate([[np.nan], low]),
        high=np.concatenate([[np.nan], high]),
    )


def restricted_mean(times: ArrayLike, horizon: float) -> float:
    """Mean of min(t, horizon): the area under the Kaplan-Meier curve when nothing is censored before it.

    Args:
        times: Times of arrival, inf for a run that never arrived, [n].
        horizon: The budget T, in the unit of the times.
    """
    return float(np.minimum(np.asarray(times, dtype=np.float64), horizon).mean())


def restricted_mean_difference(
    times: ArrayLike, reference: ArrayLike, horizon: float, rng: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Mean over seeds of min(t, T) - min(t_ref, T), with its bootstrap interval; negative is faster.

    Args:
        times: Times of arrival, inf for never, paired by seed, [n].
        reference: The same of the reference variant, [n].
        horizon: The budget T, in the unit of the times.
        rng: Source of the resampling.
        confidence: Of the two-sided interval.
    """
    capped = np.minimum(np.asarray(times, dtype=np.float64), horizon)
    return bootstrap_interval(capped - np.minimum(np.asarray(reference), horizon), rng, confidence=confidence)
