"""The highest learning rate each seed survives, as the interval that is known of it."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.measures import max_stable_rate
from analysis.results import Results

TITLE = "Highest stable learning rate, seed by seed"
CAPTION = (
    "Each line is one seed ({n} per variant): its left end is the highest learning rate at which it was "
    "stable, its right end the next higher rate that was tried, where it was not; the truth lies between. "
    "An arrow to the right: stable at the highest rate tried. A cross at the left edge: no stable rate at "
    "all, so nothing is known."
)


def prepare(results: Results) -> pd.DataFrame:
    """The interval of every seed.

    Returns:
        frame with columns variant, normalization, activation, seed, low, high (log10 of the rate;
        infinite where open), n.
    """
    pieces = [
        max_stable_rate(results, variant)[["seed", "low", "high"]].assign(variant=variant)
        for variant in results.variants
    ]
    frame = pd.concat(pieces, ignore_index=True).astype({"low": float, "high": float})
    frame = frame.assign(n=frame.groupby("variant")["seed"].transform("size"))
    return results.with_names(frame[["variant", "seed", "low", "high", "n"]])


def draw(frame: pd.DataFrame) -> Figure:
    """A band of rows per variant, a segment per seed."""
    variants = list(frame["variant"].unique())
    figure, axes = _style.panels(1, 1, 0.62 * len(variants) + 0.7)
    panel = axes[0, 0]
    ends = frame[["low", "high"]].to_numpy(dtype=float)
    known = ends[np.isfinite(ends)]
    left, right = (known.min() - 0.4, known.max() + 0.4) if known.size else (-3.0, 2.0)
    for position, variant in enumerate(variants):
        rows = frame[frame["variant"] == variant].sort_values("seed")
        colour = _style.style_of_rows(rows).colour
        for offset, seed in zip(_style.spread(len(rows), 0.66), rows.itertuples(), strict=True):
            row = position + offset
            if np.isneginf(seed.low):
                panel.plot(10 ** (left + 0.05), row, marker="x", color=colour, clip_on=False, zorder=3)
                continue
            open_end = np.isposinf(seed.high)
            end = 10 ** (right if open_end else seed.high)
            panel.plot([10**seed.low, end], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            panel.plot(10**seed.low, row, marker="|", color=colour, markersize=5)
            panel.plot(end, row, marker=">" if open_end else "|", color=colour, markersize=5, clip_on=False)
    _style.log_rate_axis(panel)
    panel.set_xlim(10**left, 10**right)
    if right - left < 2.5:  # a label per decade would be one or two
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
    _style.name_rows(panel, variants)
    for boundary in range(1, len(variants)):
        panel.axhline(boundary - 0.5, color="#dddddd", linewidth=0.7)
    panel.set_xlabel("highest stable learning rate")
    shapes = [
        ("|", "stable | next rate tried"),
        (">", "open: stable at the highest rate"),
        ("x", "never stable"),
    ]
    _style.legend_above(
        figure,
        [
            Line2D([], [], color="#444444", marker=m, linestyle="-" if m == "|" else "", label=t)
            for m, t in shapes
        ],
    )
    return figure


def applies(results: Results) -> str | None:
    """Needs a sweep over several rates, with its stability threshold decided."""
    if results.study["search"]["sampler"] == "fixed":
        return "the study trains at a single learning rate, so there is no highest stable one"
    frame = prepare(results)
    if frame.empty or not np.isfinite(frame["low"]).any():
        return "no seed is known to be stable at any rate yet (the threshold is decided after the sweep)"
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("higher-learning-rate",))
