"""Everything the findings show, in words and in order: the same claims on every data set side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.claims import CLAIMS, MOVING_AVERAGES, NOT_EVALUABLE, Claim, Outcome, Verdict
from analysis.findings._asked import (
    ADVICE,
    AVERAGES_CHANGE,
    AVERAGES_SAME,
    NOTEBOOK,
    PAPERS,
    READINGS,
    SCALES,
    STATEMENTS,
    Advice,
    Paper,
    Part,
    Scale,
    Statement,
)
from analysis.findings._ran import Ran, Row, row_of, rows_of, size_words
from analysis.measures import cell_table, rate_multiples_table
from analysis.measures.select import best_rate
from analysis.replications import effect_words
from analysis.results import Results
from analysis.stats import bootstrap_interval
from analysis.text import MISSING, duration
from benchmark.contract import CONFIRMATORY, ENDED

RELU = "relu"
SEED = 20190829
"""Of the bootstraps, so that the page is the same each time."""

ANSWERS: Mapping[frozenset[Outcome], str] = {
    frozenset(): "not judged",
    frozenset({"SUPPORTED"}): "confirmed",
    frozenset({"REFUTED"}): "refuted",
    frozenset({"INCONCLUSIVE"}): "open",
    frozenset({"SUPPORTED", "INCONCLUSIVE"}): "confirmed in part, open in part",
    frozenset({"REFUTED", "INCONCLUSIVE"}): "refuted in part, open in part",
    frozenset({"SUPPORTED", "REFUTED"}): "confirmed in part, refuted in part",
    frozenset({"SUPPORTED", "REFUTED", "INCONCLUSIVE"}): "confirmed in part, refuted in part, open in part",
}
"""What verdicts that could be judged make of a statement that rests on all of them."""


@dataclass(frozen=True)
class Picture:
    """A figure beside the page.

    Attributes:
        link: relative to the page.
        title: heading.
        caption: with the number of seeds.
    """

    link: str
    title: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A claim on every data set, its plain reading, and its figure."""

    claim: Claim
    reading: str
    rows: list[Row]
    picture: Picture | None


@dataclass(frozen=True)
class Content:
    """What the template reads."""

    leading: Ran
    lead: list[Verdict]
    scales: list[Ran]
    missing: list[Scale]
    statements: list[tuple[Statement, list[tuple[str, str, list[Row]]]]]
    side_by_side: list[tuple[str, str, list[str], str]]
    multiples: list[dict[str, Any]]
    papers: list[tuple[Paper, Row | None, str, str]]
    advice: list[tuple[str, str, str]]
    sections: list[Section]
    notebook: Ran | None
    networks: list[dict[str, Any]]
    notebook_rows: list[Row]
    runs: list[dict[str, str]]

    @property
    def pictures(self) -> list[Picture]:
        """Those of the sections, each once."""
        return list(dict.fromkeys(section.picture for section in self.sections if section.picture))


def assemble(ran: Sequence[Ran], notebook: Ran | None, pictures: Mapping[str, Picture]) -> Content:
    """The page's parts, in the order they are read in.

    Args:
        ran: from the smallest data set to the largest.
        notebook: the source's own experiment; None where it was not run.
        pictures: by claim, of the largest one's study.
    """
    leading, source = ran[-1], [notebook] if notebook else []
    all_ran = [*ran, *source]
    known = {one.scale.study for one in all_ran}
    return Content(
        leading=leading,
        lead=lead(leading),
        scales=list(ran),
        missing=[scale for scale in (*SCALES, NOTEBOOK) if scale.study not in known],
        statements=[(statement, _answers(statement, ran)) for statement in STATEMENTS],
        side_by_side=_side_by_side(ran),
        multiples=rate_multiples_table(leading.results).to_dict("records"),  # type: ignore[arg-type]
        papers=[_compared(paper, leading) for paper in PAPERS],
        advice=[*(_advised(advice, ran) for advice in ADVICE), *_advised_on_averages(ran)],
        sections=[
            Section(claim, READINGS[claim.id], rows, pictures.get(claim.id))
            for claim in CLAIMS.values()
            if (rows := rows_of(ran, Part(claim.id)))
        ],
        notebook=notebook,
        networks=_networks(notebook.results) if notebook else [],
        notebook_rows=[row for claim in CLAIMS for row in rows_of([notebook], Part(claim))]
        if notebook
        else [],
        runs=[
            _run(one.scale, results)
            for one in all_ran
            for results in (one.results, *one.results.replications)
        ],
    )


def lead(leading: Ran) -> list[Verdict]:
    """The main claim's verdicts that could be judged; all of them where none could."""
    primary = next(claim for claim in CLAIMS.values() if claim.primary)
    own = [verdict for verdict in leading.verdicts if verdict.claim == primary.id]
    return [verdict for verdict in own if verdict.n] or own


def _answers(statement: Statement, ran: Sequence[Ran]) -> list[tuple[str, str, list[Row]]]:
    """Per data set: its name, the answer, and the verdicts it rests on."""
    answers = []
    for one in ran:
        rows = [row for part in statement.parts for row in rows_of([one], part)]
        judged = frozenset(row.verdict.outcome for row in rows) - {NOT_EVALUABLE}
        answers.append((one.scale.data, ANSWERS[judged], rows))
    return answers


def _side_by_side(ran: Sequence[Ran]) -> list[tuple[str, str, list[str], str]]:
    """Claim, net, a cell per data set, and whether all that judged it say the same."""
    asked = dict.fromkeys(
        (claim, v.activation) for claim in CLAIMS for one in ran for v in one.verdicts if v.claim == claim
    )
    table = []
    for claim, activation in asked:
        found = [one.verdict(claim, activation) for one in ran]
        cells = [row_of(one, v).short if v else MISSING for one, v in zip(ran, found, strict=True)]
        judged = [v.outcome for v in found if v and v.n]
        same = "yes" if len(set(judged)) == 1 else "no"
        table.append((claim, activation, cells, same if len(judged) > 1 else MISSING))
    return table


def _compared(paper: Paper, leading: Ran) -> tuple[Paper, Row | None, str, str]:
    """A paper, our verdict, whether it agrees, and the likeliest reason."""
    verdict = leading.verdict(paper.claim, RELU)
    if verdict is None or not verdict.n:
        return paper, None, "not asked", ""
    open_ = verdict.outcome == "INCONCLUSIVE"
    agrees = "open" if open_ else "agrees" if verdict.outcome == paper.agrees else "disagrees"
    words = [paper.reasons[verdict.outcome]]
    if paper.best_rates:
        results = leading.results
        rates = (f"{net} {best_rate(results, net):.2g}" for net in verdict.pair.both)
        words.append(
            f"The best rates of those tried, at {results.study['budget']['batch_size']} images: "
            f"{', '.join(rates)}."
        )
    return paper, row_of(leading, verdict), agrees, " ".join(words)


def _advised(advice: Advice, ran: Sequence[Ran]) -> tuple[str, str, str]:
    """What to do, how sure we are, and what that rests on."""
    found = [(one, v) for one in ran if (v := one.verdict(advice.claim, advice.activation))]
    outcome: Outcome = found[-1][1].outcome if found else NOT_EVALUABLE
    effect = effect_words(found[-1][1]) if found else ""
    judged = [(one, v) for one, v in found if v.n]
    rests = "; ".join(f"{one.scale.data}: {row_of(one, v).short}" for one, v in reversed(found)) or "nothing"
    replicated = [one.replicated(v) for one, v in judged]
    agree, asked = (sum(column) for column in zip(*replicated, strict=True)) if replicated else (0, 0)
    if asked:
        rests += f"; {agree} of {asked} replications agree"
    return advice.by_outcome[outcome].format(effect=effect), _how_sure(outcome, judged, agree == asked), rests


def _advised_on_averages(ran: Sequence[Ran]) -> Iterator[tuple[str, str, str]]:
    """Whether to judge a net by its moving averages: what these make of the main verdict on relu nets."""
    primary = next(claim for claim in CLAIMS.values() if claim.primary)
    judged = []
    for one in ran:
        table, verdict = one.other_choices, one.verdict(primary.id, RELU)
        rows = table[
            (table["claim"] == primary.id)
            & (table["activation"] == RELU)
            & (table["normalizer"] == CONFIRMATORY)
            & (table["choice"] == MOVING_AVERAGES.name)
        ]
        if verdict and verdict.n and len(rows):
            judged.append((one.scale.data, verdict.outcome, rows["outcome"].iloc[0]))
    if not judged:
        return
    changed = sum(by_averages != outcome for _, outcome, by_averages in judged)
    words = AVERAGES_CHANGE if changed else AVERAGES_SAME
    sure = f"it changes the main verdict on {changed} of {len(judged)} data sets"
    rests = "; ".join(f"{data}: {outcome}, by moving averages {other}" for data, outcome, other in judged)
    yield words, sure, rests


def _how_sure(outcome: Outcome, judged: Sequence[tuple[Ran, Verdict]], replicated: bool) -> str:
    """In words: on how many data sets that could tell the outcome is the same, and whether it replicates."""
    if outcome in (NOT_EVALUABLE, "INCONCLUSIVE"):
        return "open"
    same = sum(v.outcome == outcome for _, v in judged)
    where = (
        f"the same on {same} of the {len(judged)} data sets that could tell"
        if len(judged) > 1
        else "on one data set"
    )
    return where if replicated else f"{where}; a replication found otherwise"


def _networks(results: Results) -> list[dict[str, Any]]:
    """The source's networks at the end of its budget: means over seeds with 95% bootstrap intervals."""
    rng = np.random.default_rng(SEED)
    ended = results.trials[results.trials["status"].isin(ENDED)]
    rows = []
    for cell in cell_table(results).to_dict("records"):
        own = ended[(ended["variant"] == cell["variant"]) & (ended["stage"] == cell["stage"])]
        row: dict[str, Any] = {
            "net": cell["variant"],
            "n": len(own),
            "trained": float((own["status"] == "trained").mean()),
        }
        for name, column in (
            ("accuracy", "final_val_accuracy"),
            ("loss", "final_val_loss"),
            ("train_accuracy", "final_clean_train_accuracy"),
        ):
            values = own[column].to_numpy(dtype=float)
            row[name] = float(values.mean())
            row[f"{name}_interval"] = bootstrap_interval(values, rng) if len(values) > 1 else None
        rows.append(row)
    return rows


def _run(scale: Scale, results: Results) -> dict[str, str]:
    """A study run as a row: what it takes to repeat it."""
    return {
        "study": str(results.study["name"]),
        "data": scale.data,
        "size": size_words(results),
        "trials": f"{len(results.trials):,d}",
        "time": duration(results.progress.get("wall_time_s", math.nan)),
        "protocol": str(results.schema["protocol_version"]),
        "hash": results.study_hash,
        "commit": results.commit[:10],
        "command": str(results.progress.get("command", "")),
    }
