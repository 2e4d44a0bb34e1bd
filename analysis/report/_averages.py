"""Training against test time: what moving averages make of the main verdict, and of the nets, in words."""

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.claims import AS_IS, CLAIMS, MOVING_AVERAGES, NOT_EVALUABLE, Claim, show_interval
from analysis.measures import moving_average_words
from analysis.results import Results
from benchmark.contract import CONFIRMATORY


def averages(results: Results, table: pd.DataFrame, sensitivity: pd.DataFrame) -> list[str]:
    """Sentences of the section; none where no variant differs by its statistics.

    Args:
        results: the study's.
        table: from `moving_average_table`.
        sensitivity: from `sensitivity_table`.
    """
    words = moving_average_words(results, table)
    return [*_main_claim(sensitivity), *words] if words else []


def _main_claim(sensitivity: pd.DataFrame) -> Iterator[str]:
    """The main verdict on batch normalization by either kind of statistics, an activation each."""
    primary = next(claim for claim in CLAIMS.values() if claim.primary)
    of_primary = sensitivity["claim"] == primary.id
    own = sensitivity[of_primary & (sensitivity["normalizer"] == CONFIRMATORY)]
    for activation, rows in own.groupby("activation", sort=False):
        judged = rows.set_index("choice").to_dict("index")
        verdicts = [judged[choice] for choice in (AS_IS, MOVING_AVERAGES.name)]
        if all(verdict["outcome"] == NOT_EVALUABLE for verdict in verdicts):
            continue
        told = [f"{verdict['outcome']}{_figures(primary, verdict)}" for verdict in verdicts]
        yield (
            f"The main claim on the {activation} net: {told[0]} by re-estimated statistics, {told[1]} by "
            "moving averages."
        )


def _figures(claim: Claim, row: Mapping[Hashable, Any]) -> str:
    if not math.isfinite(row["effect"]):
        return ""
    return f" ({claim.show(row['effect'])}; {show_interval(claim.show, row['low'], row['high'])})"
