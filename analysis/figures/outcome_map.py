"""What became of the trials of every cell of the sweep."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import in_study_order
from analysis.measures.select import ended_trials
from analysis.results import Results
from benchmark.contract import ENDED

TITLE = "What became of every trial"
CAPTION = (
    "Each box is one cell of the sweep, {n} seeds at one learning rate, filled in proportion to their "
    "outcomes. Trained: accuracy above chance beyond doubt; stuck: spent its budget without that; "
    "diverged: the loss exploded, and training stopped there. The number is the share that trained."
)


def prepare(results: Results) -> pd.DataFrame:
    """Shares of the outcomes, per variant and rate of the sweep.

    Returns:
        frame with columns variant, learning_rate, trained, stuck, diverged (shares that add to 1), n.
    """
    trials = ended_trials(results, "sweep")
    if trials.empty:
        return pd.DataFrame(columns=["variant", "learning_rate", *ENDED, "n"])
    counts = trials.groupby(["variant", "learning_rate"])["status"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=list(ENDED), fill_value=0)
    num_seeds = counts.sum(axis=1)
    frame = counts.div(num_seeds, axis=0).assign(n=num_seeds).reset_index()
    return in_study_order(frame.rename_axis(columns=None), results)


def draw(frame: pd.DataFrame) -> Figure:
    """A row per variant, a column per learning rate, each box a stacked bar."""
    variants = list(frame["variant"].unique())
    rates = sorted(frame["learning_rate"].unique())
    figure, axes = _style.panels(1, 1, 0.5 * len(variants) + 0.7)
    panel = axes[0, 0]
    for cell in frame.itertuples():
        left, row = rates.index(cell.learning_rate) - 0.46, variants.index(cell.variant)
        for outcome in ENDED:
            width = 0.92 * getattr(cell, outcome)
            panel.barh(
                row,
                width,
                left=left,
                height=0.8,
                color=_style.OUTCOME_COLOURS[outcome],
                hatch=_style.OUTCOME_HATCHES[outcome],
                linewidth=0,
            )
            left += width
        panel.annotate(
            f"{cell.trained:.0%}",
            (rates.index(cell.learning_rate), row),
            ha="center",
            va="center",
            fontsize=8,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.9},
        )
    _style.name_rows(panel, variants)
    panel.set_xticks(range(len(rates)), [f"{rate:.3g}" for rate in rates])
    panel.set(xlabel="learning rate", xlim=(-0.55, len(rates) - 0.45))
    panel.grid(False)
    _style.legend_above(
        figure,
        [
            Patch(
                facecolor=_style.OUTCOME_COLOURS[outcome],
                hatch=_style.OUTCOME_HATCHES[outcome],
                label=outcome,
            )
            for outcome in ENDED
        ],
    )
    return figure


def applies(results: Results) -> str | None:
    """Needs one trial of the sweep that ended."""
    return "no trial of the sweep has ended yet" if ended_trials(results, "sweep").empty else None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("fewer-failures",))
