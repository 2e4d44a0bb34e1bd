"""Which variant is best? An interval of ranks each."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.load import Results
from analysis.measures import ranking

TITLE = "Ranks by final accuracy, and where they cannot be told"
CAPTION = (
    "Ranks that each variant may have by final validation accuracy at its own best learning rate (1 is the "
    "best): from 1 plus the number of variants significantly better than it, to the number of all less those "
    "significantly worse. Variants whose bars share ranks may be equals. All pairs are tested together by "
    "sign flips of {n} whole seeds, step by step on the greatest statistic, so that all bars hold the true "
    "ranks at once with 95% confidence (after Mogstad, Romano, Shaikh & Wilhelm 2024). Beside each: the "
    "interquartile mean of its accuracy."
)
INTERVAL_SEED = 20240430


def prepare(results: Results) -> pd.DataFrame:
    """The ranking; its columns are those of `measures.ranking`."""
    return ranking(results, np.random.default_rng(INTERVAL_SEED))


def draw(frame: pd.DataFrame) -> Figure:
    """A row per variant, the best on top."""
    figure, axes = _style.panels(1, 1, 0.27 * len(frame) + 0.6)
    panel = axes[0, 0]
    for row, one in enumerate(frame.to_dict("records")):
        style = _style.variant_style(one["variant"])
        ends = [one["best_rank"], one["worst_rank"]]
        panel.plot(ends, [row, row], color=style.colour, linewidth=3, solid_capstyle="butt")
        panel.plot(ends, [row, row], color=style.colour, marker=style.marker, linestyle="", markersize=6)
        panel.text(
            1.01, row, f"{100 * one['accuracy_iqm']:.1f}%", transform=panel.get_yaxis_transform(), va="center"
        )
    _style.name_rows(panel, list(frame["variant"]))
    panel.set_xlim(0.5, len(frame) + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlabel("rank (1 is the best)")
    return figure


def applies(results: Results) -> str | None:
    """Needs two variants with trials at their own best rate."""
    if len(prepare(results)) < 2:
        return "fewer than two variants have confirm trials at their own best rate"
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
