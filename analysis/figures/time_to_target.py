"""How fast each variant reaches the target, with the seeds that never do counted properly."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.measures import target_accuracy, time_to_target
from analysis.measures.select import SAME_RATE
from analysis.results import Results
from analysis.stats import kaplan_meier
from benchmark.contract import BEST

TITLE = "Steps to the target accuracy"
CAPTION = (
    "Kaplan-Meier estimate of the share of seeds ({n} per curve) that have reached the activation's "
    "target accuracy, fixed before these trials ran, with 95% pointwise intervals where no more than "
    "six curves share a panel. A seed that has not "
    "arrived by the end of the budget keeps its curve below 1. Left: each net at its own best learning "
    "rate. Right: all at the best rate of the unnormalized net. Earlier and higher is better. A net "
    "without a best rate has no curve."
)
COMPARISONS = {BEST: "each at its own best rate", SAME_RATE: "all at the unnormalized net's best rate"}
COLUMNS = ["activation", "comparison", "variant", "step", "share", "low", "high", "n", "target", "budget"]


def prepare(results: Results) -> pd.DataFrame:
    """The curves.

    Returns:
        frame with columns normalization, activation, comparison, variant, step, share (that arrived), low,
        high (NaN where undefined), n, target (accuracy), budget (steps).
    """
    budget = float(results.study["budget"]["num_steps"])
    pieces = []
    for variant in results.variants:
        activation = results.planned[variant].activation
        target = target_accuracy(results, activation)
        for role, comparison in COMPARISONS.items():
            times = time_to_target(results, variant, role)["high"].to_numpy(dtype=float)
            if times.size == 0 or np.isnan(target):
                continue
            arrived = np.isfinite(times)
            curve = kaplan_meier(np.where(arrived, times, budget), arrived)
            pieces.append(
                pd.DataFrame(
                    {
                        "activation": activation,
                        "comparison": comparison,
                        "variant": variant,
                        "step": curve.times,
                        "share": 1 - curve.survival,
                        "low": 1 - curve.high,
                        "high": 1 - curve.low,
                        "n": times.size,
                        "target": target,
                        "budget": budget,
                    }
                )
            )
    frame = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=COLUMNS)
    return results.with_names(frame)


def draw(frame: pd.DataFrame) -> Figure:
    """A row per activation, a column per question."""
    activations = list(frame["activation"].unique())
    figure, axes = _style.panels(len(activations), len(COMPARISONS), 2.3, sharex=True, sharey=True)
    for row, activation in enumerate(activations):
        for column, comparison in enumerate(COMPARISONS.values()):
            panel = axes[row, column]
            rows = frame[(frame["activation"] == activation) & (frame["comparison"] == comparison)]
            curves = [curve for _, curve in rows.groupby("variant", sort=False)]
            for curve in curves:
                _draw_curve(panel, curve, banded=len(curves) <= _style.MAX_BANDS)
            if rows.empty:
                text = "no trials: the unnormalized net\nhas no best rate"
                panel.text(
                    0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color="#666666"
                )
            target = frame.loc[frame["activation"] == activation, "target"].iloc[0]
            panel.set_title(f"{activation}: to accuracy {target:.3f}\n{comparison}")
        axes[row, 0].set_ylabel("share of seeds there")
    axes[0, 0].set(ylim=(-0.03, 1.05), xlim=(0, frame["budget"].iloc[0]))
    for panel in axes[-1]:
        panel.set_xlabel("optimizer step")
    _style.legend_above(figure, _style.variant_handles(_style.styles(frame)))
    return figure


def _draw_curve(panel: Axes, curve: pd.DataFrame, *, banded: bool) -> None:
    """One step curve, carried on to the end of the budget."""
    style = _style.style_of_rows(curve)
    end = curve.iloc[[-1]].assign(step=curve["budget"].iloc[0])
    curve = pd.concat([curve, end])
    panel.step(curve["step"], curve["share"], where="post", **style.line())
    if banded:
        low, high = curve["low"], curve["high"]
        panel.fill_between(curve["step"], low, high, step="post", color=style.colour, alpha=0.13, linewidth=0)


def applies(results: Results) -> str | None:
    """Needs a target and a trial of the confirm stage."""
    if results.study["search"]["sampler"] == "fixed":
        return "the study has no confirm stage, and so no target fixed beforehand"
    if prepare(results).empty:
        return "the confirm stage has not run yet"
    return None


DRAWING: Drawing[Results] = Drawing(
    TITLE,
    CAPTION,
    prepare,
    draw,
    applies,
    claims=("faster-at-best-rate", "faster-at-same-rate", "worth-its-cost"),
)
