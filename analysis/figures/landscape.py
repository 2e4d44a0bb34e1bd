"""How smooth the loss is along its gradient, through the training."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures.gradient_depth import probes_of
from analysis.load import Results

TITLE = "Along the gradient: how smooth the loss is"
CAPTION = (
    "After Fig. 4 of Santurkar et al. (2018): a walk along the gradient of one fixed batch, with the "
    "same steps for all variants of an activation, each variant at its own best learning rate. Range of"
    " the loss on it, and effective smoothness: the greatest change of the gradient per length walked; "
    "less is smoother. Lines: medians over {n} seeds; bands: from the least to the greatest of them, "
    "down to the bottom where a net is flat (dead)."
)
PANELS = {"landscape_loss_range": "range of the loss", "landscape_smoothness": "effective smoothness"}


def prepare(results: Results) -> pd.DataFrame:
    """Median and range over seeds.

    Returns:
        frame with columns variant, probe, step, median, low, high (least and greatest seed), n.
    """
    probes = probes_of(results, tuple(PANELS))
    groups = probes.groupby(["variant", "probe", "step"], sort=False)["value"]
    return groups.agg(median="median", low="min", high="max", n="count").reset_index()


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per probe, a band per variant."""
    shown = [probe for probe in PANELS if (frame["probe"] == probe).any()]
    figure, axes = _style.panels(1, len(shown), 2.8)
    for panel, probe in zip(axes.flat, shown, strict=True):
        own = frame[frame["probe"] == probe]
        values = own[["low", "median", "high"]].to_numpy(dtype=float)
        floor = values[values > 0].min(initial=1.0) / 2  # zero has no logarithm
        for variant, rows in own.groupby("variant", sort=False):
            _draw_band(panel, str(variant), rows.sort_values("step"), floor)
        panel.set(title=PANELS[probe], xlabel="optimizer step", yscale="log")
        panel.set_ylim(bottom=floor)
    _style.legend_above(figure, _style.variant_handles(list(frame["variant"].unique())))
    return figure


def _draw_band(panel: Axes, variant: str, rows: pd.DataFrame, floor: float) -> None:
    style = _style.variant_style(variant)
    low, high = rows["low"].clip(lower=floor), rows["high"].clip(lower=floor)
    panel.fill_between(rows["step"], low, high, color=style.colour, alpha=0.18, linewidth=0)
    panel.plot(rows["step"], rows["median"].clip(lower=floor), **style.line())


def applies(results: Results) -> str | None:
    """Needs landscape or covariate-shift probes."""
    if prepare(results).empty:
        return 'the study logged no walks along the gradient (switch: "landscape" in probes.enabled)'
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("smoother-landscape",))
