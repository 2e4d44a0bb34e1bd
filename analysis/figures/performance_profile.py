"""Share of seeds above every accuracy: the whole distribution of results at a glance."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import best_trials
from analysis.results import Results
from analysis.stats import performance_profile

TITLE = "Performance profiles"
CAPTION = (
    "Share of seeds (of {n}) whose final validation accuracy lies above each value, each variant at its "
    "own best learning rate. A curve further to the right is better; a steep drop means that seeds agree. "
    "The axis shows the range of the results."
)
THRESHOLDS = np.linspace(0.0, 1.0, 1001)


def prepare(results: Results) -> pd.DataFrame:
    """The profile of each variant.

    Returns:
        frame with columns variant, normalization, activation, threshold, share, n.
    """
    pieces = []
    for variant, rows in best_trials(results).groupby("variant", sort=False):
        share = performance_profile(rows["final_val_accuracy"], THRESHOLDS)
        pieces.append(
            pd.DataFrame({"variant": variant, "threshold": THRESHOLDS, "share": share, "n": len(rows)})
        )
    columns = ["variant", "threshold", "share", "n"]
    frame = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=columns)
    return results.with_names(frame)


def draw(frame: pd.DataFrame) -> Figure:
    """One curve per variant; a panel per group of variants."""
    groups = _style.grouped(frame)
    figure, axes = _style.panels(len(groups), 1, 2.8, sharex=True)
    for panel, (activation, own) in zip(axes.flat, groups, strict=True):
        for variant in own:
            rows = frame[frame["variant"] == variant]
            panel.step(rows["threshold"], rows["share"], where="post", **_style.style_of_rows(rows).line())
        panel.set(ylim=(-0.03, 1.03), ylabel="share of seeds", title=activation)
    changing = frame.loc[frame["share"] < 1, "threshold"]
    left = max(0.0, changing.min() - 0.02) if len(changing) else 0.0
    last = frame.loc[frame["share"] > 0, "threshold"]
    right = min(1.0, last.max() + 0.02) if len(last) else 1.0
    axes[-1, 0].set(xlim=(left, right), xlabel="final validation accuracy above this")
    _style.legend_above(figure, _style.variant_handles(_style.styles(frame)))
    return figure


def applies(results: Results) -> str | None:
    """Needs one trial that ended."""
    return "no trial has ended yet" if best_trials(results).empty else None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
