"""Batch normalization makes the outcome depend less on the scale of the initial weights."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Claim, Pair, Sample, show_share
from analysis.measures import gain_stability, paired_difference, planned_gains, select, stability
from analysis.results import Results


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per sweep seed: share of the gains' range in which the normalized net is stable, minus the other's."""
    stable = stability(results)
    reference, normalized = (gain_stability(results, variant, stable) for variant in pair.both)
    return Sample.of(paired_difference(normalized, reference))


def _gains_varied(results: Results, pair: Pair) -> str | None:
    """The study trained with several init gains."""
    if planned_gains(results):
        return None
    return (
        "the study trained with one init gain only: set init.gains, for example to "
        "[0.1, 0.32, 1.0, 3.2, 10.0]"
    )


def _every_gain(results: Results, pair: Pair) -> str | None:
    """Both variants were trained with every gain at every sweep seed."""
    stable, num_gains = stability(results), len(planned_gains(results))
    for variant in pair.both:
        found = gain_stability(results, variant, stable)
        complete = found.loc[found["num_gains"] == num_gains, "seed"]
        missing = sorted(set(select.sweep_seeds(results)) - set(complete))
        if missing:
            return f"{variant} was not trained with all {num_gains} init gains at seed {missing[0]}"
    return None


CLAIM = Claim(
    id="parameter-scale",
    statement="Batch normalization makes the outcome depend less on the scale of the initial weights.",
    h0="stable share(normalized) - stable share(unnormalized) <= 0.2",
    h1="stable share(normalized) - stable share(unnormalized) > 0.2",
    measure="share of the init gains' range, 0.1 to 10, in which the net is stable, at its best rate",
    contrast="normalized - unnormalized",
    pairing="same seed",
    unit="share of the range of gains",
    delta=0.2,
    delta_reason="a fifth of the range: one gain in five",
    requires=(
        _gains_varied,
        needs.variants_decided,
        needs.usable,
        needs.best_rates_known,
        _every_gain,
    ),
    evaluate=evaluate,
    show=show_share,
    supported="the {act} net with {norm} trains at more of the scales of its initial weights: {effect}",
    refuted=(
        "{norm} does not let the {act} net train at more of the scales of its initial weights, not by "
        "{delta}; the change is {effect}"
    ),
    inconclusive=(
        "whether {norm} lets the {act} net train at more of the scales of its initial weights, by over "
        "{delta}, is not settled"
    ),
    narrowed_by="gains",
    needs="several values in init.gains",
)
