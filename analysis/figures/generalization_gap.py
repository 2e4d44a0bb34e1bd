"""The generalization gap of normalized and unnormalized nets, read at the same training loss."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing, in_unit
from analysis.measures import generalization_gap, reference_of
from analysis.results import Results
from benchmark.contract import BASELINE

TITLE = "Generalization gap at matched training loss"
CAPTION = (
    "Validation loss minus training loss, both without dropout or augmentation, read where the two nets "
    "of a pair have the same training loss: the lowest that both reach. Each row of a band is one seed "
    "({n} pairs with both nets trained), each net at its own best learning rate. A mark further left "
    "generalizes better at the same fit."
)


def prepare(results: Results) -> pd.DataFrame:
    """Both gaps of every pair and seed that trained.

    Returns:
        frame with columns variant, normalization, activation, baseline, seed, training_loss, gap_reference,
        gap_variant, n, unit.
    """
    pieces = []
    for variant in results.variants:
        baseline = reference_of(results, variant)
        if variant == baseline or baseline not in results.variants:
            continue
        gaps = generalization_gap(results, baseline, variant)
        gaps = gaps[np.isfinite(gaps["gap_variant"].astype(float))]
        pieces.append(gaps.assign(variant=variant, baseline=baseline, n=len(gaps), unit=results.loss_unit))
    columns = ["variant", "baseline", "seed", "training_loss", "gap_reference", "gap_variant", "n", "unit"]
    frame = pd.concat(pieces, ignore_index=True)[columns] if pieces else pd.DataFrame(columns=columns)
    return results.with_names(frame)


def draw(frame: pd.DataFrame) -> Figure:
    """A band per pair, a row per seed: two marks and the way from one to the other."""
    pairs = list(dict.fromkeys(zip(frame["variant"], frame["baseline"], strict=True)))
    figure, axes = _style.panels(1, 1, 0.95 * len(pairs) + 0.4)
    panel = axes[0, 0]
    names, styles = [], {}
    for position, (variant, baseline) in enumerate(pairs):
        rows = frame[frame["variant"] == variant].sort_values("seed")
        heights = position + _style.spread(len(rows), 0.7)
        panel.hlines(heights, rows["gap_reference"], rows["gap_variant"], color="#c8c8c8", linewidth=1.2)
        styles[variant] = _style.style_of_rows(rows)
        styles[baseline] = _style.style_of(BASELINE, rows["activation"].iloc[0])
        for name, column in ((baseline, "gap_reference"), (variant, "gap_variant")):
            style = styles[name]
            fill = "white" if name == baseline else style.colour
            panel.plot(
                rows[column],
                heights,
                linestyle="",
                marker=style.marker,
                color=style.colour,
                markerfacecolor=fill,
            )
        names.append(f"{variant}\nagainst\n{baseline}")
    panel.axvline(0, color="#777777", linestyle=":", linewidth=1)
    _style.name_rows(panel, names)
    panel.set_xlabel(in_unit("validation loss - training loss", frame["unit"].iloc[0]))
    handles = _style.variant_handles(styles, markers=True)
    baselines = {baseline for _, baseline in pairs}
    for handle in handles:
        handle.set(linestyle="", markerfacecolor="white" if handle.get_label() in baselines else None)
    _style.legend_above(figure, handles)
    return figure


def applies(results: Results) -> str | None:
    """Needs a pair of confirm trials that both trained."""
    if prepare(results).empty:
        return "no pair of a normalized and an unnormalized net trained in the confirm stage"
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("regularizes",))
