"""Batch normalization against what competes with it without normalizing.

The claims compare with the plain unnormalized net. An initialization or a clipped gradient may do for it what
normalization does, so the same claims are judged again with each competitor as the pair's reference, on the
same trials. What was decided stays: best rates, usability, targets. Exploratory: the protocol's claims are
about the plain net.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from analysis.claims._base import Claim, Verdict, show_effect, show_interval
from analysis.claims._judge import judge
from analysis.results import Results
from benchmark.contract import CONFIRMATORY


def judge_against_competitors(results: Results, claims: Sequence[Claim]) -> dict[str, list[Verdict]]:
    """Judge batch normalization against each competitor.

    Args:
        results: of the study.
        claims: in the order of the report.

    Returns:
        competitor -> verdicts by claim and activation, Holm-adjusted within each claim as always; empty for a
        study without batch normalization or without competitors.
    """
    if CONFIRMATORY not in results.normalizations:
        return {}
    shows = {claim.id: claim.show for claim in claims}
    return {
        name: [
            dataclasses.replace(verdict, exploratory=True, sentence=_sentence(verdict, shows))
            for verdict in judge(results, claims, None, reference=name)
        ]
        for name in results.competitors
    }


def _sentence(verdict: Verdict, shows: Mapping[str, Callable[[float], str]]) -> str:
    """A verdict in words that name the competitor: the claims' own speak of the plain net."""
    pair = verdict.pair
    words = f"{pair.normalizer} against {pair.reference}, {pair.activation} net: {verdict.outcome}"
    if not verdict.n:
        return f"{words}. {verdict.reason}."
    show = shows[verdict.claim]
    effect = show_effect(show, verdict.effect, verdict.effect_low, verdict.effect_high)
    interval = show_interval(show, verdict.low, verdict.high)
    return f"{words}, {effect} (90% interval: {interval}; {verdict.n} seeds)."
