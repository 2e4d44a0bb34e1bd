"""A study beside its replications, on other seeds and another split: claim by claim, do they agree?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.claims import CLAIMS, Verdict, judge_outcomes, show_effect, show_interval
from analysis.results import Results

COLUMNS = [
    *("replication", "claim", "normalizer", "activation", "outcome", "effect", "low", "high"),
    *("outcome_again", "effect_again", "low_again", "high_again", "unit", "agree", "why"),
    *("shown", "shown_again"),
]
AGREE = "Two verdicts agree if they are the same and, where both were judged, their 90% intervals overlap"


def replications_frame(results: Results, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Every verdict of a study beside the same one of each of its replications.

    Args:
        results: a study's, with its replications.
        verdicts: of it.

    Returns:
        frame with columns replication, claim, normalizer, activation; outcome, effect, low, high of the
        study, and with `_again` those of the replication; unit; agree; why (not), in words; shown and
        shown_again (effect and interval in words).
    """
    rows = []
    for replication in results.replications:
        found = {(v.claim, v.pair): v for v in judge_outcomes(replication)}
        rows += [
            _row(str(replication.study["name"]), verdict, found[verdict.claim, verdict.pair])
            for verdict in verdicts
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def agreement_words(frame: pd.DataFrame) -> list[str]:
    """How many verdicts of each replication agree, a sentence each."""
    return [
        f"{name}: {int(own['agree'].sum())} of {len(own)} verdicts agree."
        for name, own in frame.groupby("replication", sort=False)
    ]


def _row(name: str, verdict: Verdict, again: Verdict) -> tuple[object, ...]:
    apart = verdict.low > again.high or again.low > verdict.high  # NaN, of one not judged, is neither
    same = verdict.outcome == again.outcome
    why = "" if same and not apart else "another verdict" if not same else "the intervals lie apart"
    return (
        *(name, verdict.claim, verdict.normalizer, verdict.activation),
        *(verdict.outcome, verdict.effect, verdict.low, verdict.high),
        *(again.outcome, again.effect, again.low, again.high, verdict.unit, not why, why),
        *(_shown(verdict), _shown(again)),
    )


def effect_words(verdict: Verdict) -> str:
    """A verdict's effect; empty where nothing was judged."""
    if not verdict.n:
        return ""
    show = CLAIMS[verdict.claim].show
    return show_effect(show, verdict.effect, verdict.effect_low, verdict.effect_high)


def interval_words(verdict: Verdict) -> str:
    """A verdict's 90% interval; empty where nothing was judged."""
    return show_interval(CLAIMS[verdict.claim].show, verdict.low, verdict.high) if verdict.n else ""


def _shown(verdict: Verdict) -> str:
    """Effect and interval; empty where nothing was judged."""
    return f"{effect_words(verdict)} ({interval_words(verdict)})" if verdict.n else ""
