"""From p-values to verdicts: both hypotheses, Holm's correction, the outcome, and the seeds it takes."""

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.signed_rank import Floats, Screened, check_pairs, estimate, signed_rank_pvalue
from benchmark.contract import ALPHA, least_seeds

SUPPORTED = "SUPPORTED"
REFUTED = "REFUTED"
INCONCLUSIVE = "INCONCLUSIVE"


def tests_of(low: ArrayLike, high: ArrayLike, delta: float) -> tuple[float, float]:
    """The two one-sided p-values of a claim "effect > delta", each on the end that speaks least for it.

    Args:
        low: Least effect each pair allows, [n].
        high: Greatest effect each pair allows, [n].
        delta: Smallest effect of interest, in the effect's unit.

    Returns:
        p_supported: p of H0 "effect <= delta", from low - delta.
        p_refuted: p of H0 "effect >= delta", from delta - high.
    """
    low, high = check_pairs(low, high)
    return signed_rank_pvalue(low - delta), signed_rank_pvalue(delta - high)


def holm(pvalues: ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values, in the order given, [m]. Source: Holm 1979.

    Written out because statsmodels' `multipletests(method="holm")`, its oracle in the tests, collects all
    garbage of the process on every call: a tenth of a second each in the calibration.
    """
    pvalues = np.asarray(pvalues, dtype=np.float64)
    order = np.argsort(pvalues)
    stepped = np.maximum.accumulate(pvalues[order] * np.arange(pvalues.size, 0, -1))
    adjusted = np.empty_like(pvalues)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def decide(p_supported: float, p_refuted: float, alpha: float = ALPHA) -> str:
    """The outcome that the two adjusted p-values give.

    Raises:
        ValueError: If both hypotheses are rejected: low <= high makes that impossible.
    """
    if p_supported <= alpha and p_refuted <= alpha:
        raise ValueError(f"p {p_supported} and {p_refuted} reject both hypotheses: not of one sample")
    if p_supported <= alpha:
        return SUPPORTED
    return REFUTED if p_refuted <= alpha else INCONCLUSIVE


_PARTS = 20
"""In how many parts the resamples that no bound decides are judged, while they can change the answer."""


def settled_if_narrowed(low: ArrayLike, high: ArrayLike, delta: float, num_tests: int) -> bool:
    """Would these pairs likely decide, were each one's effect known, not just between two bounds?

    Each pair is taken at its middle; one that is open to one side at its bound; one of which nothing is known
    at the others' pseudo-median. Then a test is to reject at alpha / num_tests (Holm's first step).

    Args:
        low: Least effect each pair allows, [n].
        high: Greatest effect each pair allows, [n].
        delta: Smallest effect of interest.
        num_tests: Number of hypotheses that Holm corrects together.
    """
    low, high = check_pairs(low, high)
    bounded = np.where(np.isinf(low), high, low), np.where(np.isinf(high), low, high)
    known = np.isfinite(bounded[0])
    if not known.any():
        return False
    middles = np.where(known, bounded[0], 0.0) / 2 + np.where(known, bounded[1], 0.0) / 2
    middles[~known] = estimate(middles[known], middles[known]).effect
    return bool(min(tests_of(middles, middles, delta)) <= ALPHA / num_tests)


def seeds_needed(
    low: ArrayLike,
    high: ArrayLike,
    delta: float,
    num_tests: int,
    rng: np.random.Generator,
    *,
    power: float = 0.8,
    max_seeds: int = 100,
    num_resamples: int = 400,
) -> int | None:
    """Number of seeds in all with which an inconclusive verdict would likely be settled, either way.

    Plug-in power: were the observed pairs the population, how often would n pairs drawn from it reject one
    of the two hypotheses at alpha / num_tests (Holm's first, strictest step)? The answer is the
    smallest n, above the number at hand, with a share of at least `power`; found by bisection, since that
    share grows with n up to Monte-Carlo noise. A rough guide, as uncertain as the sample it starts from.

    Args:
        low: Least effect each pair allows, [n].
        high: Greatest effect each pair allows, [n].
        delta: Smallest effect of interest.
        num_tests: Number of hypotheses that Holm corrects together.
        rng: Source of the resampling.
        power: Wanted probability of a decision.
        max_seeds: Give up beyond this many.
        num_resamples: Studies drawn per candidate number of seeds.

    Returns:
        The number of seeds, or None if even `max_seeds` would likely not do.
    """
    low, high = check_pairs(low, high)

    def settled(num_seeds: int) -> bool:
        drawn = rng.integers(low.size, size=(num_resamples, num_seeds))
        level = ALPHA / num_tests
        tests = Screened.of(low[drawn] - delta, level), Screened.of(delta - high[drawn], level)
        decided = tests[0].rejected | tests[1].rejected
        is_open = np.flatnonzero((tests[0].is_open | tests[1].is_open) & ~decided)
        count, left = int(decided.sum()), is_open.size
        for rows in np.array_split(is_open, _PARTS):
            if count / num_resamples >= power or (count + left) / num_resamples < power:
                break  # whatever the others say
            count += int((tests[0].settled(rows) | tests[1].settled(rows)).sum())
            left -= rows.size
        return count / num_resamples >= power

    too_few, enough = max(low.size, least_seeds(num_tests) - 1), max_seeds
    if enough <= too_few or not settled(enough):
        return None
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if settled(middle) else (middle, enough)
    return enough
