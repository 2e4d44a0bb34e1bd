"""The report's tables: frames from `analysis.measures`, and how their columns are worded."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import (
    CLAIMS,
    NOT_EVALUABLE,
    Verdict,
    better_rates_frame,
    selection_flips,
    selection_shares,
    sensitivity_table,
    show_interval,
)
from analysis.matrix import matrix_frame
from analysis.measures import (
    cell_table,
    moving_average_table,
    probe_cost,
    ranking,
    rate_multiples_table,
    time_table,
    variant_table,
)
from analysis.measures.select import SAME_RATE
from analysis.replications import replications_frame
from analysis.results import Results, Variant
from analysis.text import MISSING, interval, number, share
from benchmark.contract import BASELINE, BEST, CONFIRMATORY

Row = Mapping[Hashable, Any]
SEED = 20190829  # of the bootstraps behind the tables, so that a report is the same each time


@dataclass(frozen=True)
class Table:
    """A frame, and the part of it that a reader sees.

    Attributes:
        frame: everything, in full precision; goes to CSV.
        columns: heading -> text of a row; what HTML and Markdown show.
        view: the rows they show, where these are arranged otherwise than the frame's.
        shown: which rows are shown.
        marked: which of them stand out.
    """

    frame: pd.DataFrame
    columns: Mapping[str, Callable[[Row], str]]
    view: Sequence[Row] | None = None
    shown: Callable[[Row], bool] = lambda row: True
    marked: Callable[[Row], bool] = lambda row: False

    @property
    def headings(self) -> list[str]:
        """Headings of the columns shown."""
        return list(self.columns)

    @property
    def rows(self) -> list[tuple[bool, list[str]]]:
        """Rows as shown: does it stand out, and its texts."""
        records = self.frame.to_dict("records") if self.view is None else self.view
        rows = [row for row in records if self.shown(row)]
        return [(bool(self.marked(row)), [show(row) for show in self.columns.values()]) for row in rows]


def tables(
    results: Results, verdicts: Sequence[Verdict], rivals: Mapping[str, Sequence[Verdict]]
) -> dict[str, Table]:
    """All tables, by the name of their CSV file; `rivals`: batch's verdicts against each competitor."""
    shares = selection_shares(results, np.random.default_rng(SEED))
    flips = selection_flips(results, shares)
    return {
        "matrix": Table(matrix_frame(verdicts), {}),
        "competitors": Table(_competitors(rivals), {}),
        "ranking": Table(ranking(results, np.random.default_rng(SEED)), RANKING_COLUMNS),
        "variants": Table(variant_table(results), VARIANT_COLUMNS),
        "rate-multiples": Table(rate_multiples_table(results), MULTIPLES_COLUMNS),
        "times": Table(time_table(results, np.random.default_rng(SEED)), CENSORED_COLUMNS),
        "sensitivity": _sensitivity(results, sensitivity_table(results)),
        "moving-averages": Table(moving_average_table(results), AVERAGES_COLUMNS),
        "selection-shares": Table(shares, SHARE_COLUMNS, shown=lambda row: row["share"] > 0),
        "selection-flips": Table(flips, FLIP_COLUMNS, marked=lambda row: row["flips"]),
        "better-rates": Table(better_rates_frame(results), {}),
        "replications": Table(
            replications_frame(results, verdicts), REPLICATION_COLUMNS, marked=lambda row: not row["agree"]
        ),
        "probe-cost": Table(probe_cost(results), COST_COLUMNS, shown=lambda row: row["probe_seconds"] > 0),
        "cells": Table(cell_table(results), CELL_COLUMNS, shown=lambda row: row["stage"] != "refine"),
    }


def _competitors(rivals: Mapping[str, Sequence[Verdict]]) -> pd.DataFrame:
    """The matrix against competitors, in long form."""
    frames = [matrix_frame(own).assign(against=name) for name, own in rivals.items()]
    return pd.concat(frames, ignore_index=True) if frames else matrix_frame([]).assign(against=[])


def _sensitivity(results: Results, frame: pd.DataFrame) -> Table:
    """Batch normalization's verdicts, a row per claim and choice, a column per activation."""
    view: list[Row] = []
    batch = frame[frame["normalizer"] == CONFIRMATORY]
    for (claim, choice), rows in batch.groupby(["claim", "choice"], sort=False):
        cells = {row["activation"]: row for row in rows.to_dict("records")}
        view.append({"claim": claim, "choice": choice, "cells": cells, "flips": rows["flips"].any()})
    view.sort(key=lambda row: list(CLAIMS).index(row["claim"]))
    judged = set(batch.loc[batch["outcome"] != NOT_EVALUABLE, "claim"])
    view = [row for row in view if row["claim"] in judged]  # of the others no choice changes anything

    def column(activation: str) -> Callable[[Row], str]:
        return lambda row: _judged_again(row["cells"][activation]) if activation in row["cells"] else MISSING

    columns: dict[str, Callable[[Row], str]] = {
        "claim": lambda row: row["claim"],
        "choice": lambda row: row["choice"],
        **{Variant(CONFIRMATORY, activation).name: column(activation) for activation in results.activations},
    }
    return Table(frame, columns, view=view, marked=lambda row: row["flips"])


def _judged_again(row: Row) -> str:
    if pd.isna(row["effect"]):
        return _flipped(row)
    return f"{_flipped(row)}: {_effect(row)} ({_interval(row)})"


def _net(row: Row) -> str:
    """The net of a row of the multiples' table, in words."""
    if row["normalization"] == BASELINE:
        return "unnormalized, own best rate"
    multiple = {BEST: "own best rate", SAME_RATE: "the same rate"}
    return f"{row['normalization']}, {multiple.get(row['role'], row['role'].replace('x', '×'))}"


def _times(value: float) -> str:
    """A time to target as a median; infinite means that fewer than half arrived."""
    return "not reached by half" if value == float("inf") else number(value)


def _faster(row: Row) -> str:
    """The speed-up; 0 is the effect -inf of a comparison in which too few seeds arrive to tell."""
    if row["share_reached"] == 0:
        return "never there"
    return "not known" if row["speedup"] == 0 else number(row["speedup"])


def _published(row: Row) -> str:
    if not row["published"]:
        return MISSING
    steps = row["published_steps_millions"]
    most = f"at most {100 * row['published_accuracy']:.1f}%"
    return f"{row['published']}: " + (most if pd.isna(steps) else f"{steps:.1f}M steps, {most}")


def _mean_and_spread(mean: float, std: float) -> str:
    return number(mean) if pd.isna(std) else f"{number(mean)} ± {number(std, 2)}"


def _pair(row: Row) -> str:
    return Variant(row["normalizer"], row["activation"]).name


def _flipped(row: Row) -> str:
    return f"{row['outcome']} (flips)" if row["flips"] else str(row["outcome"])


def _effect(row: Row) -> str:
    """A verdict's effect, in the words of its claim."""
    if pd.isna(row["effect"]):
        return MISSING
    return CLAIMS[row["claim"]].show(row["effect"]) if math.isfinite(row["effect"]) else "unbounded"


def _interval(row: Row) -> str:
    if pd.isna(row["low"]):
        return MISSING
    return show_interval(CLAIMS[row["claim"]].show, row["low"], row["high"])


def _highest_stable(row: Row) -> str:
    if pd.isna(row["best_cell_accuracy"]):
        return MISSING  # what counts as stable is not decided
    low, high = row["max_stable_rate_low"], row["max_stable_rate_high"]
    return "none in half the seeds" if low == 0 else interval(low, high)


def _rank(row: Row) -> str:
    low, high = row["best_rank"], row["worst_rank"]
    return str(low) if low == high else f"{low} to {high}"


def _cannot_tell(row: Row) -> str:
    names = str(row["cannot_tell_from"])
    if not names:
        return MISSING
    return "any other" if names.count(",") + 2 == row["num_ranked"] > 2 else names


RANKING_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "rank": _rank,
    "validation accuracy (IQM)": lambda row: number(row["accuracy_iqm"]),
    "95% interval": lambda row: interval(row["accuracy_low"], row["accuracy_high"]),
    "cannot be told apart from": _cannot_tell,
    "n": lambda row: number(row["n"]),
}
VARIANT_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "own best rate η*": lambda row: (
        number(row["best_learning_rate"]) + (" (edge)" if row["at_edge"] is True else "")
    ),
    "highest stable rate, median": _highest_stable,
    "stable band (decades)": lambda row: (
        interval(row["stable_band_low"], row["stable_band_high"]) if row["stable_band_low"] >= 0 else MISSING
    ),
    "grid rates not trained": lambda row: share(row["rates_not_trained"]),
    "seeds at target": lambda row: share(row["share_reached"]),
    "steps to target, median": lambda row: _times(row["steps_to_target"]),
    "validation accuracy": lambda row: _mean_and_spread(row["accuracy_mean"], row["accuracy_std"]),
    "test accuracy": lambda row: number(row["test_accuracy_mean"]),
    "training (s)": lambda row: number(row["seconds_mean"]),
    "n": lambda row: number(row["n_confirm"]),
}
MULTIPLES_COLUMNS: dict[str, Callable[[Row], str]] = {
    "activation": lambda row: row["activation"],
    "net": _net,
    "learning rate": lambda row: number(row["learning_rate"]),
    "steps to the bar, median": lambda row: _times(row["steps"]),
    "seeds there": lambda row: share(row["share_reached"]),
    "best accuracy": lambda row: number(row["best_accuracy"]),
    "times faster": _faster,
    "90% interval": lambda row: interval(row["speedup_low"], row["speedup_high"]),
    "n": lambda row: number(row["n"]),
    "Ioffe & Szegedy": _published,
}
CENSORED_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "cell": lambda row: {BEST: "own best rate"}.get(row["role"], row["role"].replace("x", "×")),
    "learning rate": lambda row: number(row["learning_rate"]),
    "seeds at target": lambda row: share(row["share_reached"]),
    "mean of min(t, T) (steps)": lambda row: number(row["restricted_mean_steps"]),
    "difference to unnormalized (steps)": lambda row: number(row["difference"]),
    "95% interval": lambda row: interval(row["difference_low"], row["difference_high"]),
    "n": lambda row: number(row["n"]),
}
AVERAGES_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "learning rate": lambda row: number(row["learning_rate"]) + (" (η*)" if row["is_best"] else ""),
    "validation accuracy, re-estimated": lambda row: number(row["accuracy"]),
    "by moving averages": lambda row: number(row["accuracy_ema"]),
    "stable seeds, re-estimated": lambda row: share(row["stable"]),
    "stable by moving averages": lambda row: share(row["stable_ema"]),
    "n": lambda row: number(row["n"]),
}
SHARE_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "learning rate": lambda row: number(row["learning_rate"]) + (" (η*)" if row["selected"] else ""),
    "selected in": lambda row: share(row["share"]),
}
FLIP_COLUMNS: dict[str, Callable[[Row], str]] = {
    "claim": lambda row: row["claim"],
    "net": _pair,
    "instead of its η*": lambda row: f"{row['variant']} at {number(row['learning_rate'])}",
    "selected in": lambda row: share(row["share"]),
    "verdict there": _flipped,
    "effect": _effect,
    "90% interval": _interval,
    "n": lambda row: number(row["n"]),
}
REPLICATION_COLUMNS: dict[str, Callable[[Row], str]] = {
    "replication": lambda row: row["replication"],
    "claim": lambda row: row["claim"],
    "net": _pair,
    "verdict": lambda row: row["outcome"],
    "effect (90%)": lambda row: row["shown"] or MISSING,
    "verdict again": lambda row: row["outcome_again"],
    "effect again (90%)": lambda row: row["shown_again"] or MISSING,
    "agree": lambda row: "yes" if row["agree"] else f"no: {row['why']}",
}
COST_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "training (s)": lambda row: number(row["train_seconds"]),
    "probes (s)": lambda row: number(row["probe_seconds"]),
    "probes / training": lambda row: f"{100 * row['share']:.1f}%",
    "trials": lambda row: number(row["n"]),
}
CELL_COLUMNS: dict[str, Callable[[Row], str]] = {
    "variant": lambda row: row["variant"],
    "stage": lambda row: row["stage"],
    "learning rate": lambda row: number(row["learning_rate"]),
    "n": lambda row: number(row["n"]),
    "trained": lambda row: share(row["share_trained"]),
    "stuck": lambda row: share(row["share_stuck"]),
    "diverged": lambda row: share(row["share_diverged"]),
    "failed": lambda row: share(row["share_failed"]),
    "validation accuracy": lambda row: _mean_and_spread(row["accuracy_mean"], row["accuracy_std"]),
    "validation loss": lambda row: _mean_and_spread(row["loss_mean"], row["loss_std"]),
    "training (s)": lambda row: number(row["seconds_mean"]),
}
