"""Everything the head page of a study with an axis shows; reads what was computed, computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import CLAIMS, Claim, Verdict, verdicts_document
from analysis.family import Family
from analysis.matrix import Matrix, by_value, matrix_frame
from analysis.measures import STABLE_RATE, axis_table, axis_trends, is_logarithmic
from analysis.report._content import command_of
from analysis.report._figures import Picture
from analysis.report._tables import SEED, Row, Table
from analysis.text import MISSING, duration, interval, number, pvalue
from benchmark.contract import ALPHA, least_seeds

PAGE = "report.html"
FAMILY_SCHEMA_VERSION = 1
Verdicts = Sequence[Sequence[Verdict]]
"""Of every member, in the family's order."""


@dataclass(frozen=True)
class Member:
    """One value's study run, as the head page lists it."""

    name: str
    link: str
    facts: dict[str, str]


@dataclass(frozen=True)
class FamilyContent:
    """What the head page's templates read.

    Attributes:
        family: the study runs.
        primary: the main claim.
        headline: its verdicts on batch normalization: value's name, verdict.
        members: in the axis' order.
        matrices: claims x values.
        pictures: drawn figures.
        skipped: figures that were not drawn.
        tables: by the name of their CSV file.
        missing: names of the values that were not run yet, and of runs that are not complete.
        command: runs the study, or goes on with it.
        logarithmic: whether the axis is.
        too_few: measures of which no trend could be told, with the number of seeds that it takes.
    """

    family: Family
    primary: Claim
    headline: list[tuple[str, Verdict]]
    members: list[Member]
    matrices: list[Matrix]
    pictures: list[Picture]
    skipped: list[Picture]
    tables: dict[str, Table]
    missing: list[str]
    command: str
    logarithmic: bool
    too_few: list[tuple[str, int]]


def assemble_family(
    family: Family, verdicts: Verdicts, tables: dict[str, Table], pictures: Sequence[Picture]
) -> FamilyContent:
    """Put the head page's parts together."""
    primary = next(claim for claim in CLAIMS.values() if claim.primary)
    named = [(family.name_of(member), own) for member, own in zip(family.members, verdicts, strict=True)]
    pages = [_page(family, position) for position in range(len(family.members))]
    return FamilyContent(
        family=family,
        primary=primary,
        headline=[
            (name, one)
            for name, own in named
            for one in own
            if one.claim == primary.id and not one.exploratory
        ],
        members=_members(family),
        matrices=by_value([(name, page, own) for (name, own), page in zip(named, pages, strict=True)]),
        pictures=[picture for picture in pictures if not picture.skipped],
        skipped=[picture for picture in pictures if picture.skipped],
        tables=tables,
        missing=_missing(family),
        command=command_of(family.newest),
        logarithmic=is_logarithmic(family),
        too_few=_too_few(tables["trends"].frame),
    )


def _too_few(trends: pd.DataFrame) -> list[tuple[str, int]]:
    """Measures of which no result of so few seeds could tell a trend, with the seeds that it takes."""
    most = trends.groupby("measure", sort=False)[["n", "family_size"]].max()
    needed = most["family_size"].map(least_seeds)
    return [(str(measure), int(needed[measure])) for measure in most.index[most["n"] < needed]]


def family_tables(family: Family, verdicts: Verdicts) -> dict[str, Table]:
    """All tables of the head report, by the name of their CSV file."""
    table = axis_table(family, np.random.default_rng(SEED))
    matrices = [
        matrix_frame(own).assign(value=family.name_of(member))
        for member, own in zip(family.members, verdicts, strict=True)
    ]
    return {
        "axis": Table(table, {family.label: lambda row: row["value"], **AXIS_COLUMNS}),
        "trends": Table(axis_trends(family), TREND_COLUMNS, marked=lambda row: _direction(row) != UNTOLD),
        "matrix": Table(pd.concat(matrices, ignore_index=True), {}),
    }


def family_document(family: Family, verdicts: Verdicts) -> Mapping[str, Any]:
    """The head's `verdicts.json`: under every member its own, as `analysis/verdicts.schema.json` says."""
    return {
        "schema_version": FAMILY_SCHEMA_VERSION,
        "study": str(family.newest.study["name"]),
        "axis": {name: family.axis[name] for name in ("key", "label", "values", "names")},
        "missing": family.missing,
        "members": [
            {
                "position": member.study["axis"]["position"],
                "value": family.name_of(member),
                "report": _page(family, index),
                "verdicts": verdicts_document(member, own),
            }
            for index, (member, own) in enumerate(zip(family.members, verdicts, strict=True))
        ],
    }


def _page(family: Family, index: int) -> str:
    return f"{family.folder_of(family.members[index])}/{PAGE}"


def _members(family: Family) -> list[Member]:
    return [
        Member(
            name=family.name_of(member),
            link=_page(family, index),
            facts={
                "status": member.status,
                "steps": f"{member.study['budget']['num_steps']:,d}",
                "trials": str(len(member.trials)),
                "wall time": duration(member.progress.get("wall_time_s")),
                "study hash": member.study_hash,
                "MLflow run": member.run_id,
                "commit": member.commit[:8],
            },
        )
        for index, member in enumerate(family.members)
    ]


def _missing(family: Family) -> list[str]:
    """What is not there yet, in words."""
    lines = [f"{family.label} = {name}: not run yet" for name in family.missing]
    unfinished = [member for member in family.members if member.status != "complete"]
    return lines + [f"{family.label} = {family.name_of(m)}: {m.status}" for m in unfinished]


def _stable(row: Row) -> str:
    low, high = row["stable_low"], row["stable_high"]
    if not row["n_stable"] or np.isnan(low):
        return MISSING
    return "none in half the seeds" if low == 0 else interval(low, high)


UNTOLD = "cannot be told"


def _direction(row: Row) -> str:
    """What a trend's tests say."""
    if row["p_falls"] <= ALPHA:
        return "falls"
    return "rises" if row["p_rises"] <= ALPHA else UNTOLD


def _slope(row: Row) -> str:
    """A slope with its unit."""
    if not np.isfinite(row["slope"]):
        return "not measurable"
    unit = " decades" if row["measure"].startswith(STABLE_RATE) else ""
    return f"{number(row['slope'])}{unit} per {row['per']}"


TREND_COLUMNS: dict[str, Callable[[Row], str]] = {
    "measure": lambda row: row["measure"],
    "variant": lambda row: row["variant"],
    "direction": _direction,
    "slope": _slope,
    "90% interval": lambda row: interval(row["slope_low"], row["slope_high"]),
    "p: falls / rises": lambda row: f"{pvalue(row['p_falls'])} / {pvalue(row['p_rises'])}",
    "n": lambda row: number(row["n"]),
}
AXIS_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "own best rate η*": lambda row: number(row["best_learning_rate"]),
    "final validation error, mean": lambda row: number(row["error_mean"]),
    "95% interval": lambda row: interval(row["error_low"], row["error_high"]),
    "by moving averages": lambda row: number(row["error_ema_mean"]),
    "n": lambda row: number(row["n"]),
    "highest stable rate, median": _stable,
    "n (sweep)": lambda row: number(row["n_stable"]),
}
