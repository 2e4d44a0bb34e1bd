"""The one deciding test: exact signed ranks on interval-valued paired effects, and its inverted interval.

A sample is two arrays `low`, `high` of shape [n] with low <= high: what is known of each seed's paired
effect. Either end may be infinite (a stable rate beyond the grid, a time beyond the budget); none is NaN.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from benchmark.contract import ALPHA

Floats = NDArray[np.float64]

# Effects are decades, nats, shares or slopes. Differences below this many decimals are rounding noise of
# log10 and subtraction; without it 0.3 - (0.1 + 0.2) would be a positive effect and equal grid steps no tie
# (R's wilcox.test has `digits.rank` for the same reason).
DECIMALS = 9


@dataclass(frozen=True)
class Estimate:
    """Size of a paired effect with its interval.

    Attributes:
        effect: Hodges-Lehmann pseudo-median of the pairs' midpoints. A half-infinite pair has its midpoint
            at that infinity (it stays an extreme rank, as in the test); a pair of which nothing is known,
            (-inf, inf), has none and is left out; NaN if that leaves no pair.
        effect_low: Pseudo-median of the same pairs' lower ends; -inf if there is none.
        effect_high: Pseudo-median of their upper ends; +inf if there is none.
        low: Lower end of the interval (one-sided confidence), -inf where n is too small to have one.
        high: Upper end of the interval (one-sided confidence), +inf where n is too small to have one.
        n: Number of pairs.
    """

    effect: float
    effect_low: float
    effect_high: float
    low: float
    high: float
    n: int


def signed_rank_pvalue(x: ArrayLike) -> float:
    """Exact one-sided p of H0 "location <= 0" against "> 0", by sign flips of mid-ranks.

    The statistic is W+, the sum of the mid-ranks of |x| that belong to positive x. Given the mid-ranks, the
    least favourable null gives every one of them a positive sign with probability 1/2, independently; p is
    the share of the 2^n sign patterns with a sum at least W+ (counted exactly, ties and all).

    * Infinite values are the extreme ranks, tied with each other; they keep their sign.
    * Zeros count against: a zero keeps its mid-rank and adds nothing to W+, as if negative, while the null
      distribution flips it like any other. So p is never below that of any other sign for it, and seeds that
      showed exactly the bound are neither dropped (Wilcoxon) nor dropped after ranking (Pratt).

    Without ties and zeros this is `scipy.stats.wilcoxon(x, alternative="greater", method="exact")`.

    Args:
        x: Effects minus the bound under test, [n], without NaN.

    Raises:
        ValueError: If x is empty, not one-dimensional, or contains NaN.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"expected a one-dimensional sample of at least one effect, found shape {x.shape}")
    return float(signed_rank_pvalues(x[None])[0])


def signed_rank_pvalues(x: Floats) -> Floats:
    """`signed_rank_pvalue` of every row.

    Args:
        x: [num_samples, n], without NaN.

    Returns:
        [num_samples] p-values.
    """
    doubled, statistic = _doubled_ranks(x)
    return _tails(doubled, statistic)


_BEYOND_ONE_DEVIATION = 6 / 64
"""The least chance of a sum of randomly signed numbers to reach its standard deviation (2104.10005)."""
_MARGIN = 1 + 1e-9
"""Keeps the rounding of a bound on its careful side."""


@dataclass(frozen=True)
class Screened:
    """Signed-rank tests of many samples, as far as bounds decide them.

    The distribution is spared where a bound on sums of independent signs times ranks decides: Hoeffding's,
    P(sum >= t) <= exp(-t^2 / (2 v)) with v the sum of squared ranks, rejects; and none is rejected within a
    standard deviation of the middle, as P(sum >= sqrt(v)) >= 6/64 (2104.10005).

    Attributes:
        rejected: by the bound, [num_samples].
        is_open: which only the distribution can tell, [num_samples].
    """

    rejected: NDArray[np.bool_]
    is_open: NDArray[np.bool_]
    _doubled: NDArray[np.int64]
    _statistic: NDArray[np.int64]
    _alpha: float

    @classmethod
    def of(cls, x: Floats, alpha: float) -> "Screened":
        """Of the rows of x.

        Args:
            x: [num_samples, n], without NaN.
            alpha: below 1/2.
        """
        doubled, statistic = _doubled_ranks(x)
        excess, variance = 2.0 * statistic - doubled.sum(axis=1), (doubled.astype(float) ** 2).sum(axis=1)
        rejected = excess > np.sqrt(-2.0 * np.log(alpha) * variance) * _MARGIN
        least = np.sqrt(variance) / _MARGIN if alpha < _BEYOND_ONE_DEVIATION else 0.0
        return cls(rejected, (excess > least) & ~rejected, doubled, statistic, alpha)

    def settled(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether `signed_rank_pvalue` of these rows is at most alpha, [num_rows]; of `rows`: indices."""
        answers: NDArray[np.bool_] = self.rejected[rows]
        asked = self.is_open[rows]
        answers[asked] = _tails(self._doubled[rows[asked]], self._statistic[rows[asked]]) <= self._alpha
        return answers


def signed_rank_rejects(x: Floats, alpha: float) -> NDArray[np.bool_]:
    """Whether `signed_rank_pvalue` of every row is at most alpha.

    Args:
        x: [num_samples, n], without NaN.
        alpha: below 1/2.
    """
    return Screened.of(x, alpha).settled(np.arange(len(x)))


def _doubled_ranks(x: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Twice the mid-ranks of |x| in every row, [num_samples, n], and twice W+, [num_samples]."""
    if np.isnan(x).any():
        raise ValueError("expected effects without NaN, found NaN: an unknown effect is the pair (-inf, inf)")
    x = np.round(x, DECIMALS)
    doubled = np.rint(2 * rankdata(np.abs(x), axis=1)).astype(np.int64)
    return doubled, np.where(x > 0, doubled, 0).sum(axis=1)


def _tails(doubled: NDArray[np.int64], statistic: NDArray[np.int64]) -> Floats:
    """P(W+ >= statistic) of every row, [num_samples]."""
    pairs = zip(np.sort(doubled, axis=1), statistic, strict=True)
    return np.array([_null_tail(tuple(ranks.tolist()))[w] for ranks, w in pairs], dtype=np.float64)


@lru_cache(maxsize=1024)
def _null_tail(doubled_ranks: tuple[int, ...]) -> Floats:
    """P(sum of randomly signed ranks >= w) for every integer w, by convolving one rank after the other.

    Mid-ranks are multiples of 1/2, so doubled ones are integers and the whole distribution is an array of
    length n (n + 1) + 1. Probabilities are multiples of 2^-n: exact in float64 up to n = 52.

    Args:
        doubled_ranks: [n], ascending, so that the sums possible so far stay few for long.
    """
    probabilities = np.zeros(sum(doubled_ranks) + 1)
    probabilities[0] = 0.5 ** len(doubled_ranks)
    num_sums = 1
    for rank in doubled_ranks:
        probabilities[rank : rank + num_sums] += probabilities[:num_sums].copy()
        num_sums += rank
    return np.cumsum(probabilities[::-1])[::-1]


def estimate(low: ArrayLike, high: ArrayLike, confidence: float = 1 - ALPHA) -> Estimate:
    """Hodges-Lehmann effect of interval-valued pairs, with the interval that inverts the exact test.

    The lower end is the smallest d at which the test on `low - d` does not reject at 1 - confidence; the
    upper end mirrors it with `high`. Both change only at Walsh averages (x_i + x_j) / 2, so the ends are
    Walsh averages. Each side has `confidence`: at 0.95 together they are the "90% interval".

    Agreement with the test, alpha = 1 - confidence: an end above d implies p(low - d) <= alpha, and
    p(low - d) <= alpha implies an end of at least d. They differ only at equality, where d ties effects of
    opposite sign and the tied test may reject. (Should mid-ranks ever leave a hole in the set of rejected
    d, the end is the one nearer to -inf, the cautious one; none is known.)

    Fewer than log2(1 / (1 - confidence)) pairs (5 at 0.95) can reject nothing: both ends are infinite. That
    covers n = 1, which has no interval.

    Source: Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, sections 3.2 and 3.3.

    Args:
        low: Least effect each pair allows, [n].
        high: Greatest effect each pair allows, [n].
        confidence: Of each end by itself.

    Raises:
        ValueError: If the arrays are empty, of different length, contain NaN, or low exceeds high.
    """
    low, high = check_pairs(low, high)
    half_infinite = np.where(np.isinf(low), low, np.where(np.isinf(high), high, 0.0))
    both_finite = np.isfinite(low) & np.isfinite(high)
    known = ~(np.isneginf(low) & np.isposinf(high))
    finite_low, finite_high = np.where(both_finite, low, 0.0), np.where(both_finite, high, 0.0)
    midpoints = np.where(both_finite, (finite_low + finite_high) / 2, half_infinite)[known]
    return Estimate(
        effect=_pseudo_median(midpoints) if known.any() else float("nan"),
        effect_low=_pseudo_median(low[known]) if known.any() else -np.inf,
        effect_high=-_pseudo_median(-high[known]) if known.any() else np.inf,
        low=_lower_end(low, 1 - confidence),
        high=-_lower_end(-high, 1 - confidence),
        n=low.size,
    )


def check_pairs(low: ArrayLike, high: ArrayLike) -> tuple[Floats, Floats]:
    """The two ends of an interval-valued sample as float arrays [n], refused unless they are one."""
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if low.ndim != 1 or low.shape != high.shape or low.size == 0:
        raise ValueError(f"expected two equally long samples, found shapes {low.shape} and {high.shape}")
    if not (low <= high).all():
        raise ValueError(f"expected low <= high in every pair and no NaN, found low {low}, high {high}")
    return low, high


def walsh_averages(x: Floats) -> Floats:
    """All (x_i + x_j) / 2 with i <= j, sorted, [n (n + 1) / 2]; of +inf and -inf it is -inf (cautious)."""
    i, j = np.triu_indices(x.size)
    opposite = np.isinf(x[i]) & np.isinf(x[j]) & (x[i] != x[j])
    return np.sort(np.where(opposite, -np.inf, (np.where(opposite, 0.0, x[i]) + x[j]) / 2))


def _pseudo_median(x: Floats) -> float:
    """Median of the Walsh averages; an undefined middle (-inf, +inf) is -inf."""
    averages = walsh_averages(x)
    middle = averages[[(averages.size - 1) // 2, averages.size // 2]]
    return float(walsh_averages(middle)[1])


def _lower_end(x: Floats, alpha: float) -> float:
    """Smallest d at which the exact test of H0 "location <= d" does not reject at level alpha.

    Between neighbouring Walsh averages the test is constant, so each gap is tried once, at its middle, and
    each Walsh average by itself.
    """
    averages = walsh_averages(np.round(x, DECIMALS))
    edges = np.unique(np.round(averages[np.isfinite(averages)], DECIMALS))
    if edges.size == 0:
        edges = np.zeros(1)  # only infinite effects: every finite d gives the same answer
    gaps = np.concatenate([edges[:1] - 1.0, (edges[:-1] + edges[1:]) / 2, edges[-1:] + 1.0])
    tried = np.empty(2 * edges.size + 1)
    tried[0::2], tried[1::2] = gaps, edges
    # The end that belongs to a first non-rejection there: an open gap starts at the edge before it.
    ends = np.concatenate([[-np.inf], np.repeat(edges, 2)])
    accepted = ~signed_rank_rejects(x[None] - tried[:, None], alpha)
    return float(ends[accepted.argmax()]) if accepted.any() else float("inf")
