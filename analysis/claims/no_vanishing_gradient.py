"""Batch normalization keeps early layers' gradients alive where activations saturate."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import ONE_SIDED_RISK, Claim, Pair, Sample, show_slope
from analysis.measures import as_points, attenuation_at_init, paired_difference, select
from analysis.results import Results
from benchmark.contract import GRADIENT_NORM

SWITCH = '"gradients" in probes.enabled'


def evaluate(results: Results, pair: Pair, *, probe: str = GRADIENT_NORM) -> Sample:
    """Per sweep seed: attenuation slope at init without normalization, minus with it.

    Args:
        results: a study's.
        pair: what is compared.
        probe: what the slope is of (another is a sensitivity row).
    """
    slopes = [attenuation_at_init(results, variant, probe) for variant in pair.both]
    caveats = [
        "Mean slopes at initialization: "
        + ", ".join(
            f"{found['value'].mean():+.2f} of {v}" for v, found in zip(pair.both, slopes, strict=True)
        )
    ]
    num_floored = sum(int(found["floored"].sum()) for found in slopes)
    if num_floored:
        caveats.append(f"{num_floored} networks have a layer with no gradient at all, which counts as 1e-30")
    return Sample.of(paired_difference(*map(as_points, slopes)), caveats)


def _every_seed_at_init(results: Results, pair: Pair) -> str | None:
    """The gradients at init of both variants are known for every sweep seed."""
    for variant in pair.both:
        found = attenuation_at_init(results, variant)
        missing = sorted(set(select.sweep_seeds(results)) - set(found["seed"]))
        if missing:
            return f"no gradients at init of {variant} at seed {missing[0]} yet"
    return None


def _none_switched_off(results: Results, pair: Pair) -> str | None:
    """Where layers are off at initialization, the slope over them is not one of vanishing."""
    for variant in pair.both:
        if attenuation_at_init(results, variant)["switched_off"].any():
            return (
                f"layers of {variant} get no gradient at initialization though some nearer to the input do: "
                "they are switched off there, not starved, and have no slope"
            )
    return None


CLAIM = Claim(
    id="no-vanishing-gradient",
    statement="With saturating activations, batch normalization keeps the gradients of early layers alive.",
    h0="slope(unnormalized) - slope(normalized) <= 0.1 decades per layer",
    h1="slope(unnormalized) - slope(normalized) > 0.1 decades per layer",
    measure="slope of log10 gradient norm on the hidden layer's depth, at initialization",
    contrast="unnormalized - normalized; a positive slope means that early layers get less",
    pairing="same seed",
    unit="decades per layer",
    delta=0.1,
    delta_reason="over ten layers it makes a factor of ten between the first and the last",
    requires=(needs.probed(GRADIENT_NORM, SWITCH), _every_seed_at_init, _none_switched_off),
    evaluate=evaluate,
    show=show_slope,
    supported=(
        "with {norm}, the {act} net's gradients fade less from layer to layer on their way to the input: "
        "the gain at initialization is {effect}"
    ),
    refuted=(
        "{norm} does not stop the {act} net's gradients from fading by {delta}; the gain at initialization "
        "is {effect}"
    ),
    inconclusive=(
        "whether {norm} stops the {act} net's gradients from fading by more than {delta} is not settled"
    ),
    activations=("sigmoid", "tanh"),
    shared="probe batch",
    needs=SWITCH,
    caveat=ONE_SIDED_RISK,
)
