"""What the three claims on time to target share."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import NotEvaluable, Sample
from analysis.measures import log_speedup, time_to_target
from analysis.measures.speed import Unit
from analysis.results import Results

CAVEAT = "Conditional on this one split: all seeds share one validation set"


def paired_speedup(
    results: Results, normalizer: str, activation: str, role: str, unit: Unit
) -> Sample | NotEvaluable:
    """Per confirm seed, log10(time of the unnormalized net at its eta* / time of the normalized one).

    Args:
        results: a study's.
        normalizer: of the variant.
        activation: of both.
        role: the normalized net's confirm cell, `best` or `x1`.
        unit: of the times.
    """
    pair = needs.Pair(normalizer, activation)
    problem = needs.unmet(
        results,
        pair,
        needs.rates_varied,
        needs.variants_decided,
        needs.usable,
        needs.best_rates_known if role == "best" else needs.reference_best_known,
        needs.target_fixed,
        needs.confirmed(role),
    )
    if problem:
        return problem
    reference = time_to_target(results, pair.reference, "best", unit)
    return Sample.of(log_speedup(reference, time_to_target(results, pair.variant, role, unit)))
