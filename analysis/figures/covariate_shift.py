"""Internal covariate shift: how far a layer's gradient moves when the layers below it take their step."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import in_study_order
from analysis.figures.gradient_depth import probes_of
from analysis.results import Results
from benchmark.contract import COVARIATE_SHIFT, COVARIATE_SHIFT_COSINE

TITLE = "Internal covariate shift, layer by layer"
CAPTION = (
    "After definition 2.1 of Santurkar et al. (2018), each variant at its own best learning rate. Upper"
    " row: how much a layer's gradient changes, on one fixed batch, once the layers below it have taken"
    " their step; where a normalization injects noise, the layers below have the next step's. Lower row: "
    "the cosine between the two gradients, 1 where they agree. A line per layer that has layers below it, "
    "darker for deeper ones; medians over {n} seeds."
)
ROWS = {COVARIATE_SHIFT: "change of the gradient", COVARIATE_SHIFT_COSINE: "cosine"}


def prepare(results: Results) -> pd.DataFrame:
    """Median over seeds per layer.

    Returns:
        frame with columns variant, normalization, activation, probe, layer, index, step, median, n.
    """
    probes = probes_of(results, tuple(ROWS))
    probes = probes[probes["index"] > 0]  # the first layer has none below it: 0 and 1 by definition
    keys = ["variant", "probe", "layer", "index", "step"]
    medians = probes.groupby(keys, sort=False)["value"].agg(median="median", n="count").reset_index()
    ordered = medians.sort_values(["index", "step"], kind="stable")
    return results.with_names(in_study_order(ordered, results))


def draw(frame: pd.DataFrame) -> Figure:
    """A column per variant; shift above cosine."""
    variants = list(frame["variant"].unique())
    num_columns = min(_style.PER_ROW, len(variants))
    num_blocks = -(-len(variants) // _style.PER_ROW)
    figure, axes = _style.panels(2 * num_blocks, num_columns, 2.1)
    _style.few_ticks(axes)
    for unused in axes[-2:, 1 + (len(variants) - 1) % _style.PER_ROW :].flat:
        unused.set_axis_off()
    deepest = frame["index"].max()
    positive = frame.loc[(frame["probe"] == COVARIATE_SHIFT) & (frame["median"] > 0), "median"]
    for position, variant in enumerate(variants):
        block, column = divmod(position, _style.PER_ROW)
        for offset, (probe, label) in enumerate(ROWS.items()):
            panel = axes[2 * block + offset, column]
            rows = frame[(frame["variant"] == variant) & (frame["probe"] == probe)]
            for index, layer in rows.groupby("index"):
                shade = 0.25 + 0.75 * float(str(index)) / deepest
                panel.plot(
                    layer["step"],
                    layer["median"],
                    color=_style.style_of_rows(layer).colour,
                    alpha=shade,
                )
            if column == 0:
                panel.set_ylabel(label)
        shift, cosine = axes[2 * block, column], axes[2 * block + 1, column]
        shift.set_title(variant)
        if len(positive):
            shift.set_yscale("log")
            shift.set_ylim(positive.min() / 2, positive.max() * 2)
        cosine.set(ylim=(-1.05, 1.05), xlabel="optimizer step")
    depth = [("second layer", 0.25 + 0.75 / deepest), ("last layer", 1.0)]
    handles = [Line2D([], [], color="#222222", alpha=alpha, label=label) for label, alpha in depth]
    _style.legend_above(figure, handles)
    return figure


def applies(results: Results) -> str | None:
    """Needs covariate-shift probes."""
    if prepare(results).empty:
        return 'the study logged no covariate shifts (switch: "covariate-shift" in probes.enabled)'
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("smoother-landscape",))
