"""At the unnormalized network's best learning rate, batch normalization reaches the target in fewer steps."""

from __future__ import annotations

import math

from analysis.claims._base import Claim, Pair, Sample, show_times
from analysis.claims._speed import paired_speedup, requirements
from analysis.measures.select import SAME_RATE
from analysis.results import Results


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per confirm seed: log10 of the ratio of steps, both nets at the unnormalized one's eta*."""
    return paired_speedup(results, pair, SAME_RATE, "steps")


CLAIM = Claim(
    id="faster-at-same-rate",
    statement=(
        "At the learning rate that is best without it, batch normalization reaches the target in fewer steps."
    ),
    h0="log10(steps, unnormalized / steps, normalized) <= log10 1.2",
    h1="log10(steps, unnormalized / steps, normalized) > log10 1.2",
    measure="steps to the target accuracy",
    contrast="unnormalized / normalized, both at the unnormalized net's best rate, log10",
    pairing="same confirm seed",
    unit="decades",
    delta=math.log10(1.2),
    delta_reason="a sixth fewer steps: what a slower step would otherwise eat up",
    requires=requirements(SAME_RATE),
    evaluate=evaluate,
    show=show_times,
    supported=(
        "at the unnormalized net's best rate, the {act} net with {norm} is {effect} as fast to the target "
        "in steps"
    ),
    refuted=(
        "at the unnormalized net's best rate, {norm} does not make the {act} net {delta} as fast to the "
        "target in steps; it is {effect} as fast"
    ),
    inconclusive=(
        "whether {norm} makes the {act} net, at the unnormalized net's best rate, more than {delta} as "
        "fast to the target in steps is not settled"
    ),
    best_guess="{effect} as fast",
)
