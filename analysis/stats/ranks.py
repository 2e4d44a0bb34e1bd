"""Ranks that say where they cannot tell: an interval of ranks for every contestant.

After Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for Ranks with Applications to Mobility across
Neighbourhoods and Academic Achievement across Countries", Review of Economic Studies 91: a contestant that is
significantly worse than a others and significantly better than b others has a rank from 1 + a to N - b.

Which pairs differ is tested for all pairs together, by the step-down procedure on the greatest statistic
(Westfall & Young 1993; Romano & Wolf 2005, "Exact and Approximate Stepdown Methods for Multiple Hypothesis
Testing", JASA 100) under sign flips of whole occasions: an occasion (a seed) turns round all its differences
at once, so that the flips keep how the pairs hang together. Holm over signed-rank tests, which judge claims,
cannot rank: the least p of n seeds is 2^-n, and N (N - 1) comparisons multiply it, so 10 variants would take
11 seeds before the first of them is told from another, however clear.

Guaranteed (about each contestant's rank, 1 + the number of truly better ones): with at least 95% probability
*all* intervals hold their true ranks at once, where the differences of equally good contestants are jointly
symmetric (flipping an occasion's signs changes nothing of their distribution), as of normal data. Not
guaranteed: that an interval is short, or anything about other data than was scored. Three and more equals
whose scores are skewed are not jointly symmetric; by simulation the 5% hold for them too, unless they also
differ in spread (docs/calibration.md).
"""

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.signed_rank import DECIMALS, Floats
from benchmark.contract import ALPHA, least_seeds

_MAX_EXACT = 12  # occasions of which all sign patterns are tried; of more, as many patterns are drawn


@dataclass(frozen=True)
class Ranks:
    """Rank intervals of N contestants; 1 is the best.

    Attributes:
        best: least rank that each may have, [N].
        worst: greatest rank that each may have, [N].
        better: whether the row's contestant is significantly better than the column's, [N, N].
        pvalues: adjusted two-sided p of H0 "the two are equally good", [N, N]; NaN on the diagonal.
    """

    best: NDArray[np.int64]
    worst: NDArray[np.int64]
    better: NDArray[np.bool_]
    pvalues: Floats


def rank_intervals(scores: ArrayLike, rng: np.random.Generator, alpha: float = ALPHA) -> Ranks:
    """The rank intervals of contestants scored on the same occasions (seeds).

    Args:
        scores: [N, n], higher is better; NaN where a contestant has no score on an occasion.
        rng: of the sign patterns where n is above 12; not used below, where all are tried.
        alpha: the probability that any interval misses.
    """
    scores = np.asarray(scores, dtype=np.float64)
    num = len(scores)
    pvalues, better = np.full((num, num), np.nan), np.zeros((num, num), dtype=bool)
    pairs = np.array(list(combinations(range(num), 2)))
    if pairs.size:
        first, second = pairs.T
        # What is unknown speaks for neither.
        differences = np.nan_to_num(np.round(scores[first] - scores[second], DECIMALS))
        adjusted = _step_down(differences, rng)
        pvalues[first, second] = pvalues[second, first] = adjusted
        wins = differences.sum(axis=1)
        better[first, second] = (adjusted <= alpha) & (wins > 0)
        better[second, first] = (adjusted <= alpha) & (wins < 0)
    return Ranks(best=1 + better.sum(axis=0), worst=num - better.sum(axis=1), better=better, pvalues=pvalues)


def min_seeds_to_rank() -> int:
    """Fewest occasions that can tell any two contestants apart: the least two-sided p of n is 2 * 2^-n."""
    return least_seeds(2)


def _step_down(differences: Floats, rng: np.random.Generator) -> Floats:
    """Adjusted two-sided p-values of "symmetric about zero", [num_pairs].

    The statistic of a pair is its self-normalized sum, |sum d| / sqrt(sum d^2): the paired t, made monotone
    and bounded, so that a pair without spread has one too. The j-th largest is compared with the greatest,
    under each sign pattern, of itself and all below it.

    Args:
        differences: [num_pairs, n].
        rng: see `rank_intervals`.
    """
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    directions = np.divide(differences, lengths, out=np.zeros_like(differences), where=lengths > 0)
    statistics = np.round(np.abs(_sign_patterns(differences.shape[1], rng) @ directions.T), DECIMALS)
    order = np.argsort(-statistics[0], kind="stable")  # the first pattern is what was observed
    ordered = statistics[:, order]
    greatest = np.maximum.accumulate(ordered[:, ::-1], axis=1)[:, ::-1]
    adjusted = np.empty(len(differences))
    adjusted[order] = np.maximum.accumulate((greatest >= ordered[0]).mean(axis=0))
    return adjusted


def _sign_patterns(num_occasions: int, rng: np.random.Generator) -> Floats:
    """Sign patterns, [num_patterns, n], the observed one first; one of each pair of opposites will do."""
    if num_occasions <= _MAX_EXACT:
        patterns = product([1.0], *[(1.0, -1.0)] * (num_occasions - 1))
        return np.array(list(patterns))[:, :num_occasions]
    drawn = rng.choice([-1.0, 1.0], size=(2 ** (_MAX_EXACT - 1), num_occasions))
    drawn[0] = 1.0
    return drawn
