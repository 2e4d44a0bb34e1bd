"""Batch normalization reaches the target in less training time, its slower step included."""

from __future__ import annotations

import math

from analysis.claims._base import Claim, Pair, Sample, show_times
from analysis.claims._speed import paired_speedup, requirements
from analysis.results import Results
from benchmark.contract import BEST


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per confirm seed: log10 of the ratio of training seconds, both nets at their own eta*."""
    return paired_speedup(results, pair, BEST, "seconds")


CLAIM = Claim(
    id="worth-its-cost",
    statement="Batch normalization reaches the target in less training time, its slower step included.",
    h0="log10(seconds, unnormalized / seconds, normalized) <= log10 1.1",
    h1="log10(seconds, unnormalized / seconds, normalized) > log10 1.1",
    measure="steps to the target accuracy, times the seconds that a step takes",
    contrast="unnormalized / normalized, each at its own best rate, log10",
    pairing="same confirm seed",
    unit="decades",
    delta=math.log10(1.1),
    delta_reason="a tenth less time: what would be worth a change of the network",
    requires=requirements(BEST),
    evaluate=evaluate,
    show=show_times,
    supported=(
        "each at its best rate, the {act} net with {norm} is {effect} as fast to the target in training time"
    ),
    refuted=(
        "{norm} does not make the {act} net {delta} as fast to the target in training time; each at its best "
        "rate, it is {effect} as fast"
    ),
    inconclusive=(
        "whether {norm} makes the {act} net, each at its best rate, more than {delta} as fast to the "
        "target in training time is not settled"
    ),
    best_guess="{effect} as fast",
    caveat=(
        "Seconds belong to this device, to the engine, which is the same for all where it can be, and to "
        "what else the machine did while the steps were timed, in turns, before the first trial"
    ),
)
