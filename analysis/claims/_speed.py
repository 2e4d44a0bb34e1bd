"""What the three claims on time to target share."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Pair, Requirement, Sample
from analysis.measures import log_speedup, time_to_target
from analysis.measures.speed import Unit
from analysis.results import Results
from benchmark.contract import BEST

CAVEAT = "Conditional on this one split: all seeds share one validation set"


def requirements(role: str) -> tuple[Requirement, ...]:
    """What a claim requires whose normalized net is the confirm cell in this role, `best` or `x1`."""
    return (
        needs.rates_varied,
        needs.variants_decided,
        needs.usable,
        needs.best_rates_known if role == BEST else needs.reference_best_known,
        needs.target_fixed,
        needs.confirmed(role),
    )


def paired_speedup(results: Results, pair: Pair, role: str, unit: Unit) -> Sample:
    """Per confirm seed, log10(time of the reference at its eta* / time of the normalized net).

    Args:
        results: a study's.
        pair: what is compared.
        role: the normalized net's confirm cell, `best` or `x1`.
        unit: of the times.
    """
    reference = time_to_target(results, pair.reference_variant, BEST, unit)
    times = time_to_target(results, pair.variant, role, unit, reference=pair.reference)
    return Sample.of(log_speedup(reference, times))
