"""Batch normalization lowers the effective smoothness of the loss along the gradient."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Claim, Pair, Sample, show_times
from analysis.measures import smoothness_ratio, steps_along_the_gradient
from analysis.measures.select import SAME_RATE
from analysis.results import Results
from benchmark.contract import LANDSCAPE, LANDSCAPE_SMOOTHNESS

SWITCH = f'"{LANDSCAPE}" in probes.enabled'


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per confirm seed: log10(effective smoothness without / with) at equal training loss.

    Both nets train, and walk, at the reference's eta*. A pair of which one net did not train says nothing: a
    dead net is perfectly smooth.
    """
    return Sample.of(smoothness_ratio(results, *pair.both, SAME_RATE, pair.reference))


def _walks_are_steps(results: Results, pair: Pair) -> str | None:
    """The optimizer steps along the gradient."""
    return steps_along_the_gradient(results)


CLAIM = Claim(
    id="smoother-landscape",
    statement="Batch normalization makes the loss smoother along the gradient.",
    h0="log10(smoothness constant, unnormalized / normalized) <= 0.3",
    h1="log10(smoothness constant, unnormalized / normalized) > 0.3",
    measure=(
        "max ||grad(w - a g) - g|| / ||a g|| along the gradient, where the clean training loss first falls "
        "to nine levels that both nets pass; median over these"
    ),
    contrast="unnormalized / normalized, both at the unnormalized net's best rate, log10",
    pairing="same confirm seed, at equal training loss; pairs in which both train",
    unit="decades",
    delta=0.3,
    delta_reason="a factor of two in the step that the local gradient can be trusted for",
    requires=(
        _walks_are_steps,
        needs.rates_varied,
        needs.variants_decided,
        needs.usable,
        needs.probed(LANDSCAPE_SMOOTHNESS, SWITCH),
        needs.reference_best_known,
        needs.confirmed(SAME_RATE),
    ),
    evaluate=evaluate,
    show=show_times,
    supported=(
        "without {norm}, the {act} net's gradient changes {effect} as fast along a step, at equal training "
        "loss"
    ),
    refuted=(
        "{norm} does not make the {act} net's loss smoother by the factor that would matter ({delta}); "
        "without it the gradient changes {effect} as fast along a step"
    ),
    inconclusive=(
        "whether the {act} net's gradient changes more than {delta} as fast along a step without {norm} "
        "is not settled"
    ),
    best_guess="{effect} as fast",
    needs=SWITCH,
)
