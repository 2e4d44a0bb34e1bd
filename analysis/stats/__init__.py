"""Estimators and tests. What decides is in `signed_rank` and `outcomes`; the rest describes.

Every stochastic function takes an explicit `numpy.random.Generator`.
"""

from analysis.stats.descriptive import (
    Band,
    Interval,
    bootstrap_band,
    bootstrap_interval,
    iqm,
    median_value,
    performance_profile,
    probability_of_improvement,
)
from analysis.stats.outcomes import (
    INCONCLUSIVE,
    REFUTED,
    SUPPORTED,
    decide,
    holm,
    seeds_needed,
    settled_if_narrowed,
    tests_of,
)
from analysis.stats.ranks import Ranks, min_seeds_to_rank, rank_intervals
from analysis.stats.signed_rank import (
    Estimate,
    estimate,
    signed_rank_pvalue,
    signed_rank_pvalues,
    signed_rank_rejects,
)
from analysis.stats.survival import SurvivalCurve, kaplan_meier, restricted_mean, restricted_mean_difference

__all__ = [
    "INCONCLUSIVE",
    "REFUTED",
    "SUPPORTED",
    "Band",
    "Estimate",
    "Interval",
    "Ranks",
    "SurvivalCurve",
    "bootstrap_band",
    "bootstrap_interval",
    "decide",
    "estimate",
    "holm",
    "iqm",
    "kaplan_meier",
    "median_value",
    "min_seeds_to_rank",
    "performance_profile",
    "probability_of_improvement",
    "rank_intervals",
    "restricted_mean",
    "restricted_mean_difference",
    "seeds_needed",
    "settled_if_narrowed",
    "signed_rank_pvalue",
    "signed_rank_pvalues",
    "signed_rank_rejects",
    "tests_of",
]
