"""Batch normalization against what competes with it without normalizing.

The claims compare with the plain unnormalized net. An initialization or a clipped gradient may do for it what
normalization does, so each competitor is put in the plain net's place and the same claims are judged again,
on the same trials. Exploratory: the protocol's claims are about the plain net.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.claims._base import Claim, Verdict, show_effect, show_interval
from analysis.claims._judge import CONFIRMATORY, judge
from analysis.measures import select
from analysis.results import Results, split_variant

PLAIN = "none"


def competitors(results: Results) -> list[str]:
    """The study's normalizations that do not normalize, the plain net aside: `none-he`, ..."""
    return [name for name in results.normalizations if name.startswith(f"{PLAIN}-")]


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
            dataclasses.replace(verdict, exploratory=True, sentence=_sentence(verdict, name, shows))
            for verdict in judge(with_reference(results, name), claims, None)
        ]
        for name in competitors(results)
    }


def _sentence(verdict: Verdict, competitor: str, shows: Mapping[str, Callable[[float], str]]) -> str:
    """A verdict in words that name the competitor: the claims' own speak of the plain net."""
    pair = f"{verdict.normalizer} against {competitor}, {verdict.activation} net: {verdict.outcome}"
    if not verdict.n:
        return f"{pair}. {verdict.reason.replace(f'{PLAIN}-', f'{competitor}-')}."
    show = shows[verdict.claim]
    effect = show_effect(show, verdict.effect, verdict.effect_low, verdict.effect_high)
    interval = show_interval(show, verdict.low, verdict.high)
    return f"{pair}, {effect} (90% interval: {interval}; {verdict.n} seeds)."


def with_reference(results: Results, competitor: str) -> Results:
    """Results of batch normalization and the competitor alone, with the competitor as the unnormalized net.

    What was decided stays: best rates, usability, targets. A cell of batch normalization at 1, 5 or 30 times
    the *plain* net's best rate is none at multiples of the competitor's, so these roles are given anew, to
    cells that were trained at the competitor's best rate, if there are any.
    """
    renamed = {
        f"{name}-{activation}": f"{new}-{activation}"
        for name, new in ((competitor, PLAIN), (CONFIRMATORY, CONFIRMATORY))
        for activation in results.activations
    }
    decided = results.decisions
    confirm = [
        cell | {"variant": renamed[cell["variant"]]}
        for cell in decided.get("confirm", [])
        if cell["variant"] in renamed
    ]
    best = {cell["variant"]: cell["learning_rate"] for cell in confirm if "best" in cell["roles"]}
    normalizations = [PLAIN, CONFIRMATORY]
    return dataclasses.replace(
        results,
        study=results.study | {"variants": results.study["variants"] | {"normalizations": normalizations}},
        decisions=decided
        | {
            "variants": {
                renamed[name]: of for name, of in decided.get("variants", {}).items() if name in renamed
            },
            "confirm": [cell | {"roles": _roles(cell, best)} for cell in confirm],
        },
        trials=_renamed(results.trials, renamed),
        curves=_renamed(results.curves, renamed),
        probes=_renamed(results.probes, renamed),
        siblings=(),
    )


def _roles(cell: Mapping[str, Any], best: Mapping[str, float]) -> list[str]:
    """What a confirm cell stands for beside the new reference."""
    roles = ["best"] if "best" in cell["roles"] else []
    reference = select.reference_of(cell["variant"])
    if cell["variant"] != reference and cell["learning_rate"] == best.get(reference):
        roles.append("x1")
    return roles


def _renamed(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """The rows of these variants, under their new names."""
    rows = frame[frame["variant"].isin(list(names))]
    variants = rows["variant"].map(names)
    return rows.assign(variant=variants, normalization=[split_variant(str(name))[0] for name in variants])
