"""How every figure looks: one colour, line and marker per variant, everywhere, from its two names alone.

A variant's hue and dash pattern come from its normalization, its shade and marker from its activation. So the
two nets that a claim compares (same activation) differ in hue and in dashes, which survives grey printing and
colour-blindness, and adding a variant to a study never repaints the others.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

WIDTH_IN = 9.0  # the report's column
DPI = 120
_LEGEND_ROWS = 2  # for which figures have room as they are
_MANY_VARIANTS = 8  # more do not share a panel with those of other activations
_SMALL_PANEL_BINS = 3  # between ticks
PER_ROW = 4  # panels, of those that have a panel per variant
MAX_BANDS = 6  # of curves in one panel: more hide each other

# Okabe & Ito's colour-blind safe palette (2008), a little darkened where white paper asks for it, for the
# families of the protocol; their kin in hues nearby: batch normalization's anatomy blue, competitors without
# normalization red.
NORMALIZATION_HUES = {
    "none": "#d55e00",
    "batch": "#0072b2",
    "batch-no-affine": "#6baed6",
    "batch-fast": "#3f6fd1",
    "batch-last": "#0b3c6f",
    "batch-noisy": "#2ab7ca",
    "batch-renorm": "#6a3d9a",
    "layer": "#009e73",
    "layer-channel": "#7cb518",
    "group2": "#e88bc4",
    "group4": "#d460a3",
    "group5": "#cc79a7",
    "group10": "#b03a80",
    "group20": "#7a1f57",
    "instance": "#555555",
    "rms": "#17a2b8",
    "weight": "#b8860b",
    "weight-mean-batch": "#e3b505",
    "weight-std-group2": "#a0632e",
    "weight-std-group4": "#8c510a",
    "weight-std-group10": "#5c3306",
    "none-he": "#fb6a4a",
    "none-lecun": "#f4a582",
    "none-orthogonal": "#e31a1c",
    "none-lsuv": "#a50026",
    "none-noisy": "#fdae61",
    "none-clip0.1": "#b2182b",
    "none-clip1": "#67001f",
    "none-clip10": "#3f0012",
}
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.6)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (2, 1)),
)
# By turns, but for the pair that every claim compares: neighbours in hue differ in dashes.
NORMALIZATION_DASHES: dict[str, Any] = {
    name: _DASHES[position % len(_DASHES)]
    for position, name in enumerate(["batch", "none", *list(NORMALIZATION_HUES)[2:]])
}
ACTIVATION_SHADES = {"relu": -0.18, "sigmoid": 0.32, "tanh": 0.08}  # towards black (-1) or white (+1)
ACTIVATION_MARKERS = {"relu": "o", "sigmoid": "s", "tanh": "^"}
OUTCOME_COLOURS = {"trained": "#7fbfa8", "stuck": "#e3e3e3", "diverged": "#3c3c3c"}
OUTCOME_HATCHES = {"trained": "", "stuck": "///", "diverged": ""}


def plain(text: str) -> str:
    """A text of the user's as matplotlib draws it, to which a dollar begins a formula."""
    return text.replace("$", r"\$")


RC: dict[str, Any] = {
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#555555",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.5,
    "hatch.color": "#aaaaaa",
    "figure.facecolor": "white",
    "svg.hashsalt": "batchnorm-benchmark",  # element ids that don't change from one run to the next
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class VariantStyle:
    """Colour (hex), line pattern and marker of one variant."""

    colour: str
    dashes: Any
    marker: str

    def line(self) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot` for a line of this variant."""
        return {"color": self.colour, "linestyle": self.dashes}


def style_of(normalization: str, activation: str) -> VariantStyle:
    """Style of a variant; of a name that no table here knows, it follows from the name."""
    hue = NORMALIZATION_HUES.get(normalization) or _hashed_hue(normalization)
    shade = ACTIVATION_SHADES.get(activation, _fraction(activation) * 0.7 - 0.3)
    markers = ["D", "v", "P", "X", "<", ">"]
    return VariantStyle(
        colour=_shade(hue, shade),
        dashes=NORMALIZATION_DASHES.get(normalization, _DASHES[_index(normalization, len(_DASHES))]),
        marker=ACTIVATION_MARKERS.get(activation, markers[_index(activation, len(markers))]),
    )


def style_of_rows(rows: pd.DataFrame) -> VariantStyle:
    """Style of the variant that these rows are of, by their columns normalization and activation."""
    return style_of(rows["normalization"].iloc[0], rows["activation"].iloc[0])


def styles(frame: pd.DataFrame) -> dict[str, VariantStyle]:
    """Styles of all variants in a frame with the columns variant, normalization, activation; in its order."""
    return {str(variant): style_of_rows(rows) for variant, rows in frame.groupby("variant", sort=False)}


@contextmanager
def styled() -> Iterator[None]:
    """The house style, for drawing and for saving (ids in an SVG are made on saving)."""
    with mpl.rc_context(RC):
        yield


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write `stem`.svg and `stem`.png, byte for byte the same for the same figure; return both paths."""
    svg, png = stem.with_suffix(".svg"), stem.with_suffix(".png")
    with styled():
        # Solve the layout once, not in each of the two passes that every format would take: drawing is most
        # of a report's time.
        if engine := figure.get_layout_engine():
            engine.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
        figure.savefig(png, dpi=DPI, metadata={"Software": None})
    return svg, png


def panels(
    num_rows: int, num_columns: int, row_height_in: float, **kwargs: Any
) -> tuple[Figure, np.ndarray[Any, Any]]:
    """A figure of the report's width with a grid of axes, [num_rows, num_columns]."""
    figure = Figure(figsize=(WIDTH_IN, row_height_in * num_rows + 0.5), layout="constrained")
    return figure, figure.subplots(num_rows, num_columns, squeeze=False, **kwargs)


def few_ticks(axes: np.ndarray[Any, Any]) -> None:
    """Three or four ticks for small panels, of which drawing takes mostly ticks; before scales are set."""
    for panel in axes.flat:
        panel.locator_params(nbins=_SMALL_PANEL_BINS, min_n_ticks=_SMALL_PANEL_BINS)


def legend_above(figure: Figure, handles: Sequence[Any], num_columns: int = 6) -> None:
    """One legend for all panels, above them, where it can't hide data.

    It takes as many columns as fit, at most `num_columns`, and what height it needs beyond two rows is added
    to the figure, not taken from the panels.
    """
    if not handles:
        return
    columns = min(num_columns, len(handles))
    while True:
        legend = figure.legend(handles=handles, loc="outside upper left", ncols=columns)
        size = legend.get_window_extent()
        if size.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
        columns -= 1
    extra = size.height / figure.dpi * (1 - _LEGEND_ROWS / -(-len(handles) // columns))
    figure.set_figheight(figure.get_figheight() + max(0.0, extra))


def variant_handles(styles: Mapping[str, VariantStyle], markers: bool = False) -> list[Line2D]:
    """Legend entries for variants, as lines or as lines with markers."""
    return [
        Line2D([], [], label=variant, marker=style.marker if markers else "", **style.line())
        for variant, style in styles.items()
    ]


def grouped(frame: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Variants that share a panel, as (heading, variants): all of them, unheaded; of many, per activation."""
    named = frame.drop_duplicates("variant")
    if len(named) <= _MANY_VARIANTS:
        return [("", list(named["variant"]))]
    return [(str(name), list(own["variant"])) for name, own in named.groupby("activation", sort=False)]


def log_rate_axis(axes: Axes) -> None:
    """Logarithmic learning rates: a labelled tick per decade, unlabelled ones between."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=12))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("learning rate")


def name_rows(panel: Axes, names: Sequence[str]) -> None:
    """Names of the rows of a panel, the first on top."""
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False, axis="y")


def spread(length: int, width: float = 0.4) -> np.ndarray[Any, Any]:
    """Offsets that keep the marks of seeds in one row from hiding each other; zero for a single one."""
    return np.linspace(-width / 2, width / 2, length) if length > 1 else np.zeros(length)


def _shade(colour: str, amount: float) -> str:
    """Blend towards white (amount > 0) or black (amount < 0)."""
    rgb = np.asarray(to_rgb(colour))
    target = np.ones(3) if amount > 0 else np.zeros(3)
    return to_hex(rgb + abs(amount) * (target - rgb))


def _digest(name: str) -> int:
    """A number from a name that is the same in every process (unlike Python's `hash`)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _fraction(name: str) -> float:
    return _digest(name) / 2**64


def _index(name: str, length: int) -> int:
    return _digest(name) % length


def _hashed_hue(name: str) -> str:
    return to_hex(sns.husl_palette(n_colors=1, h=_fraction(name), s=0.9, l=0.5)[0])
