"""How good each variant gets, and how much that depends on the seed."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import best_trials
from analysis.results import Results
from analysis.stats import bootstrap_interval, iqm

TITLE = "Final accuracy and its spread over seeds"
CAPTION = (
    "Final validation accuracy at each variant's own best learning rate. Small marks: the {n} seeds. "
    "Large mark: the interquartile mean (mean of the middle half), with its 95% bootstrap interval; none "
    "is drawn for a single seed. A diverged trial counts as chance (dotted, where the axis reaches that "
    "low). Conditional on this split: all seeds share one validation set. The axis does not begin at "
    "zero."
)
INTERVAL_SEED = 20210830


def prepare(results: Results) -> pd.DataFrame:
    """Each seed's final accuracy with the variant's interquartile mean and interval.

    Returns:
        frame with columns variant, normalization, activation, seed, accuracy, iqm, low, high, n, chance.
    """
    trials = best_trials(results)
    pieces = []
    for variant, rows in trials.groupby("variant", sort=False):
        accuracy = rows["final_val_accuracy"].to_numpy(dtype=float)
        summary = bootstrap_interval(accuracy, np.random.default_rng(INTERVAL_SEED), statistic=iqm)
        pieces.append(
            pd.DataFrame({"variant": variant, "seed": rows["seed"], "accuracy": accuracy}).assign(
                iqm=summary.value, low=summary.low, high=summary.high, n=summary.n, chance=results.chance
            )
        )
    columns = ["variant", "seed", "accuracy", "iqm", "low", "high", "n", "chance"]
    frame = pd.concat(pieces, ignore_index=True)[columns] if pieces else pd.DataFrame(columns=columns)
    return results.with_names(frame)


def draw(frame: pd.DataFrame) -> Figure:
    """A row per variant: seeds, and below them the interquartile mean with its interval."""
    variants = list(frame["variant"].unique())
    figure, axes = _style.panels(1, 1, 0.5 * len(variants) + 0.6)
    panel = axes[0, 0]
    for position, variant in enumerate(variants):
        rows = frame[frame["variant"] == variant]
        style = _style.style_of_rows(rows)
        look = {"color": style.colour, "marker": style.marker, "linestyle": ""}
        panel.plot(
            rows["accuracy"], position - 0.15 + _style.spread(len(rows), 0.3), alpha=0.55, ms=4, **look
        )
        summary = rows.iloc[0]
        panel.hlines(position + 0.25, summary["low"], summary["high"], color=style.colour, linewidth=2.5)
        panel.plot(summary["iqm"], position + 0.25, markersize=8, markeredgecolor="white", **look)
    left, right = panel.get_xlim()
    panel.axvline(frame["chance"].iloc[0], color="#777777", linestyle=":", linewidth=1)
    panel.set(xlim=(left, right), xlabel="final validation accuracy")  # chance may lie outside: don't squeeze
    _style.name_rows(panel, variants)
    return figure


def applies(results: Results) -> str | None:
    """Needs one trial that ended."""
    return "no trial has ended yet" if best_trials(results).empty else None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
