"""How each variant answers to the learning rate, every seed a point, with the rates it is stable at."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import _style
from analysis.figures._base import Drawing, in_unit
from analysis.figures._cells import in_study_order
from analysis.measures import stability
from analysis.measures.select import ended_trials
from analysis.results import Results

TITLE = "Accuracy and loss against the learning rate"
CAPTION = (
    "The sweep: every mark is one trial at the end of its budget ({n} seeds per rate), filled if stable, "
    "hollow if not; marks of one rate are set slightly apart. Lines join the means. The bars on top span "
    "the rates at which at least half the seeds were stable. Losses are capped at the constant "
    "predictor's (dotted); a diverged trial stands at that loss and at chance."
)
MOST_APART = 0.09  # decades, between the marks of two variants at one rate
SPREAD = 0.5  # of the distance of two rates, over which all of a rate's marks are laid out
METRICS = {"accuracy": "final validation accuracy", "loss": "final validation loss, capped"}


def prepare(results: Results) -> pd.DataFrame:
    """The sweep's trials.

    Returns:
        frame with columns variant, normalization, activation, learning_rate, seed, status, stable, accuracy,
        loss (capped), n (seeds of the cell), chance, cap, unit (of the loss).
    """
    sweep = ended_trials(results, "sweep")
    sweep = sweep[sweep["variant"].isin(results.variants)]
    frame = sweep[["variant", "normalization", "activation", "learning_rate", "seed", "status"]].assign(
        stable=stability(results)[sweep.index],
        accuracy=sweep["final_val_accuracy"].astype(float),
        loss=np.fmin(sweep["final_val_loss"].astype(float), results.loss_cap),
        n=sweep.groupby(["variant", "learning_rate"])["seed"].transform("size"),
        chance=results.chance,
        cap=results.loss_cap,
        unit=results.loss_unit,
    )
    return in_study_order(frame, results)


def draw(frame: pd.DataFrame) -> Figure:
    """A column per activation; accuracy above loss, a lane per variant on top."""
    activations = list(frame["activation"].unique())
    figure, axes = _style.panels(2, len(activations), 2.7, sharex=True, sharey="row")
    for column, activation in enumerate(activations):
        rows = frame[frame["activation"] == activation]
        variants = list(rows["variant"].unique())
        apart = min(MOST_APART, SPREAD * _decades_between_rates(rows) / len(variants))
        for row, metric in enumerate(METRICS):
            panel = axes[row, column]
            _style.log_rate_axis(panel)
            for position, variant in enumerate(variants):
                shift = 10 ** (apart * (position - (len(variants) - 1) / 2))
                _draw_response(panel, rows[rows["variant"] == variant], metric, shift)
            panel.axhline(
                frame["chance" if metric == "accuracy" else "cap"].iloc[0], color="#777777", ls=":", lw=1
            )
        axes[0, column].set_xlabel("")
        axes[0, column].set_ylim(0, 1.02)
        axes[0, column].set_title(activation, pad=10 + 5 * len(variants))
        _draw_bands(axes[0, column], rows, variants)
    for row, (metric, label) in enumerate(METRICS.items()):
        axes[row, 0].set_ylabel(in_unit(label, frame["unit"].iloc[0]) if metric == "loss" else label)
    marks = [
        Line2D([], [], color="#444444", marker="o", linestyle="", label="stable seed"),
        Line2D([], [], color="#444444", marker="o", linestyle="", mfc="none", label="not stable"),
    ]
    _style.legend_above(figure, _style.variant_handles(_style.styles(frame), markers=True) + marks)
    return figure


def _decades_between_rates(rows: pd.DataFrame) -> float:
    """The least distance between two rates."""
    rates = np.sort(np.log10(rows["learning_rate"].unique()))
    return float(np.diff(rates).min()) if len(rates) > 1 else 1.0


def _draw_response(panel: Axes, rows: pd.DataFrame, metric: str, shift: float) -> None:
    style = _style.style_of_rows(rows)
    means = rows.groupby("learning_rate")[metric].mean()
    panel.plot(means.index * shift, means, **style.line())
    for stable, own in rows.groupby("stable"):
        panel.plot(
            own["learning_rate"] * shift,
            own[metric],
            linestyle="",
            marker=style.marker,
            color=style.colour,
            markerfacecolor=style.colour if stable else "none",
            markersize=4,
            alpha=0.65,
        )


def _draw_bands(panel: Axes, rows: pd.DataFrame, variants: list[str]) -> None:
    """A bar above the panel per variant, over the rates at which at least half the seeds are stable."""
    for lane, variant in enumerate(reversed(variants)):
        shares = rows[rows["variant"] == variant].groupby("learning_rate")["stable"].mean()
        rates = shares.index[shares >= 0.5]
        if len(rates):
            panel.plot(
                [rates.min(), rates.max()],
                [1.04 + 0.035 * lane] * 2,
                transform=panel.get_xaxis_transform(),
                clip_on=False,
                marker="|",
                markersize=5,
                linewidth=3,
                solid_capstyle="butt",
                color=_style.style_of_rows(rows[rows["variant"] == variant]).colour,
            )


def applies(results: Results) -> str | None:
    """Needs a sweep over more than one learning rate."""
    num_rates = prepare(results)["learning_rate"].nunique()
    return None if num_rates > 1 else "the study has trials at one learning rate only, so far"


DRAWING: Drawing[Results] = Drawing(
    TITLE, CAPTION, prepare, draw, applies, claims=("wider-stable-band", "higher-learning-rate")
)
