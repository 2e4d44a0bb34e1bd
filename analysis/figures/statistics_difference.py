"""Batch statistics at training time against test time: re-estimated and moving-average accuracy."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import best_trials, completed_curves
from analysis.figures.learning_curves import BAND_SEED, draw_band
from analysis.results import Results
from analysis.stats import bootstrap_band

TITLE = "Which statistics: re-estimated or moving averages"
CAPTION = (
    "Validation accuracy of the same weights, with normalization statistics re-estimated at that moment "
    "on training images (solid) and with the moving averages kept during training (dotted). Where they "
    "part, the moving averages have not caught up with the net: the difference lies in the bookkeeping, "
    "not in what was learned. Means over {n} seeds with 95% bootstrap bands, each variant at its own best "
    "learning rate. A variant that is judged by its moving averages is not shown."
)
KINDS = {"re-estimated": "val_accuracy", "moving average": "val_accuracy_ema"}


def prepare(results: Results) -> pd.DataFrame:
    """Mean accuracy with either kind of statistics, for the variants where they differ anywhere.

    Returns:
        frame with columns variant, normalization, activation, statistics, step, mean, low, high, n.
    """
    curves = completed_curves(results, best_trials(results))
    pieces = []
    for variant, rows in curves.groupby("variant", sort=False):
        if np.allclose(rows["val_accuracy"], rows["val_accuracy_ema"], equal_nan=True):
            continue
        for statistics, column in KINDS.items():
            wide = rows.pivot(index="step", columns="seed", values=column)
            band = bootstrap_band(wide.to_numpy(dtype=float).T, rng=np.random.default_rng(BAND_SEED))
            curve = {"step": wide.index.to_numpy(), "mean": band.value, "low": band.low, "high": band.high}
            pieces.append(pd.DataFrame(curve).assign(variant=variant, statistics=statistics, n=band.n))
    columns = ["variant", "statistics", "step", "mean", "low", "high", "n"]
    frame = pd.concat(pieces, ignore_index=True)[columns] if pieces else pd.DataFrame(columns=columns)
    return results.with_names(frame)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per variant, a line per kind of statistics."""
    variants = list(frame["variant"].unique())
    num_columns = min(_style.PER_ROW, max(2, len(variants)))
    figure, axes = _style.panels(-(-len(variants) // num_columns), num_columns, 2.2, sharey=True)
    _style.few_ticks(axes)
    for panel, variant in zip(axes.flat, variants, strict=False):
        rows = frame[frame["variant"] == variant]
        for statistics in KINDS:
            draw_band(panel, rows[rows["statistics"] == statistics], pale=statistics == "moving average")
        panel.set(title=variant, ylim=(0, 1.02), xlabel="optimizer step")
    for panel in axes.flat[len(variants) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel("validation accuracy")
    _style.legend_above(
        figure,
        [
            Line2D([], [], color="#333333", label="re-estimated"),
            Line2D([], [], color="#333333", alpha=0.6, linestyle=(0, (1, 1)), label="moving average"),
        ],
    )
    return figure


def applies(results: Results) -> str | None:
    """Needs a variant judged on re-estimated statistics that keeps moving averages too."""
    if results.study["judge"]["statistics"] == "moving-average":
        return "the study is judged on moving averages, as its source was, and logs no re-estimated metrics"
    return None if len(prepare(results)) else "no variant shows a difference between the two statistics"


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
