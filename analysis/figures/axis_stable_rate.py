"""Highest stable learning rate against the axis of a study."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.family import Family
from analysis.figures import _axis, _style
from analysis.figures._base import Drawing
from analysis.measures import axis_table

TITLE = "Highest stable learning rate along the axis"
CAPTION = (
    "Highest stable learning rate of each variant: the median over {n} sweep seeds lies on the vertical "
    "stroke, between the highest rate that was stable (mark) and the next one tried. A stroke with an open "
    "upper end (triangle): stable at the highest rate tried. A variant of which half the seeds were stable "
    "nowhere has no mark."
)
OPEN_END = 2.0  # factor by which an open stroke rises


def prepare(family: Family) -> pd.DataFrame:
    """The interval of the median.

    Returns:
        frame with columns position, value, x, variant, activation, stable_low, stable_high, n (sweep seeds),
        normalization, label, numeric.
    """
    table = axis_table(family, np.random.default_rng(0))
    columns = ["position", "value", "x", "variant", "activation", "stable_low", "stable_high"]
    frame = table[columns].assign(n=table["n_stable"])
    return _axis.with_axis(frame[frame["stable_low"] > 0].reset_index(drop=True), family)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per activation."""
    figure = _axis.draw_along(frame, _paint)
    figure.axes[0].set_yscale("log")
    figure.axes[0].set_ylabel("highest stable learning rate")
    return figure


def _paint(panel: Axes, rows: pd.DataFrame, places: "np.ndarray[Any, Any]") -> None:
    style = _style.style_of_rows(rows)
    low, high = rows["stable_low"].to_numpy(dtype=float), rows["stable_high"].to_numpy(dtype=float)
    is_open = np.isinf(high)
    tops = np.where(is_open, low * OPEN_END, high)
    panel.vlines(places, low, tops, color=style.colour, linewidth=2.5)
    panel.plot(places[is_open], tops[is_open], marker="^", linestyle="", color=style.colour, markersize=5)
    panel.plot(
        places, low, color=style.colour, linestyle=_axis.line_style(rows), marker=style.marker, markersize=6
    )


def applies(family: Family) -> str | None:
    """Needs the stability thresholds of a sweep over rates."""
    if family.newest.study["search"]["sampler"] == "fixed":
        return "the study trains at a single learning rate, so there is no highest stable one"
    return "no variant is known to be stable at any rate yet" if prepare(family).empty else None


DRAWING: Drawing[Family] = Drawing(TITLE, CAPTION, prepare, draw, applies)
