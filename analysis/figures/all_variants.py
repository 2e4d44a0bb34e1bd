"""All variants in one picture: who learns faster, and who ends higher."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures.learning_curves import applies, bound_loss_axis, draw_band, metric_label, prepare
from analysis.results import Results

TITLE = "All variants together"
CAPTION = (
    "The same means over {n} seeds as in the learning curves, each variant at its own best learning rate, "
    "laid over each other; 95% bootstrap bands where no more than six share a panel. Dashes tell "
    "normalizations apart, shades activations, which have panels of their own where there are many variants."
)


def draw(frame: pd.DataFrame) -> Figure:
    """Loss and accuracy (rows) of training and validation (columns), per group of variants."""
    groups = _style.grouped(frame)
    figure, axes = _style.panels(2 * len(groups), 2, 2.6, sharex=True)
    for block, (activation, own) in enumerate(groups):
        for row, metric in enumerate(("loss", "accuracy")):
            for column, split in enumerate(("training", "validation")):
                panel = axes[2 * block + row, column]
                shown = frame[(frame["metric"] == metric) & (frame["split"] == split)]
                for variant in own:
                    rows = shown[shown["variant"] == variant]
                    draw_band(panel, rows, dashed=True, banded=len(own) <= _style.MAX_BANDS)
                if metric == "loss":
                    bound_loss_axis(panel, frame)
                    panel.set_title(f"{activation}, {split}" if activation else split)
                else:
                    panel.set(ylim=(0, 1.02), xlabel="optimizer step")
                if column == 0:
                    panel.set_ylabel(metric_label(metric, frame))
    _style.legend_above(figure, _style.variant_handles(_style.styles(frame)))
    return figure


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
