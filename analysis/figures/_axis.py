"""What figures along a study's axis share: a panel per activation, variants side by side at each value."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.family import Family
from analysis.figures import _style

Places = np.ndarray[Any, Any]
SPREAD = 0.15  # of the least distance between two values, over which the variants are laid out


def with_axis(frame: pd.DataFrame, family: Family) -> pd.DataFrame:
    """The frame with what drawing must know: its variants' normalizations; of the axis label, numeric."""
    planned = {name: variant for member in family.members for name, variant in member.planned.items()}
    normalizations = [planned[name].normalization for name in frame["variant"]]
    return frame.assign(normalization=normalizations, label=family.label, numeric=family.is_numeric)


def draw_along(frame: pd.DataFrame, paint: Callable[[Axes, pd.DataFrame, Places], None]) -> Figure:
    """A panel per activation; `paint` draws one variant's rows at the given places, [num_rows]."""
    activations = list(frame["activation"].unique())
    figure, axes = _style.panels(1, len(activations), 3.4, sharey=True)
    ticks = frame.drop_duplicates("position").sort_values("position")
    for panel, activation in zip(axes.flat, activations, strict=True):
        for rows, offset in _with_offsets(frame[frame["activation"] == activation], ticks["x"].to_numpy()):
            paint(panel, rows, rows["x"].to_numpy(dtype=float) + offset)
        panel.set_xticks(ticks["x"], [_style.plain(str(value)) for value in ticks["value"]])
        if not frame["numeric"].iloc[0]:
            panel.set_xlim(ticks["x"].min() - 0.5, ticks["x"].max() + 0.5)
        panel.set(title=activation, xlabel=_style.plain(frame["label"].iloc[0]))
        panel.grid(visible=False, axis="x")
    _style.legend_above(figure, _style.variant_handles(_style.styles(frame), markers=True), 5)
    return figure


def line_style(rows: pd.DataFrame) -> object:
    """Lines join values that are numbers; categories have nothing between them."""
    numeric = bool(rows["numeric"].iloc[0])
    return _style.style_of_rows(rows).dashes if numeric else ""


def _with_offsets(frame: pd.DataFrame, places: Places) -> Iterator[tuple[pd.DataFrame, float]]:
    variants = list(frame["variant"].unique())
    distances = np.diff(np.sort(places))
    width = SPREAD * float(distances.min()) if distances.size else SPREAD
    for variant, offset in zip(variants, _style.spread(len(variants), width), strict=True):
        yield frame[frame["variant"] == variant].sort_values("position"), float(offset)
