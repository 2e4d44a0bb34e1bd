"""What units do: the spread of one unit's input, and how many units are saturated or dead."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import in_study_order
from analysis.figures.gradient_depth import probes_of
from analysis.measures import in_hidden_layers
from analysis.results import Results
from benchmark.contract import (
    DEAD_SHARE,
    PREACTIVATION_P15,
    PREACTIVATION_P50,
    PREACTIVATION_P85,
    SATURATED_SHARE,
)

TITLE = "Inside the units: saturation, and the input of one unit"
CAPTION = (
    "Upper row: share of saturated units (slope below 5% of its maximum) or dead units "
    "(ReLU: zero on the whole batch), a line per layer, darker for deeper ones; medians over {n} seeds. "
    "Lower row, after Fig. 1 of Ioffe & Szegedy (2015): the 15th, 50th and 85th percentiles of the input of "
    "one unit in the last hidden layer, for one seed, over the training, each net on its own scale; variants "
    "at their own best learning rates, on one fixed batch."
)
SHARES = {SATURATED_SHARE: "saturated", DEAD_SHARE: "dead"}
PERCENTILES = {PREACTIVATION_P15: 15, PREACTIVATION_P50: 50, PREACTIVATION_P85: 85}


def prepare(results: Results) -> pd.DataFrame:
    """Shares per layer (median over seeds) and the percentiles of one unit (the lowest seed).

    Returns:
        frame with columns variant, normalization, activation, kind (`saturated`, `dead`, `percentile`),
        layer, index, percentile, step, value, n.
    """
    shares = probes_of(results, tuple(SHARES))
    shares = (
        shares.groupby(["variant", "probe", "layer", "index", "step"], sort=False)["value"]
        .agg(value="median", n="count")
        .reset_index()
    )
    units = probes_of(results, tuple(PERCENTILES))
    units = units[in_hidden_layers(units)]
    last = units.groupby("variant")["index"].transform("max")
    first_seed = units.groupby("variant")["seed"].transform("min")
    units = units[(units["index"] == last) & (units["seed"] == first_seed)]
    frame = pd.concat(
        [
            shares.assign(kind=shares["probe"].map(SHARES)),
            units.assign(kind="percentile", percentile=units["probe"].map(PERCENTILES)),
        ],
        ignore_index=True,
    )
    columns = ["variant", "kind", "layer", "index", "percentile", "step", "value", "n"]
    frame = frame.reindex(columns=columns).sort_values(["kind", "index", "step"], kind="stable")
    return results.with_names(in_study_order(frame, results))


def draw(frame: pd.DataFrame) -> Figure:
    """A column per variant; shares above, percentiles below."""
    variants = list(frame["variant"].unique())
    num_columns = min(_style.PER_ROW, len(variants))
    num_blocks = -(-len(variants) // _style.PER_ROW)
    figure, axes = _style.panels(2 * num_blocks, num_columns, 2.1)
    _style.few_ticks(axes)
    for panel in axes.flat:
        panel.set_axis_off()
    for position, variant in enumerate(variants):
        block, column = divmod(position, _style.PER_ROW)
        rows = frame[frame["variant"] == variant]
        upper, lower = axes[2 * block, column], axes[2 * block + 1, column]
        _draw_shares(upper, rows[rows["kind"] != "percentile"])
        _draw_percentiles(lower, rows[rows["kind"] == "percentile"])
        upper.set_title(variant)
        if column == 0:
            lower.set_ylabel("input of one unit")
    depth = [("first layer", 0.25), ("last layer", 1.0)]
    handles = [Line2D([], [], color="#222222", alpha=alpha, label=label) for label, alpha in depth]
    band = Line2D([], [], color="#777777", linewidth=7, alpha=0.35, label="15th to 85th percentile")
    _style.legend_above(figure, [*handles, band, Line2D([], [], color="#222222", label="median")])
    return figure


def _draw_shares(panel: Axes, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    panel.set_axis_on()
    deepest = max(1, rows["index"].max())
    for index in sorted(rows["index"].unique()):
        layer = rows[rows["index"] == index]
        panel.plot(
            layer["step"],
            layer["value"],
            color=_style.style_of_rows(rows).colour,
            alpha=0.25 + 0.75 * float(index) / deepest,
        )
    panel.set(ylim=(-0.02, 1.02), ylabel=f"share {rows['kind'].iloc[0]}")


def _draw_percentiles(panel: Axes, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    panel.set_axis_on()
    colour = _style.style_of_rows(rows).colour
    wide = rows.pivot(index="step", columns="percentile", values="value")
    panel.fill_between(wide.index, wide[15], wide[85], color=colour, alpha=0.2, linewidth=0)
    panel.plot(wide.index, wide[15], color=colour, linewidth=0.9)
    panel.plot(wide.index, wide[50], color=colour)
    panel.plot(wide.index, wide[85], color=colour, linewidth=0.9)
    panel.set_xlabel("optimizer step")


def applies(results: Results) -> str | None:
    """Needs activation probes."""
    if probes_of(results, (*SHARES, *PERCENTILES)).empty:
        return 'the study logged no activation probes (switch: "activations" in probes.enabled)'
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("no-vanishing-gradient",))
