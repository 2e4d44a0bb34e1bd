"""What an optimizer step, and a whole training, costs each variant in time."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import best_trials
from analysis.results import Results

TITLE = "Training time per variant"
CAPTION = (
    "Seconds of training per 100 optimizer steps, at each variant's own best learning rate. Each mark is "
    "a seed ({n} per variant), the bar their median. Compilation, warm-up and evaluation are not counted. "
    "Trials that ran side by side share the machine, so read the ratio between variants rather than the "
    "seconds."
)


def prepare(results: Results) -> pd.DataFrame:
    """Training time of each trial.

    Returns:
        frame with columns variant, normalization, activation, seed, seconds_per_100_steps, n (seeds of the
        variant).
    """
    trials = best_trials(results)
    trials = trials[(trials["num_steps_done"] > 0) & trials["train_seconds"].notna()]
    frame = trials[["variant", "normalization", "activation", "seed"]].assign(
        seconds_per_100_steps=100 * trials["train_seconds"] / trials["num_steps_done"]
    )
    return frame.assign(n=frame.groupby("variant")["seed"].transform("size")).reset_index(drop=True)


def draw(frame: pd.DataFrame) -> Figure:
    """A row per variant, time on the horizontal axis, from zero."""
    variants = list(frame["variant"].unique())
    figure, axes = _style.panels(1, 1, 0.45 * len(variants) + 0.6)
    panel = axes[0, 0]
    for position, variant in enumerate(variants):
        rows = frame[frame["variant"] == variant]
        style = _style.style_of_rows(rows)
        seconds = rows["seconds_per_100_steps"].sort_values()
        offsets = _style.spread(len(seconds))
        panel.barh(position, seconds.median(), height=0.62, color=style.colour, alpha=0.25)
        panel.plot(seconds, position + offsets, linestyle="", marker=style.marker, color=style.colour)
    _style.name_rows(panel, variants)
    panel.set(xlim=(0, None), xlabel="training seconds per 100 optimizer steps")
    return figure


def applies(results: Results) -> str | None:
    """Needs one trial with its time."""
    return "no trial has logged its training time yet" if prepare(results).empty else None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("worth-its-cost",))
