"""How smooth the loss is along the gradient where nets have the same training loss: what the claim reads."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing, in_unit
from analysis.figures._cells import equal_rate_trials, in_study_order
from analysis.measures import over_levels, steps_along_the_gradient, with_training_loss
from analysis.measures.select import rows_of
from analysis.results import Results
from benchmark.contract import LANDSCAPE, LANDSCAPE_SMOOTHNESS

TITLE = "How smooth the loss is, at equal training loss"
CAPTION = (
    "Effective smoothness, the greatest change of the gradient per length walked along it (less is "
    "smoother), where a net's clean training loss first falls to a level, from left (early) to right (late). "
    "All variants of an activation train, and walk, at the unnormalized net's best rate. Line: median over "
    "{n} seeds; band: from the least to the greatest of them; a level that fewer than half of a variant's "
    "seeds reach has no point. Where more than six variants share a panel: the medians alone."
)


def prepare(results: Results) -> pd.DataFrame:
    """Over seeds, the smoothness at levels of the training loss.

    Returns:
        frame with columns variant, normalization, activation, level, low, median, high, n, unit.
    """
    probes = rows_of(results.probes, equal_rate_trials(results)["trial_hash"])
    rows = with_training_loss(results, probes[probes["probe"] == LANDSCAPE_SMOOTHNESS])
    frame = in_study_order(over_levels(rows, ["variant"]), results)
    return results.with_names(frame.assign(unit=results.loss_unit))


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per group of variants."""
    styles = _style.styles(frame)
    groups = _style.grouped(frame)
    num_columns = min(2, len(groups))
    figure, axes = _style.panels(-(-len(groups) // num_columns), num_columns, 3.0)
    label = in_unit("clean training loss", frame["unit"].iloc[0])
    for panel, (activation, own) in zip(axes.flat, groups, strict=False):
        for variant in own:
            rows = frame[frame["variant"] == variant].sort_values("level")
            if len(own) <= _style.MAX_BANDS:
                colour = styles[variant].colour
                panel.fill_between(
                    rows["level"], rows["low"], rows["high"], color=colour, alpha=0.18, linewidth=0
                )
            panel.plot(rows["level"], rows["median"], **styles[variant].line())
        panel.set(title=activation, xlabel=label, ylabel="effective smoothness (loss/weight²)", yscale="log")
        panel.invert_xaxis()
    for unused in axes.flat[len(groups) :]:
        unused.set_axis_off()
    _style.legend_above(figure, _style.variant_handles(styles))
    return figure


def applies(results: Results) -> str | None:
    """Needs landscape probes of trials at equal rates, and an optimizer that steps along the gradient."""
    if prepare(results).empty:
        return (
            "the study logged no walks along the gradient of nets trained at equal rates (switch: "
            f'"{LANDSCAPE}" in probes.enabled)'
        )
    return steps_along_the_gradient(results)


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("smoother-landscape",))
