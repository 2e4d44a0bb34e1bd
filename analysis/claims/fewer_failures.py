"""Batch normalization trains at learning rates where the unnormalized network fails."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Claim, Pair, Sample, show_share
from analysis.measures import failure_share, paired_difference
from analysis.results import Results


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per sweep seed: share of the rates' range that failed without normalization, minus with it."""
    return Sample.of(paired_difference(*(failure_share(results, variant) for variant in pair.both)))


CLAIM = Claim(
    id="fewer-failures",
    statement="Batch normalization trains at learning rates where the unnormalized network does not.",
    h0="failure share(unnormalized) - failure share(normalized) <= 0.1",
    h1="failure share(unnormalized) - failure share(normalized) > 0.1",
    measure="share of the range of learning rates in which a seed did not train (stuck or diverged)",
    contrast="unnormalized - normalized",
    pairing="same seed",
    unit="share of the range of rates",
    delta=0.1,
    delta_reason="a tenth of the range",
    requires=(needs.on_the_grid, needs.sweep_complete),
    evaluate=evaluate,
    show=show_share,
    supported="the {act} net with {norm} trains at more of the learning rates tried: {effect}",
    refuted=(
        "{norm} does not let the {act} net train at more of the learning rates tried, not by {delta}; the "
        "change is {effect}"
    ),
    inconclusive=(
        "whether {norm} lets the {act} net train at more of the learning rates tried, by over {delta}, "
        "is not settled"
    ),
    narrowed_by="rates",
    caveat="A share on this range of rates: another range gives another share",
)
