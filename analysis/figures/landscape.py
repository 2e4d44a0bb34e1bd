"""How the loss and its gradient change along the gradient, through the training."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing, in_unit
from analysis.figures._cells import in_study_order
from analysis.figures.gradient_depth import probes_of
from analysis.results import Results
from benchmark.contract import (
    LANDSCAPE,
    LANDSCAPE_GRADIENT_CHANGE_MAX,
    LANDSCAPE_GRADIENT_CHANGE_MIN,
    LANDSCAPE_LOSS_MAX,
    LANDSCAPE_LOSS_MIN,
    LANDSCAPE_SMOOTHNESS,
)

TITLE = "Along the gradient: how smooth the loss is"
CAPTION = (
    "After Fig. 4 of Santurkar et al. (2018): a walk along the gradient of one fixed batch, and of one "
    "draw of any noise that a normalization injects, with the same steps for all variants of an activation, "
    "each variant at its own best learning rate. Loss, and l2 change of the gradient: from the least to "
    "the greatest on the walk, each end a median over {n} seeds (those whose walk stays finite). Effective "
    "smoothness: the greatest change of the gradient per length walked; less is smoother; line: median over "
    "the seeds, band: from the least to the greatest of them. "
    "Where more than six variants share a panel: the greatest on the walk, and the median smoothness, alone. "
    "Down to the bottom where a net is flat (dead)."
)
ENDS = {
    "loss": (LANDSCAPE_LOSS_MIN, LANDSCAPE_LOSS_MAX),
    "gradient_change": (LANDSCAPE_GRADIENT_CHANGE_MIN, LANDSCAPE_GRADIENT_CHANGE_MAX),
}
PANELS = {
    "loss": "loss on the walk",
    "gradient_change": "change of the gradient",
    LANDSCAPE_SMOOTHNESS: "effective smoothness",
}


def prepare(results: Results) -> pd.DataFrame:
    """Over seeds: medians of the walk's ends; of the smoothness median and range.

    Returns:
        frame with columns variant, normalization, activation, panel (of `PANELS`), step, low, median (NaN for
        the walk's ends), high, n, unit.
    """
    probes = probes_of(results, (*ENDS["loss"], *ENDS["gradient_change"], LANDSCAPE_SMOOTHNESS))
    groups = probes.groupby(["variant", "probe", "step"], sort=False)["value"]
    seeds = groups.agg(low="min", median="median", high="max", n="count").reset_index()
    smoothness = seeds[seeds["probe"] == LANDSCAPE_SMOOTHNESS]
    pieces = [smoothness.assign(panel=LANDSCAPE_SMOOTHNESS, unit="loss/weight²")]
    for panel, names in ENDS.items():
        of_walk = probes[probes["probe"].isin(names)]
        walks = of_walk.pivot(index=["variant", "step", "trial_hash"], columns="probe", values="value")
        # Both ends of a seed or neither: a walk may leave what is finite on one side alone.
        both = walks.reindex(columns=list(names)).set_axis(["low", "high"], axis=1).dropna()
        over_seeds = both.groupby(["variant", "step"], sort=False)
        ends = over_seeds.median().assign(n=over_seeds["low"].count())
        unit = results.loss_unit if panel == "loss" else "loss/weight"
        pieces.append(in_study_order(ends.reset_index().assign(panel=panel, unit=unit), results))
    columns = ["variant", "panel", "step", "low", "median", "high", "n", "unit"]
    return results.with_names(pd.concat(pieces, ignore_index=True).reindex(columns=columns))


def draw(frame: pd.DataFrame) -> Figure:
    """A row per group of variants, a panel per quantity."""
    shown = [panel for panel in PANELS if (frame["panel"] == panel).any()]
    styles = _style.styles(frame)
    groups = _style.grouped(frame)
    figure, axes = _style.panels(len(groups), len(shown), 2.8)
    for row, (activation, own) in zip(axes, groups, strict=True):
        for panel, name in zip(row, shown, strict=True):
            rows = frame[(frame["panel"] == name) & frame["variant"].isin(own)].sort_values("step")
            values = rows[["low", "high"]].to_numpy(dtype=float)
            positive = values[values > 0]
            floor = positive.min() / 2 if len(positive) else 1.0  # zero has no logarithm
            for variant in own:
                of_variant = rows[rows["variant"] == variant]
                _draw_variant(panel, styles[variant], of_variant, floor, len(own) <= _style.MAX_BANDS)
            label = in_unit(PANELS[name], frame.loc[frame["panel"] == name, "unit"].iloc[0])
            panel.set(title=activation, xlabel="optimizer step", ylabel=label, yscale="log")
            panel.set_ylim(bottom=floor)
    _style.legend_above(figure, _style.variant_handles(styles))
    return figure


def _draw_variant(
    panel: Axes, style: _style.VariantStyle, rows: pd.DataFrame, floor: float, banded: bool
) -> None:
    low, median, high = (rows[name].clip(lower=floor) for name in ("low", "median", "high"))
    ends_of_walk = rows["median"].isna().all()
    if banded:
        panel.fill_between(rows["step"], low, high, color=style.colour, alpha=0.18, linewidth=0)
    if not ends_of_walk:
        panel.plot(rows["step"], median, **style.line())
        return
    for end in (low, high) if banded else (high,):
        panel.plot(rows["step"], end, linewidth=1.0, **style.line())


def applies(results: Results) -> str | None:
    """Needs landscape probes."""
    if prepare(results).empty:
        return f'the study logged no walks along the gradient (switch: "{LANDSCAPE}" in probes.enabled)'
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("smoother-landscape",))
