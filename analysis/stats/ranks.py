"""Ranks that say where they cannot tell: an interval of ranks for every contestant.

After Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for Ranks with Applications to Mobility across
Neighbourhoods and Academic Achievement across Countries", Review of Economic Studies 91: a contestant that is
significantly worse than a others and significantly better than b others has a rank from 1 + a to N - b.

Guaranteed (about each contestant's rank, 1 + the number of truly better ones): with at least 95% probability
*all* intervals hold their true ranks at once. It follows from Holm's familywise error rate over both
directions of all pairs, by exact tests, where the paired differences of equally good contestants are
symmetric. Not guaranteed: that an interval is short (few pairs of scores, or many contestants, make all of
them 1 to N), that "better" is transitive (each pair is compared by its own differences), or anything about
other data than was scored.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.decisions import ALPHA, holm
from analysis.stats.signed_rank import Floats, signed_rank_pvalue


@dataclass(frozen=True)
class Ranks:
    """Rank intervals of N contestants; 1 is the best.

    Attributes:
        best: least rank that each may have, [N].
        worst: greatest rank that each may have, [N].
        better: whether the row's contestant is significantly better than the column's, [N, N].
        pvalues: adjusted p of H0 "the row's is not better than the column's", [N, N]; NaN on the diagonal.
    """

    best: NDArray[np.int64]
    worst: NDArray[np.int64]
    better: NDArray[np.bool_]
    pvalues: Floats


def rank_intervals(scores: ArrayLike, alpha: float = ALPHA) -> Ranks:
    """The rank intervals of contestants scored on the same occasions (seeds).

    Args:
        scores: [N, n], higher is better; NaN where a contestant has no score on an occasion.
        alpha: the probability that any interval misses.
    """
    scores = np.asarray(scores, dtype=np.float64)
    num = len(scores)
    pairs = list(permutations(range(num), 2))
    pvalues = np.full((num, num), np.nan)
    if pairs:
        rows, columns = np.array(pairs).T
        pvalues[rows, columns] = holm([_pvalue(scores[a] - scores[b]) for a, b in pairs])
    better = pvalues <= alpha
    return Ranks(best=1 + better.sum(axis=0), worst=num - better.sum(axis=1), better=better, pvalues=pvalues)


def _pvalue(differences: Floats) -> float:
    """Exact p of "not greater than zero"; 1 without a common occasion."""
    known = differences[~np.isnan(differences)]
    return signed_rank_pvalue(known) if known.size else 1.0
