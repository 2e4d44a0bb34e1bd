"""Batch normalization widens the band of usable learning rates."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Claim, Pair, Sample, show_decades
from analysis.claims._search import search_caveats
from analysis.measures import paired_difference, stable_band
from analysis.results import Results


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per sweep seed: difference of the bands' widths, as far as the rates tried know both edges."""
    reference, variant = (stable_band(results, name) for name in pair.both)
    caveats = search_caveats(results, pair, both_edges=True)
    return Sample.of(paired_difference(variant, reference), caveats)


CLAIM = Claim(
    id="wider-stable-band",
    statement="Batch normalization widens the band of learning rates at which the network trains stably.",
    h0="band(normalized) - band(unnormalized) <= 0.3 decades",
    h1="band(normalized) - band(unnormalized) > 0.3 decades",
    measure="decades between the lowest and the highest stable rate, both refined by bisection",
    contrast="normalized - unnormalized",
    pairing="same seed",
    unit="decades",
    delta=0.3,
    delta_reason="a factor of two more room, as for the highest rate",
    requires=(
        needs.on_the_grid,
        needs.sweep_complete,
        needs.variants_decided,
        needs.usable,
        needs.edges_refined,
    ),
    evaluate=evaluate,
    show=show_decades,
    supported="{norm} widens the {act} net's band of stable learning rates: {effect}",
    refuted=(
        "{norm} does not widen the {act} net's band of stable learning rates by {delta}; it changes it by "
        "{effect}"
    ),
    inconclusive=(
        "whether {norm} widens the {act} net's band of stable learning rates by more than {delta} is "
        "not settled"
    ),
    narrowed_by="rates",
)
