"""All variants in one picture: who learns faster, and who ends higher."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures.learning_curves import applies, bound_loss_axis, draw_band, metric_label, prepare
from analysis.load import Results

TITLE = "All variants together"
CAPTION = (
    "The same means and 95% bootstrap bands over {n} seeds as in the learning curves, each variant at its "
    "own best learning rate, laid over each other. Dashes tell normalizations apart, shades activations."
)


def draw(frame: pd.DataFrame) -> Figure:
    """Loss and accuracy (rows) of training and validation (columns), all variants in each panel."""
    figure, axes = _style.panels(2, 2, 2.6, sharex=True)
    variants = list(frame["variant"].unique())
    for row, metric in enumerate(("loss", "accuracy")):
        for column, split in enumerate(("training", "validation")):
            panel = axes[row, column]
            shown = frame[(frame["metric"] == metric) & (frame["split"] == split)]
            for variant in variants:
                draw_band(panel, shown[shown["variant"] == variant], dashed=True)
            if metric == "loss":
                bound_loss_axis(panel, frame)
                panel.set_title(split)
            else:
                panel.set(ylim=(0, 1.02), xlabel="optimizer step")
            if column == 0:
                panel.set_ylabel(metric_label(metric, frame))
    _style.legend_above(figure, _style.variant_handles(variants))
    return figure


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
