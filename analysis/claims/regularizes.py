"""Batch normalization narrows the generalization gap at matched training loss."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import ONE_SIDED_RISK, Claim, Pair, Sample, show_nats
from analysis.measures import generalization_gap
from analysis.results import Results
from benchmark.contract import BEST


def evaluate(results: Results, pair: Pair, *, factor: float = 1.0) -> Sample:
    """Per confirm seed: gap without normalization minus gap with it, at the same training loss.

    Args:
        results: a study's.
        pair: what is compared.
        factor: of the matched loss (other than 1 is a sensitivity row).
    """
    return Sample.of(generalization_gap(results, *pair.both, factor=factor))


def _loss_in_nats(results: Results, pair: Pair) -> str | None:
    """The study trains on plain cross-entropy: delta is a difference of that."""
    loss = results.study.get("loss", {})
    name = loss.get("name", "cross-entropy")
    if name != "cross-entropy":
        return (
            f"its delta, {CLAIM.delta} nats, is of cross-entropy; this study's loss, {name}, has another "
            "scale"
        )
    smoothing = loss.get("label_smoothing", 0.0)
    if smoothing:
        return (
            f"its delta, {CLAIM.delta} nats, is {CLAIM.delta_reason}, which cross-entropy against labels "
            f"smoothed by {smoothing:g} does not measure"
        )
    return None


CLAIM = Claim(
    id="regularizes",
    statement="Batch normalization regularizes: at equal training loss its validation loss is lower.",
    h0="gap(unnormalized) - gap(normalized) <= 0.05 nats",
    h1="gap(unnormalized) - gap(normalized) > 0.05 nats",
    measure="clean validation loss - clean training loss, where both nets have the same training loss",
    contrast="unnormalized - normalized, each at its own best rate",
    pairing="same confirm seed",
    unit="nats",
    delta=0.05,
    delta_reason="about five per cent in the probability given to the right class",
    requires=(
        _loss_in_nats,
        needs.rates_varied,
        needs.variants_decided,
        needs.usable,
        needs.best_rates_known,
        needs.confirmed(BEST),
    ),
    evaluate=evaluate,
    show=show_nats,
    supported="{norm} narrows the {act} net's gap between validation and training loss: {effect}",
    refuted=(
        "{norm} does not narrow the {act} net's gap between validation and training loss by {delta}; it "
        "narrows it by {effect}"
    ),
    inconclusive=(
        "whether {norm} narrows the {act} net's gap between validation and training loss by more than "
        "{delta} is not settled"
    ),
    caveat=ONE_SIDED_RISK,
)
