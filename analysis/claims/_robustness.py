"""What stands beside a verdict: under how many other choices it is the same, and under which it is not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.claims._base import NOT_EVALUABLE, Claim, Robustness, Verdict, show_interval
from analysis.claims._sensitivity import CHOICES

SHORT = {choice.name: choice.short for choice in CHOICES}
"""Of choices on the same trials. Another optimizer is another study, and not counted."""


def with_robustness(
    verdicts: Sequence[Verdict], table: pd.DataFrame, claims: Mapping[str, Claim]
) -> list[Verdict]:
    """The verdicts, with what other choices make of them.

    Args:
        verdicts: of a study.
        table: from `sensitivity_table` of it.
        claims: by id.
    """
    keys = ["claim", "normalizer", "activation"]
    tried = {key: rows.to_dict("records") for key, rows in table.groupby(keys)}
    return [
        dataclasses.replace(verdict, robustness=_robustness(verdict, rows, claims[verdict.claim]))
        if (rows := tried.get((verdict.claim, verdict.normalizer, verdict.activation)))
        else verdict
        for verdict in verdicts
    ]


def _robustness(verdict: Verdict, rows: Sequence[Mapping[Any, Any]], claim: Claim) -> Robustness | None:
    others = [row for row in rows if row["choice"] in SHORT]
    if verdict.outcome == NOT_EVALUABLE or not others:
        return None
    changed = [row for row in others if row["outcome"] != verdict.outcome]
    same, settled = len(others) - len(changed), verdict.outcome != "INCONCLUSIVE"
    plural = "s" * (len(others) > 1)
    held = f"{'holds' if settled else 'stays open'} under {same} of {len(others)} other choice{plural}"

    def listed(figures: bool) -> str:
        told = [_told(row, settled, claim if figures else None) for row in changed]
        return "; ".join([held, ("not " if settled else "but ") + ", ".join(told)] if told else [held])

    words = listed(figures=True)
    return Robustness(same, len(others), listed(figures=False), words[0].upper() + words[1:])


def _told(row: Mapping[Any, Any], settled: bool, claim: Claim | None) -> str:
    """A choice under which the outcome is another; with a claim, the figures in its words."""
    short = SHORT[row["choice"]] if settled else f"{row['outcome']} {SHORT[row['choice']]}"
    if claim is None:
        return short
    figures = []
    if math.isfinite(row["effect"]):
        figures.append(claim.show(row["effect"]))
    if math.isfinite(row["low"]) or math.isfinite(row["high"]):
        figures.append(show_interval(claim.show, row["low"], row["high"]))
    found = ", ".join(figures)
    if settled:
        found = f"{row['outcome']}: {found}" if found else row["outcome"]
    return f"{short} ({found})" if found else short
