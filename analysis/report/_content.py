"""Everything the templates show, in words and in order; reads what was computed, computes nothing."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.claims import CLAIMS, Claim, Verdict, searched_words, show_effect, show_interval, show_middle
from analysis.matrix import Matrix, against_competitors, by_normalizer
from analysis.measures import ranking_words
from analysis.replications import agreement_words
from analysis.report._averages import averages
from analysis.report._figures import Picture
from analysis.report._tables import Table
from analysis.results import DAMAGED, Results
from analysis.text import MISSING, duration, pvalue
from benchmark.contract import ENDED

STRIP_ENDS = (-6.0, 24.0)  # multiples of delta at the ends of a verdict's strip


@dataclass(frozen=True)
class Strip:
    """A verdict's interval as positions (0 to 100) on a line that also shows zero and delta."""

    zero: float
    low: float
    high: float
    effect: float | None
    delta: float


@dataclass(frozen=True)
class Judged:
    """A verdict, worded for a row of the table."""

    claim: Claim
    verdict: Verdict
    effect: str
    interval: str
    pvalues: str
    strip: Strip | None


@dataclass(frozen=True)
class Section:
    """One claim: its question, its verdicts and the figures not shown before it."""

    claim: Claim
    judged: list[Judged]
    num_tests: int
    pictures: list[Picture]
    seen: list[Picture]
    notes: list[str]


@dataclass(frozen=True)
class Content:
    """What the templates read."""

    results: Results
    headline: list[Judged]
    primary: Claim
    notices: list[str]
    matrices: list[Matrix]
    competitors: list[Matrix]
    ranking: list[str]
    averages: list[str]
    by_normalizer: dict[str, list[tuple[Claim, list[Judged]]]]
    sections: list[Section]
    pictures: list[Picture]
    skipped: list[Picture]
    tables: dict[str, Table]
    missing: list[str]
    outcomes: list[tuple[str, dict[str, int]]]
    facts: dict[str, str]
    environment: dict[str, str]
    command: str
    other_optimizer: str
    agreement: list[str]


def assemble(
    results: Results,
    verdicts: Sequence[Verdict],
    rivals: Mapping[str, Sequence[Verdict]],
    tables: dict[str, Table],
    pictures: Sequence[Picture],
) -> Content:
    """Put the report's parts in the order they are read in."""
    judged = [_judged(verdict) for verdict in verdicts]
    primary = next(claim for claim in CLAIMS.values() if claim.primary)
    better = tables["better-rates"].frame
    sections = _sections(results, judged, [one for one in pictures if not one.skipped], better)
    shown = {picture.id for section in sections for picture in section.pictures}
    return Content(
        results=results,
        headline=[one for one in judged if one.claim.id == primary.id and not one.verdict.exploratory],
        primary=primary,
        notices=_notices(results),
        matrices=by_normalizer(verdicts),
        competitors=against_competitors(rivals),
        ranking=ranking_words(results, tables["ranking"].frame),
        averages=averages(results, tables["moving-averages"].frame, tables["sensitivity"].frame),
        by_normalizer=_by_normalizer(results, judged),
        sections=sections,
        pictures=[picture for picture in pictures if not picture.skipped and picture.id not in shown],
        skipped=[picture for picture in pictures if picture.skipped],
        tables=tables,
        missing=_missing(results),
        outcomes=_outcomes(results.trials),
        facts=_facts(results),
        environment={
            key.replace("_", " "): str(value)
            for key, value in results.environment.items()
            if not key.startswith("git_")  # among the facts
        },
        command=command_of(results),
        other_optimizer=_other_optimizer(results),
        agreement=agreement_words(tables["replications"].frame),
    )


def _judged(verdict: Verdict) -> Judged:
    claim = CLAIMS[verdict.claim]
    tested = verdict.n > 0
    return Judged(
        claim=claim,
        verdict=verdict,
        effect=_effect(claim, verdict) if tested else MISSING,
        interval=show_interval(claim.show, verdict.low, verdict.high) if tested else MISSING,
        pvalues=f"{pvalue(verdict.p_supported)} / {pvalue(verdict.p_refuted)}" if tested else MISSING,
        strip=_strip(verdict) if tested else None,
    )


def _effect(claim: Claim, verdict: Verdict) -> str:
    size = verdict.effect_low, verdict.effect_high
    parts = show_effect(claim.show, verdict.effect, *size), show_middle(claim.show, *size, verdict.delta)
    return ", ".join(filter(None, parts))


def _strip(verdict: Verdict) -> Strip:
    """Positions on a line that is linear near zero and logarithmic further out, so that every claim fits."""

    def position(value: float) -> float:
        left, right = (math.asinh(end) for end in STRIP_ENDS)
        place = 100 * (math.asinh(value / verdict.delta) - left) / (right - left)
        return round(min(max(place, 0.0), 100.0), 1)

    return Strip(
        zero=position(0.0),
        low=position(verdict.low),
        high=position(verdict.high),
        effect=position(verdict.effect) if math.isfinite(verdict.effect) else None,
        delta=position(verdict.delta),
    )


def _by_normalizer(results: Results, judged: Sequence[Judged]) -> dict[str, list[tuple[Claim, list[Judged]]]]:
    """Normalizer in words -> claims with their verdicts; the protocol's normalizer first."""
    ordered = sorted(judged, key=lambda one: one.verdict.exploratory)
    names = list(dict.fromkeys(one.verdict.normalizer for one in ordered))
    return {
        results.words(name): [
            (claim, rows)
            for claim in CLAIMS.values()
            if (rows := [o for o in judged if o.claim.id == claim.id and o.verdict.normalizer == name])
        ]
        for name in names
    }


def _sections(
    results: Results, judged: Sequence[Judged], pictures: Sequence[Picture], better: pd.DataFrame
) -> list[Section]:
    """A section per judged claim; a figure stands where it is first needed and is linked from there on."""
    shown: set[str] = set()
    sections = []
    for claim in CLAIMS.values():
        own = [one for one in judged if one.claim.id == claim.id]
        if not own:
            continue
        wanted = [picture for picture in pictures if claim.id in picture.claims]
        fresh = [picture for picture in wanted if picture.id not in shown]
        shown |= {picture.id for picture in fresh}
        seen = [picture for picture in wanted if picture not in fresh]
        notes = _searched_unjudged(results, own) if claim.primary else []
        notes += [
            _at_better_rates(claim, row) for row in better[better["claim"] == claim.id].to_dict("records")
        ]
        sections.append(Section(claim, own, own[0].verdict.num_tests, fresh, seen, notes))
    return sections


def _searched_unjudged(results: Results, judged: Sequence[Judged]) -> list[str]:
    """Which seeds were searched for a stable rate, of nets whose verdicts, not judged, do not say it."""
    said = {name for one in judged if one.verdict.n for name in one.verdict.pair.both}
    return [
        f"{words}."
        for name in results.variants
        if name not in said and (words := searched_words(results, name))
    ]


def _at_better_rates(claim: Claim, row: Mapping[Hashable, Any]) -> str:
    """What the claim is where refinement came upon a better rate than the grid's best, in words."""
    where = (
        f"{row['normalizer']} on the {row['activation']} net: refinement came upon a better rate than the "
        f"grid's best, {row['instead']}."
    )
    if not row["n"]:
        return f"{where} There nothing can be said: {row['reason']}."
    effect = show_effect(claim.show, row["effect"], row["effect_low"], row["effect_high"])
    between = show_interval(claim.show, row["low"], row["high"])
    return (
        f"{where} There the effect is {effect} (90% interval: {between}; {row['n']} seeds, as sweep and "
        f"refinement were evaluated; {row['outcome']} by itself), which decides nothing."
    )


def _notices(results: Results) -> list[str]:
    """What a reader must know before the first number."""
    notices = [f"{results.which_run}."] if results.which_run else []
    if axis := results.study.get("axis"):
        names = axis["names"] or axis["values"]
        notices.append(
            f"One value of this study's axis: {axis['label']} = {names[axis['position']]}. The head report "
            "lays all values side by side."
        )
    if results.study["data"].get("validation") == "test":
        notices.append(
            "This study validates on the test split, as its source did: the same images chose and scored. "
            "Its accuracies and losses are optimistic, and not comparable with those of the other studies."
        )
    if results.damaged:
        are = "trial is" if len(results.damaged) == 1 else "trials are"
        notices.append(
            f"{len(results.damaged)} {are} left out, for what was logged is damaged or gone: see below. This "
            f"trains anew what is left out: {command_of(results)}"
        )
    if results.status != "complete":
        notices.append(
            f"This study is {'still running' if results.status == 'running' else results.status}: the "
            "report shows what there is. What is missing is listed below."
        )
    decided = results.decisions.get("variants", {})
    without = [variant for variant, of in decided.items() if of.get("best_learning_rate") is None]
    if without:
        notices.append(
            "Trained in fewer than half the seeds at every learning rate tried within "
            f"{results.study['budget']['num_steps']} steps: {', '.join(without)}. Such a net has no best "
            "rate, and ratios against it cannot be judged."
        )
    at_edge = [variant for variant, of in decided.items() if of.get("at_edge")]
    if at_edge:
        notices.append(
            f"Best learning rate on the edge of the range tried: {', '.join(at_edge)}. The true optimum may "
            "be outside, so claims at its best are not judged."
        )
    return notices


def _other_optimizer(results: Results) -> str:
    """The command that trains this study with another optimizer; empty if that was done, or says nothing."""
    along_axis = (results.study.get("axis") or {}).get("key", "").startswith("optimizer")
    if results.siblings or along_axis or results.study["search"]["sampler"] == "fixed":
        return ""
    other = "sgd" if results.study["optimizer"]["name"] == "rmsprop" else "rmsprop"
    return f"{command_of(results)} --set optimizer.name={other}"


def command_of(results: Results) -> str:
    """What runs this study again, or goes on with it."""
    return str(results.progress.get("command") or f"python -m benchmark run {results.study['name']}")


def _missing(results: Results) -> list[str]:
    """What an unfinished or damaged study lacks, in words."""
    planned_gone = "how many trials were planned was not logged"
    lines = [] if "planned" in results.progress else [planned_gone]
    stage_of, status_of = results.trials["stage"], results.trials["status"]
    for stage, planned in results.progress.get("planned", {}).items():
        ended = int(((stage_of == stage) & status_of.isin(ENDED)).sum())
        if planned is None:
            lines.append(f"{stage}: not planned yet, it depends on the stage before it")
        elif ended < planned:
            lines.append(f"{stage}: {ended} of {planned} trials ended")
    for status in ("failed", DAMAGED, "running"):
        count = int((status_of == status).sum())
        if count:
            lines.append(f"{count} {'trial' if count == 1 else 'trials'} {status}")
    return [*lines, *results.damaged]


def _outcomes(trials: pd.DataFrame) -> list[tuple[str, dict[str, int]]]:
    """Stage -> number of trials by status."""
    statuses = [s for s in (*ENDED, "failed", DAMAGED, "running") if (trials["status"] == s).any()]
    return [
        (str(stage), {status: int((own["status"] == status).sum()) for status in statuses})
        for stage, own in trials.groupby("stage", sort=False)
    ]


def _facts(results: Results) -> dict[str, str]:
    """What it takes to find, and to repeat, this study."""
    facts: dict[str, Any] = {
        "study": results.study["name"],
        "study hash": results.study_hash,
        "data fingerprint": results.data_fingerprint,
        "MLflow run": results.run_id,
        "git commit": results.commit
        + (" (with uncommitted changes)" if results.environment.get("git_dirty") else ""),
        "protocol version": results.schema["protocol_version"],
        "schema version": results.schema["schema_version"],
        "wall time": duration(results.progress.get("wall_time_s")),
    }
    return {key: str(value) for key, value in facts.items()}
