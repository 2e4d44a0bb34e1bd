"""The claims, one file each, in the protocol's order; and their judge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import (
    _competitors,
    _document,
    _judge,
    _robustness,
    faster_at_best_rate,
    faster_at_same_rate,
    fewer_failures,
    higher_learning_rate,
    no_vanishing_gradient,
    parameter_scale,
    regularizes,
    smoother_landscape,
    wider_stable_band,
    worth_its_cost,
)
from analysis.claims._base import (
    NOT_EVALUABLE,
    OUTCOMES,
    Claim,
    NotEvaluable,
    Outcome,
    Pair,
    Robustness,
    Sample,
    Verdict,
    show_effect,
    show_interval,
    show_middle,
)
from analysis.claims._better_rates import better_rates_frame
from analysis.claims._search import searched_words
from analysis.claims._sensitivity import (
    AS_IS,
    MOVING_AVERAGES,
    selection_flips,
    selection_shares,
    sensitivity_table,
)
from analysis.results import Results

CLAIMS: dict[str, Claim] = {
    module.CLAIM.id: module.CLAIM
    for module in (
        higher_learning_rate,
        faster_at_best_rate,
        faster_at_same_rate,
        wider_stable_band,
        fewer_failures,
        no_vanishing_gradient,
        regularizes,
        parameter_scale,
        smoother_landscape,
        worth_its_cost,
    )
}

_SEED = 0
"""Of the seeds-needed simulation where the caller has no generator: a report repeats to the digit."""


def judge(
    results: Results, claims: Iterable[Claim] | None = None, rng: np.random.Generator | None = None
) -> list[Verdict]:
    """Judge claims, all ten by default, on every planned normalizer and activation.

    Args:
        results: a study's.
        claims: in the order wanted; "all planned tests" of `survives_holm_over_all` are the tests of these.
        rng: of the seeds-needed simulation; no outcome depends on it.

    Returns:
        verdicts by claim, normalizer, activation.
    """
    chosen = list(CLAIMS.values()) if claims is None else list(claims)
    return _judge.judge(results, chosen, np.random.default_rng(_SEED) if rng is None else rng)


def with_robustness(verdicts: Sequence[Verdict], table: pd.DataFrame) -> list[Verdict]:
    """The verdicts, with what the other choices of `sensitivity_table` make of them."""
    return _robustness.with_robustness(verdicts, table, CLAIMS)


def judge_outcomes(results: Results) -> list[Verdict]:
    """All verdicts, but for how many seeds an open one would need, which takes most of the time."""
    return _judge.judge(results, list(CLAIMS.values()), rng=None)


def judge_against_competitors(results: Results) -> dict[str, list[Verdict]]:
    """Batch normalization judged against each competitor without normalization, in the plain net's place.

    Returns:
        competitor, such as `none-he` -> verdicts by claim and activation; all exploratory.
    """
    return _competitors.judge_against_competitors(results, list(CLAIMS.values()))


def verdicts_document(results: Results, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The content of `verdicts.json`, JSON-safe; `analysis/verdicts.schema.json` documents it."""
    return _document.verdicts_document(results, verdicts, CLAIMS)


__all__ = [
    "AS_IS",
    "CLAIMS",
    "MOVING_AVERAGES",
    "NOT_EVALUABLE",
    "OUTCOMES",
    "Claim",
    "NotEvaluable",
    "Outcome",
    "Pair",
    "Robustness",
    "Sample",
    "Verdict",
    "better_rates_frame",
    "judge",
    "judge_against_competitors",
    "judge_outcomes",
    "searched_words",
    "selection_flips",
    "selection_shares",
    "sensitivity_table",
    "show_effect",
    "show_interval",
    "show_middle",
    "verdicts_document",
    "with_robustness",
]
