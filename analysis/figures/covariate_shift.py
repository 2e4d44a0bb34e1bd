"""Internal covariate shift: how far a layer's gradient moves when the layers below it take their step."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import _style
from analysis.figures._base import Drawing, in_unit
from analysis.figures._cells import equal_rate_trials, in_study_order
from analysis.measures import over_levels, with_training_loss
from analysis.measures.select import rows_of
from analysis.results import Results
from benchmark.contract import COVARIATE_SHIFT_COSINE, COVARIATE_SHIFT_RELATIVE

TITLE = "Internal covariate shift, layer by layer, at equal training loss"
CAPTION = (
    "After definition 2.1 of Santurkar et al. (2018). All variants of an activation train at one rate, the "
    "unnormalized net's best: at its own, a net with larger steps has larger shifts. They are read where a "
    "net's clean training loss first falls to a level, from left (early) to right (late). Upper row: how "
    "much a layer's gradient changes, on one fixed batch, once the layers below it have taken their step, "
    "as a share of the gradient; noise that a normalization injects is the same before and after. Lower "
    "row: the cosine between the two gradients, 1 where they agree. A line per layer that has layers below "
    "it, darker for deeper ones; medians over {n} seeds; a level that fewer than half of a variant's "
    "seeds reach has no point."
)
ROWS = {
    COVARIATE_SHIFT_RELATIVE: "change of the gradient\n(share of its norm)",
    COVARIATE_SHIFT_COSINE: "cosine",
}


def prepare(results: Results) -> pd.DataFrame:
    """Median over seeds per layer, at levels of the training loss.

    Returns:
        frame with columns variant, normalization, activation, probe, layer, index, level, low, median, high,
        n, unit.
    """
    probes = rows_of(results.probes, equal_rate_trials(results)["trial_hash"])
    # The first layer has none below it: 0 and 1 by definition.
    probes = probes[probes["probe"].isin(ROWS) & (probes["index"] > 0)]
    rows = with_training_loss(results, probes)
    over_seeds = over_levels(rows, ["variant", "probe", "layer", "index"])
    ordered = over_seeds.sort_values(["index", "level"], kind="stable")
    return results.with_names(in_study_order(ordered, results).assign(unit=results.loss_unit))


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
    positive = frame.loc[(frame["probe"] == COVARIATE_SHIFT_RELATIVE) & (frame["median"] > 0), "median"]
    label = in_unit("clean training loss", frame["unit"].iloc[0])
    ends = frame["level"].max(), frame["level"].min()
    for position, variant in enumerate(variants):
        block, column = divmod(position, _style.PER_ROW)
        for offset, (probe, words) in enumerate(ROWS.items()):
            panel = axes[2 * block + offset, column]
            rows = frame[(frame["variant"] == variant) & (frame["probe"] == probe)]
            for index, layer in rows.groupby("index"):
                shade = 0.25 + 0.75 * float(str(index)) / deepest
                panel.plot(
                    layer["level"],
                    layer["median"],
                    color=_style.style_of_rows(layer).colour,
                    alpha=shade,
                )
            if column == 0:
                panel.set_ylabel(words)
        shift, cosine = axes[2 * block, column], axes[2 * block + 1, column]
        shift.set_title(variant)
        if len(positive):
            shift.set_yscale("log")
            shift.set_ylim(positive.min() / 2, positive.max() * 2)
        cosine.set(ylim=(-1.05, 1.05), xlabel=label)
        for panel in (shift, cosine):
            panel.set_xlim(*ends)
    depth = [("second layer", 0.25 + 0.75 / deepest), ("last layer", 1.0)]
    handles = [Line2D([], [], color="#222222", alpha=alpha, label=label) for label, alpha in depth]
    _style.legend_above(figure, handles)
    return figure


def applies(results: Results) -> str | None:
    """Needs covariate-shift probes."""
    if prepare(results).empty:
        return (
            "the study logged no covariate shifts of nets trained at equal rates (switch: "
            '"covariate-shift" in probes.enabled)'
        )
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("smoother-landscape",))
