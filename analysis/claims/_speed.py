"""What the three claims on time to target share."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Pair, Requirement, Sample
from analysis.measures import log_speedup, select, time_to_target
from analysis.measures.select import SAME_RATE
from analysis.measures.speed import Unit
from analysis.results import Results
from benchmark.contract import BEST


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
    return Sample.of(log_speedup(reference, times), _caveats(results, pair, role, unit))


def _caveats(results: Results, pair: Pair, role: str, unit: Unit) -> list[str]:
    """Who set the target, and which other claim rests on the same trials."""
    target = results.decisions["targets"][pair.activation]
    setter = target["variant"]
    said = [f"The target, a validation accuracy of {target['accuracy']:.3f}, was set by {setter}"]
    if setter != select.reference_of(results, pair.variant):
        said[0] += ", as the unnormalized net of this activation is not usable"
    if unit == "seconds":
        return [*said, "These are the trials of faster-at-best-rate, by another clock"]
    rates = {select.confirm_rate(results, pair.variant, name, pair.reference) for name in (BEST, SAME_RATE)}
    if len(rates) == 1:
        other = "faster-at-same-rate" if role == BEST else "faster-at-best-rate"
        said.append(
            f"Both nets have the same best rate, so {other} rests on these same trials: one finding, not two"
        )
    return said
