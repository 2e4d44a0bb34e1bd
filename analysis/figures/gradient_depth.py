"""Do gradients reach the first layers? Gradient norm against depth, at moments of the training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import best_trials, in_study_order
from analysis.measures.inside import GRADIENT_FLOOR
from analysis.results import Results
from benchmark.contract import GRADIENT_NORM

TITLE = "Gradient norm by depth, through training"
CAPTION = (
    "Norm of the loss' gradient with respect to each layer's weights, on one fixed batch, at each "
    "variant's own best learning rate; median over {n} seeds. From left (input) to right (output): a line "
    "that rises steeply to the right means that gradients vanish on their way back to the first layers. "
    "Darker is later in training; a moment at which a variant was not probed has no line. A cross at the "
    "bottom: no gradient at all."
)
MOMENTS = {0.0: "at initialization", 0.25: "after a quarter", 0.5: "after half", 1.0: "at the end"}
ZERO_HEIGHT = 0.04  # of the panel, where zeros stand
SHADES = np.linspace(0.3, 1.0, len(MOMENTS))
MARKERS = ("o", "^", "s", "D")


def prepare(results: Results) -> pd.DataFrame:
    """Median gradient norm per variant, layer and moment.

    Returns:
        frame with columns variant, normalization, activation, moment, step, layer, index, median,
        n.
    """
    moments = at_moments(results, GRADIENT_NORM, tuple(MOMENTS))
    return results.with_names(moments.assign(moment=moments["moment"].map(MOMENTS)))


def at_moments(results: Results, probe: str, fractions: tuple[float, ...]) -> pd.DataFrame:
    """Median over seeds of a probe of the best trials, at the evaluations nearest to shares of the budget."""
    probes = probes_of(results, (probe,))
    steps = np.sort(probes["step"].unique())
    pieces = []
    for fraction in fractions if len(steps) else ():
        step = steps[np.argmin(np.abs(steps - fraction * results.study["budget"]["num_steps"]))]
        rows = probes[probes["step"] == step].groupby(["variant", "index", "layer"], sort=False)["value"]
        pieces.append(rows.agg(median="median", n="count").reset_index().assign(moment=fraction, step=step))
    columns = ["variant", "moment", "step", "layer", "index", "median", "n"]
    return pd.concat(pieces, ignore_index=True)[columns] if pieces else pd.DataFrame(columns=columns)


def probes_of(results: Results, names: tuple[str, ...]) -> pd.DataFrame:
    """Finite values of these probes for each variant's best trials, in the study's order of variants."""
    probes = results.probes
    chosen = best_trials(results)["trial_hash"]
    kept = probes["probe"].isin(names) & probes["trial_hash"].isin(chosen)
    rows = probes[kept & np.isfinite(probes["value"].astype(float))]
    return in_study_order(rows, results)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per variant, a line per moment."""
    styles = _style.styles(frame)
    variants = list(styles)
    num_columns = min(_style.PER_ROW, len(variants))
    figure, axes = _style.panels(-(-len(variants) // _style.PER_ROW), num_columns, 2.6, sharey=True)
    moments = list(frame["moment"].unique())
    looks = dict(zip(MOMENTS.values(), zip(SHADES, MARKERS, strict=True), strict=True))
    for panel, variant in zip(axes.flat, variants, strict=False):
        for moment in moments:
            rows = frame[(frame["variant"] == variant) & (frame["moment"] == moment)].sort_values("index")
            shade, marker = looks[moment]
            colour, is_zero = styles[variant].colour, rows["median"] < GRADIENT_FLOOR
            norms = rows["median"].mask(is_zero)
            panel.plot(rows["index"], norms, color=colour, alpha=shade, marker=marker)
            # A zero has no place on a logarithmic axis.
            panel.plot(
                rows.loc[is_zero, "index"],
                np.full(is_zero.sum(), ZERO_HEIGHT),
                color=colour,
                alpha=shade,
                linestyle="",
                marker="x",
                transform=panel.get_xaxis_transform(),
            )
        layers = frame[frame["variant"] == variant].drop_duplicates("index").sort_values("index")
        panel.set_xticks(layers["index"], layers["layer"], rotation=60, ha="right", rotation_mode="anchor")
        panel.set_yscale("log")
        panel.minorticks_off()
        panel.set_title(variant)
    for panel in axes.flat[len(variants) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel("gradient norm (loss / weight unit)")
    _style.legend_above(
        figure,
        [
            Line2D([], [], color="#222222", alpha=looks[moment][0], marker=looks[moment][1], label=moment)
            for moment in moments
        ],
    )
    return figure


def applies(results: Results) -> str | None:
    """Needs gradient probes."""
    if probes_of(results, (GRADIENT_NORM,)).empty:
        return 'the study logged no gradient probes (switch: "gradients" in probes.enabled)'
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("no-vanishing-gradient",))
