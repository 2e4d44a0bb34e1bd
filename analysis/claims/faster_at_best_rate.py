"""Each at its own best learning rate, batch normalization reaches the target in fewer steps."""

from __future__ import annotations

import math

from analysis.claims._base import Claim, Pair, Sample, show_times
from analysis.claims._speed import paired_speedup, requirements
from analysis.results import Results
from benchmark.contract import BEST


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per confirm seed: log10 of the ratio of steps, both nets at their own eta*."""
    return paired_speedup(results, pair, BEST, "steps")


CLAIM = Claim(
    id="faster-at-best-rate",
    statement="Each at its own best learning rate, batch normalization reaches the target in fewer steps.",
    h0="log10(steps, unnormalized / steps, normalized) <= log10 1.2",
    h1="log10(steps, unnormalized / steps, normalized) > log10 1.2",
    measure="steps to the target accuracy",
    contrast="unnormalized / normalized, each at its own best rate, log10",
    pairing="same confirm seed",
    unit="decades",
    delta=math.log10(1.2),
    delta_reason="a sixth fewer steps: what a slower step would otherwise eat up",
    requires=requirements(BEST),
    evaluate=evaluate,
    show=show_times,
    supported="each at its best rate, the {act} net with {norm} is {effect} as fast to the target in steps",
    refuted=(
        "each at its best rate, {norm} does not make the {act} net {delta} as fast to the target in steps; "
        "it is {effect} as fast"
    ),
    inconclusive=(
        "whether {norm} makes the {act} net, each at its best rate, more than {delta} as fast to the "
        "target in steps is not settled"
    ),
    best_guess="{effect} as fast",
)
