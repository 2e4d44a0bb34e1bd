"""Which variant is best? An interval of ranks each."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.measures import ranking
from analysis.results import Results

TITLE = "Ranks by final accuracy, and where they cannot be told"
CAPTION = (
    "Ranks that each variant may have among those of its activation, by final validation accuracy at its own "
    "best learning rate (1 is the best): from 1 plus the number of variants significantly better than it, to "
    "the number of all less those significantly worse. Variants whose bars share ranks may be equals. All "
    "pairs of an activation are tested together by sign flips of {n} whole seeds, step by step on the "
    "greatest statistic, so that all its bars hold the true ranks at once with 95% confidence, if equals "
    "differ symmetrically over seeds (after Mogstad, Romano, Shaikh & Wilhelm 2024). Beside each: the "
    "interquartile mean of its accuracy."
)
INTERVAL_SEED = 20240430


def prepare(results: Results) -> pd.DataFrame:
    """The rankings of two variants or more; the columns are those of `measures.ranking`."""
    frame = ranking(results, np.random.default_rng(INTERVAL_SEED))
    return frame[frame["num_ranked"] > 1].reset_index(drop=True)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per activation, a row per variant, the best on top."""
    groups = list(frame.groupby("activation", sort=False))
    sizes = [len(rows) for _, rows in groups]
    height = (0.27 * sum(sizes) + 0.6 * len(groups)) / len(groups)
    figure, axes = _style.panels(len(groups), 1, height, height_ratios=[size + 1.5 for size in sizes])
    for panel, (activation, rows) in zip(axes.flat, groups, strict=True):
        _draw_bars(panel, rows)
        panel.set_title(activation)
    axes[-1, 0].set_xlabel("rank (1 is the best)")
    return figure


def _draw_bars(panel: Axes, rows: pd.DataFrame) -> None:
    for row, one in enumerate(rows.to_dict("records")):
        style = _style.style_of(one["normalization"], one["activation"])
        ends = [one["best_rank"], one["worst_rank"]]
        panel.plot(ends, [row, row], color=style.colour, linewidth=3, solid_capstyle="butt")
        panel.plot(ends, [row, row], color=style.colour, marker=style.marker, linestyle="", markersize=6)
        panel.text(
            1.01, row, f"{100 * one['accuracy_iqm']:.1f}%", transform=panel.get_yaxis_transform(), va="center"
        )
    _style.name_rows(panel, list(rows["variant"]))
    panel.set_xlim(0.5, len(rows) + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def applies(results: Results) -> str | None:
    """Needs two variants of an activation with trials at their own best rate."""
    if prepare(results).empty:
        return "no two variants of an activation have confirm trials at their own best rate"
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
