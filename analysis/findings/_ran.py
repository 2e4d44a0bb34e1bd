"""The studies that the findings are about, judged, and their verdicts worded for tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.claims import Verdict, judge, sensitivity_table, with_robustness
from analysis.data import exported
from analysis.errors import InputError
from analysis.findings._asked import NOTEBOOK, SCALES, Part, Scale
from analysis.replications import effect_words, interval_words, replications_frame
from analysis.results import Results
from analysis.text import MISSING, pvalue
from benchmark.contract import CONFIRMATORY


@dataclass(frozen=True, eq=False)
class Ran:
    """A study that was run, and judged.

    Attributes:
        scale: which.
        results: its own, with its replications.
        verdicts: on batch normalization, with robustness.
        again: `replications_frame` of it.
        other_choices: `sensitivity_table` of it.
    """

    scale: Scale
    results: Results
    verdicts: list[Verdict]
    again: pd.DataFrame
    other_choices: pd.DataFrame

    def verdict(self, claim: str, activation: str) -> Verdict | None:
        """One verdict; None where it was not asked."""
        found = (v for v in self.verdicts if (v.claim, v.activation) == (claim, activation))
        return next(found, None)

    def replicated(self, verdict: Verdict) -> tuple[int, int]:
        """How many replications agree on a verdict, of how many."""
        rows = self.again[
            (self.again["claim"] == verdict.claim)
            & (self.again["activation"] == verdict.activation)
            & (self.again["normalizer"] == verdict.normalizer)
        ]
        return int(rows["agree"].sum()), len(rows)


@dataclass(frozen=True)
class Row:
    """One verdict, worded for a table."""

    data: str
    net: str
    verdict: Verdict
    effect: str
    interval: str
    pvalues: str
    robustness: str
    replicated: str

    @property
    def short(self) -> str:
        """Verdict and effect in one cell."""
        if not self.verdict.n:
            return self.verdict.outcome
        return f"{self.verdict.outcome}, {self.effect} ({self.interval})"


def read_all(folder: Path) -> tuple[list[Ran], Ran | None]:
    """The exported studies that the findings are about, judged; those not run yet are left out.

    Raises:
        InputError: there is none of the claims' studies, or one is damaged or not complete.
    """
    ran = [_ran(scale, folder) for scale in SCALES if exported.is_export(folder / scale.study)]
    if not ran:
        names = ", ".join(scale.study for scale in SCALES)
        raise InputError(
            f"{folder}: expected an export of one of {names}, found none; make one with: "
            f"python -m analysis export {SCALES[0].study} --out {folder}"
        )
    notebook = _ran(NOTEBOOK, folder) if exported.is_export(folder / NOTEBOOK.study) else None
    return ran, notebook


def _ran(scale: Scale, folder: Path) -> Ran:
    results = exported.read(folder / scale.study)
    if results.status != "complete":
        raise InputError(
            f"{folder / scale.study}: expected a complete study, found one that is {results.status}; go on "
            f"with "
            f"it, and export it again: python -m benchmark run {scale.study}"
        )
    other_choices = sensitivity_table(results)
    verdicts = with_robustness(judge(results), other_choices)
    own = [verdict for verdict in verdicts if verdict.normalizer == CONFIRMATORY]
    return Ran(scale, results, own, replications_frame(results, verdicts), other_choices)


def rows_of(ran: Iterable[Ran], part: Part) -> list[Row]:
    return [
        row_of(one, verdict)
        for one in ran
        for verdict in one.verdicts
        if verdict.claim == part.claim
        and (part.activations is None or verdict.activation in part.activations)
    ]


def row_of(one: Ran, verdict: Verdict) -> Row:
    agree, asked = one.replicated(verdict)
    tested = verdict.n > 0
    return Row(
        data=one.scale.data,
        net=verdict.activation,
        verdict=verdict,
        effect=effect_words(verdict) or MISSING,
        interval=interval_words(verdict) or MISSING,
        pvalues=f"{pvalue(verdict.p_supported)} / {pvalue(verdict.p_refuted)}" if tested else MISSING,
        robustness=verdict.robustness.brief if verdict.robustness else MISSING,
        replicated=f"{agree} of {asked}" if asked else MISSING,
    )


def size_words(results: Results) -> str:
    """The size of a study: network, budget, rates, seeds."""
    study = results.study
    network, budget, search, seeds = (study[key] for key in ("network", "budget", "search", "seeds"))
    rates = (
        f"{search['num_rates']} learning rates from {search['low']:.2g} to {search['high']:.2g}"
        if search["num_rates"] > 1
        else f"learning rate {search['low']:.2g}"
    )
    fresh = f" + {seeds['confirm']} fresh" if seeds["confirm"] else ""
    return (
        f"{network['blocks']} blocks of width {network['width']}, {budget['num_steps']:,d} steps of "
        f"{budget['batch_size']} images under {study['optimizer']['name']}, {rates}, "
        f"{seeds['sweep']}{fresh} seeds"
    )


def verdicts_frame(ran: Iterable[Ran]) -> pd.DataFrame:
    """Every verdict on every data set: the table that a reviewer checks."""
    columns = [
        *("study", "data", "claim", "activation", "outcome", "effect", "low", "high", "unit", "delta", "n"),
        *("p_supported", "p_refuted", "survives_holm_over_all", "same_under", "other_choices"),
        *("replications_that_agree", "replications"),
    ]
    rows = []
    for one in ran:
        for v in one.verdicts:
            robust = (v.robustness.num_same, v.robustness.num_choices) if v.robustness else (None, None)
            rows.append(
                (
                    *(
                        one.scale.study,
                        one.scale.data,
                        v.claim,
                        v.activation,
                        v.outcome,
                        v.effect,
                        v.low,
                        v.high,
                    ),
                    *(v.unit, v.delta, v.n, v.p_supported, v.p_refuted, v.survives_holm_over_all),
                    *(*robust, *one.replicated(v)),
                )
            )
    return pd.DataFrame(rows, columns=columns)
