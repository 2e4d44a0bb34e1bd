"""The primary claim: batch normalization raises the highest stable learning rate."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Claim, Pair, Sample, show_times
from analysis.claims._search import search_caveats
from analysis.measures import max_stable_rate, paired_difference
from analysis.results import Results


def evaluate(results: Results, pair: Pair, *, contiguous: bool = False) -> Sample:
    """Per sweep seed: log10 of the ratio of the max stable rates, as far as grid and bisections know it.

    Args:
        results: a study's.
        pair: what is compared.
        contiguous: count only rates stable in an unbroken run from eta* (a sensitivity row).
    """
    reference, variant = (max_stable_rate(results, name, contiguous=contiguous) for name in pair.both)
    caveats = search_caveats(results, pair, both_edges=False)
    return Sample.of(paired_difference(variant, reference), caveats)


CLAIM = Claim(
    id="higher-learning-rate",
    statement="Batch normalization raises the highest learning rate at which the network trains stably.",
    h0="log10(max stable rate, normalized) - log10(max stable rate, unnormalized) <= 0.3",
    h1="log10(max stable rate, normalized) - log10(max stable rate, unnormalized) > 0.3",
    measure="max stable rate, refined by bisection",
    contrast="normalized - unnormalized, log10",
    pairing="same seed: initialization, data order, augmentation and dropout",
    unit="decades",
    delta=0.3,
    delta_reason="a factor of two: less is within what any tuning grid steps over",
    requires=(
        needs.on_the_grid,
        needs.sweep_complete,
        needs.variants_decided,
        needs.usable,
        needs.edges_refined,
    ),
    evaluate=evaluate,
    show=show_times,
    supported="with {norm}, the {act} net trains stably at learning rates {effect} as high as without it",
    refuted=(
        "{norm} does not raise the {act} net's highest stable learning rate by the factor that would matter "
        "({delta}); with it the rate is {effect} as high"
    ),
    inconclusive=(
        "whether {norm} makes the {act} net's highest stable learning rate more than {delta} as high is "
        "not settled"
    ),
    best_guess="{effect} as high",
    narrowed_by="rates",
    primary=True,
)
