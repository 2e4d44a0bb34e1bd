"""How the loss and its gradient change along the gradient, through the training, in walks of two rates."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing, in_unit
from analysis.figures._cells import in_study_order
from analysis.figures.gradient_depth import probes_of
from analysis.measures import steps_along_the_gradient
from analysis.results import Results
from benchmark.contract import (
    LANDSCAPE,
    LANDSCAPE_GRADIENT_CHANGE_MAX,
    LANDSCAPE_GRADIENT_CHANGE_MIN,
    LANDSCAPE_LOSS_MAX,
    LANDSCAPE_LOSS_MIN,
    LANDSCAPE_SMOOTHNESS,
    OWN_RATE,
)

TITLE = "Along the gradient: how smooth the loss is"
CAPTION = (
    "After Fig. 4 of Santurkar et al. (2018): walks along the gradient of one fixed batch, and of one "
    "draw of any noise that a normalization injects; each variant trains at its own best learning rate. "
    "Upper row of an activation: with the same steps for all its variants, 1/2 to 4 times the unnormalized "
    "net's best rate; lower row: 1/2 to 4 times the rate at which each trains. Nets at one step are not "
    "equally far in their training: the next figure compares them where they are. "
    "Loss, and l2 change of the gradient: from the least to "
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
WALKS = {"": "same steps", OWN_RATE: "own steps"}
"""What follows a probe's name -> what the walk is called."""


def prepare(results: Results) -> pd.DataFrame:
    """Over seeds: medians of the walk's ends; of the smoothness median and range.

    Returns:
        frame with columns variant, normalization, activation, walk (of `WALKS`), panel (of `PANELS`), step,
        low, median (NaN for the walk's ends), high, n, unit.
    """
    walks = [_of_walk(results, suffix).assign(walk=walk) for suffix, walk in WALKS.items()]
    columns = ["variant", "walk", "panel", "step", "low", "median", "high", "n", "unit"]
    return results.with_names(pd.concat(walks, ignore_index=True).reindex(columns=columns))


def _of_walk(results: Results, suffix: str) -> pd.DataFrame:
    probes = probes_of(
        results,
        tuple(f"{name}{suffix}" for name in (*ENDS["loss"], *ENDS["gradient_change"], LANDSCAPE_SMOOTHNESS)),
    )
    probes = probes.assign(probe=probes["probe"].str.removesuffix(suffix))
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
    return pd.concat(pieces, ignore_index=True)


def draw(frame: pd.DataFrame) -> Figure:
    """Two rows per group of variants, one per walk; a panel per quantity."""
    shown = [panel for panel in PANELS if (frame["panel"] == panel).any()]
    walks = [walk for walk in WALKS.values() if (frame["walk"] == walk).any()]
    styles = _style.styles(frame)
    rows = [(*group, walk) for group in _style.grouped(frame) for walk in walks]
    figure, axes = _style.panels(len(rows), len(shown), 2.6)
    for line, (activation, own, walk) in zip(axes, rows, strict=True):
        for panel, name in zip(line, shown, strict=True):
            of_panel = frame["panel"] == name
            on_scale = frame[of_panel & frame["variant"].isin(own)]
            values = on_scale[["low", "high"]].to_numpy(dtype=float)
            positive = values[values > 0]
            floor = positive.min() / 2 if len(positive) else 1.0  # zero has no logarithm
            here = on_scale[on_scale["walk"] == walk].sort_values("step")
            for variant in own:
                of_variant = here[here["variant"] == variant]
                _draw_variant(panel, styles[variant], of_variant, floor, len(own) <= _style.MAX_BANDS)
            label = in_unit(PANELS[name], frame.loc[of_panel, "unit"].iloc[0])
            title = f"{activation}, {walk}" if activation else walk
            panel.set(title=title, xlabel="optimizer step", ylabel=label, yscale="log")
            panel.set_ylim(floor, 2 * values.max() if len(positive) else None)
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
    """Needs landscape probes, and an optimizer that steps along the gradient."""
    if prepare(results).empty:
        return f'the study logged no walks along the gradient (switch: "{LANDSCAPE}" in probes.enabled)'
    return steps_along_the_gradient(results)


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("smoother-landscape",))
