"""Verdicts at a glance: a table of claims, an entry per verdict, in a colour and in letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.claims import CLAIMS, OUTCOMES, Outcome, Verdict
from benchmark.contract import CONFIRMATORY

LETTERS: dict[Outcome, str] = {
    "SUPPORTED": "yes",
    "REFUTED": "no",
    "INCONCLUSIVE": "open",
    "NOT EVALUABLE": "n/e",
}
"""What an entry says; the words are explained beside every matrix."""

LEGEND = ", ".join(f"{LETTERS[outcome]}: {outcome.lower()}" for outcome in OUTCOMES)


@dataclass(frozen=True)
class Entry:
    """One verdict, in short.

    Attributes:
        letters: from `LETTERS`.
        outcome: in full; also its colour.
        sentence: shown on pointing at it.
        link: where it is explained; empty if nowhere.
    """

    letters: str
    outcome: str
    sentence: str
    link: str


@dataclass(frozen=True)
class Matrix:
    """A table of verdicts.

    Attributes:
        title: what all of its cells share.
        corner: what its rows are.
        columns: headings.
        rows: a heading, whether it is exploratory, and an entry per column; None where nothing was asked.
    """

    title: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, bool, list[Entry | None]]]


def entry(verdict: Verdict, page: str = "", *, linked: bool = True) -> Entry:
    """A verdict's entry; it links to its claim on `page`, by default the one it stands on, if `linked`."""
    return Entry(
        letters=LETTERS[verdict.outcome],
        outcome=verdict.outcome,
        sentence=verdict.in_full,
        link=f"{page}#claim-{verdict.claim}" if linked else "",
    )


def by_normalizer(verdicts: Sequence[Verdict]) -> list[Matrix]:
    """Normalizers x claims, one matrix per activation; none where there is a single normalizer."""
    normalizers = list(dict.fromkeys(verdict.normalizer for verdict in verdicts))
    if len(normalizers) < 2:
        return []
    matrices = []
    for activation in dict.fromkeys(verdict.activation for verdict in verdicts):
        own = {(v.normalizer, v.claim): v for v in verdicts if v.activation == activation}
        claims = [claim for claim in CLAIMS if any(claim == asked for _, asked in own)]
        rows: list[tuple[str, bool, list[Entry | None]]] = []
        for normalizer in normalizers:
            found = [own.get((normalizer, claim)) for claim in claims]
            exploratory = any(verdict.exploratory for verdict in found if verdict)
            rows.append((normalizer, exploratory, [entry(v) if v else None for v in found]))
        matrices.append(Matrix(f"{activation} nets", "normalizer", claims, rows))
    return matrices


def by_value(verdicts: Sequence[tuple[str, str, Sequence[Verdict]]]) -> list[Matrix]:
    """Claims x values of an axis, one matrix per normalizer and activation.

    Args:
        verdicts: of each value: its name, the page of its own report, and its verdicts.
    """
    pairs = dict.fromkeys((v.pair, v.exploratory) for *_, own in verdicts for v in own)
    matrices = []
    for pair, exploratory in pairs:
        columns = [{v.claim: entry(v, page) for v in own if v.pair == pair} for _, page, own in verdicts]
        claims = [claim for claim in CLAIMS if any(claim in column for column in columns)]
        title = pair.variant + (" (exploratory)" if exploratory else "")
        rows = [(claim, False, [column.get(claim) for column in columns]) for claim in claims]
        matrices.append(Matrix(title, "claim", [name for name, *_ in verdicts], rows))
    return matrices


def against_competitors(judged: Mapping[str, Sequence[Verdict]]) -> list[Matrix]:
    """Competitors x claims, one matrix per activation: does batch normalization beat each of them?

    Args:
        judged: competitor -> batch normalization's verdicts against it.
    """
    matrices = []
    for activation in dict.fromkeys(v.activation for own in judged.values() for v in own):
        rows: list[tuple[str, bool, list[Entry | None]]] = []
        asked = {v.claim for own in judged.values() for v in own if v.activation == activation}
        claims = [claim for claim in CLAIMS if claim in asked]
        for competitor, verdicts in judged.items():
            own = {v.claim: v for v in verdicts if v.activation == activation}
            entries = [entry(own[claim], linked=False) if claim in own else None for claim in claims]
            rows.append((competitor, True, entries))
        matrices.append(
            Matrix(f"{CONFIRMATORY} against competitors, {activation} nets", "against", claims, rows)
        )
    return matrices


def matrix_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """The matrix in long form: normalizer, activation, claim, outcome, exploratory, effect, low, high, n."""
    columns = ["normalizer", "activation", "claim", "outcome", "exploratory", "effect", "low", "high", "n"]
    return pd.DataFrame([[getattr(v, name) for name in columns] for v in verdicts], columns=columns)
