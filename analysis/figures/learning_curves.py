"""The source notebook's own figure: per variant, training and validation loss and accuracy."""

from functools import lru_cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import _style
from analysis.figures._base import Drawing, in_unit
from analysis.figures._cells import best_trials, completed_curves
from analysis.results import Results
from analysis.stats import bootstrap_band

TITLE = "Learning curves"
CAPTION = (
    "Each variant at its own best learning rate (fresh seeds where the confirm stage has run, the sweep's "
    "otherwise; a net without a best rate at the rate of its least loss). Dark line: validation; pale "
    "dots: training, the mean over the batches of the interval, with dropout and augmentation on. Lines "
    "are means over {n} seeds, bands 95% bootstrap intervals of the mean; none is drawn for a single "
    "seed. A diverged trial counts as the constant predictor from there on. Dotted: the constant "
    "predictor's loss; losses far above it run off the panel."
)
CURVES = {
    ("training", "loss"): "train_loss",
    ("validation", "loss"): "val_loss",
    ("training", "accuracy"): "train_accuracy",
    ("validation", "accuracy"): "val_accuracy",
}
BAND_SEED = 20150211  # of the bootstrap, so that a report is the same each time


@lru_cache(maxsize=2)  # two figures show it
def prepare(results: Results) -> pd.DataFrame:
    """Mean curve and band of each variant.

    Returns:
        frame with columns variant, normalization, activation, learning_rate, split, metric, step, mean, low,
        high (NaN at n = 1), n, cap, unit (of the loss).
    """
    trials = best_trials(results)
    curves = completed_curves(results, trials)
    rates = trials.groupby("variant")["learning_rate"].first()
    pieces = []
    for variant, rows in curves.groupby("variant", sort=False):
        for (split, metric), column in CURVES.items():
            wide = rows.pivot(index="step", columns="seed", values=column).dropna(how="all")
            band = _summary(wide).assign(variant=variant, split=split, metric=metric)
            pieces.append(
                band.assign(learning_rate=rates[variant], cap=results.loss_cap, unit=results.loss_unit)
            )
    columns = [
        "variant",
        "learning_rate",
        "split",
        "metric",
        "step",
        "mean",
        "low",
        "high",
        "n",
        "cap",
        "unit",
    ]
    frame = pd.concat(pieces, ignore_index=True)[columns] if pieces else pd.DataFrame(columns=columns)
    return results.with_names(frame)


def metric_label(metric: str, frame: pd.DataFrame) -> str:
    """The words at a metric's axis."""
    return in_unit("loss", frame["unit"].iloc[0]) if metric == "loss" else metric


def draw(frame: pd.DataFrame) -> Figure:
    """A column per variant, loss above accuracy; more than four variants continue below."""
    variants = list(frame["variant"].unique())
    num_columns = min(_style.PER_ROW, len(variants))
    num_blocks = -(-len(variants) // _style.PER_ROW)
    figure, axes = _style.panels(2 * num_blocks, num_columns, 2.0, sharex=False)
    _style.few_ticks(axes)
    for position, variant in enumerate(variants):
        block, column = divmod(position, _style.PER_ROW)
        for offset, metric in enumerate(("loss", "accuracy")):
            panel = axes[2 * block + offset, column]
            rows = frame[(frame["variant"] == variant) & (frame["metric"] == metric)]
            for split in ("training", "validation"):
                draw_band(panel, rows[rows["split"] == split], pale=split == "training")
            if metric == "loss":
                panel.set_title(f"{variant}\nlearning rate {rows['learning_rate'].iloc[0]:.3g}")
                bound_loss_axis(panel, frame)
            else:
                panel.set(ylim=(0, 1.02), xlabel="optimizer step")
            if column == 0:
                panel.set_ylabel(metric_label(metric, frame))
    for unused in axes.flat[: 2 * num_blocks * num_columns]:
        if not unused.has_data():
            unused.set_axis_off()
    _style.legend_above(
        figure,
        [
            Line2D([], [], color="#333333", label="validation"),
            Line2D(
                [], [], color="#333333", alpha=0.45, linewidth=1.1, linestyle=(0, (1, 1)), label="training"
            ),
        ],
    )
    return figure


def draw_band(
    panel: Axes, rows: pd.DataFrame, pale: bool = False, dashed: bool = False, banded: bool = True
) -> None:
    """One mean curve with its band, if `banded`; `dashed` uses the variant's own dash pattern."""
    if rows.empty:
        return
    style = _style.style_of_rows(rows)
    pattern = style.dashes if dashed else (0, (1, 1)) if pale else "-"
    width, alpha = (1.1, 0.6) if pale else (1.7, 1.0)
    panel.plot(rows["step"], rows["mean"], color=style.colour, linestyle=pattern, lw=width, alpha=alpha)
    if banded:
        low, high = rows["low"], rows["high"]
        panel.fill_between(rows["step"], low, high, color=style.colour, alpha=0.18, linewidth=0)


def bound_loss_axis(panel: Axes, frame: pd.DataFrame) -> None:
    """Losses from 0 to somewhat above the cap, which is marked: one scale for all panels."""
    cap = frame["cap"].iloc[0]
    if np.isfinite(cap):
        panel.axhline(cap, color="#777777", linestyle=":", linewidth=1)
        panel.set_ylim(0, 1.15 * cap)


def applies(results: Results) -> str | None:
    """Needs one trial that ended."""
    return "no trial has ended yet" if best_trials(results).empty else None


def _summary(wide: pd.DataFrame) -> pd.DataFrame:
    """Mean over the columns (seeds) of [step, seed] values, with a bootstrap band."""
    band = bootstrap_band(wide.to_numpy(dtype=float).T, rng=np.random.default_rng(BAND_SEED))
    columns = {"step": wide.index.to_numpy(), "mean": band.value, "low": band.low, "high": band.high}
    return pd.DataFrame(columns | {"n": band.n})


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
