"""Error against the axis of a study: the headline figure of a study that varies one more thing."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.family import Family
from analysis.figures import _axis, _style
from analysis.figures._base import Drawing
from analysis.measures import axis_errors, axis_table

TITLE = "Final error along the axis"
CAPTION = (
    "Final validation error, 1 - accuracy, of each variant at its own best learning rate for that value. "
    "Large marks: the mean over {n} fresh seeds with its 95% bootstrap interval. Small marks: the seeds. A "
    "diverged trial counts as chance. Variants stand a little beside each other, so that none hides another. "
    "Hollow marks, where they differ by more than .001: the mean error of the same nets by the moving "
    "averages of normalization statistics, as they would be deployed. "
    "A variant without a best rate at a value has no mark there. Conditional on this split."
)
INTERVAL_SEED = 20180322
VISIBLE = 1e-3
"""Errors that differ by less have one mark."""


def prepare(family: Family) -> pd.DataFrame:
    """Each seed's error with its variant's mean and interval.

    Returns:
        frame with columns position, value, x, variant, activation, seed, error, error_ema, mean, low, high,
        mean_ema, n, normalization, label, numeric.
    """
    table = axis_table(family, np.random.default_rng(INTERVAL_SEED))
    means = table.rename(
        columns={"error_mean": "mean", "error_low": "low", "error_high": "high", "error_ema_mean": "mean_ema"}
    )
    keys = ["position", "variant"]
    frame = axis_errors(family).merge(means[[*keys, "mean", "low", "high", "mean_ema", "n"]], on=keys)
    return _axis.with_axis(frame, family)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per activation."""
    figure = _axis.draw_along(frame, _paint)
    figure.axes[0].set_ylabel("final validation error")
    return figure


def _paint(panel: Axes, rows: pd.DataFrame, places: "np.ndarray[Any, Any]") -> None:
    style = _style.style_of_rows(rows)
    panel.plot(places, rows["error"], marker=style.marker, ms=3, linestyle="", color=style.colour, alpha=0.35)
    first = ~rows["position"].duplicated().to_numpy()
    means, at = rows[first], places[first]
    panel.vlines(at, means["low"], means["high"], color=style.colour, linewidth=2)
    panel.plot(
        at,
        means["mean"],
        color=style.colour,
        linestyle=_axis.line_style(rows),
        marker=style.marker,
        markersize=7,
        markeredgecolor="white",
    )
    apart = (means["mean_ema"] - means["mean"]).abs() > VISIBLE
    panel.plot(
        at[apart.to_numpy()],
        means.loc[apart, "mean_ema"],
        color=style.colour,
        linestyle="",
        marker=style.marker,
        markersize=7,
        markerfacecolor="none",
    )


def applies(family: Family) -> str | None:
    """Needs confirm trials."""
    return "no value has confirm trials yet" if axis_errors(family).empty else None


DRAWING: Drawing[Family] = Drawing(TITLE, CAPTION, prepare, draw, applies)
