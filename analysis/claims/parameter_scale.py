"""Batch normalization makes the outcome depend less on the scale of the initial weights."""

from __future__ import annotations

from analysis.claims import _requirements as needs
from analysis.claims._base import Claim, NotEvaluable, Sample, show_points
from analysis.load import Results
from analysis.measures import as_points, gain_stability, has_gains, paired_difference, select, stability


def evaluate(results: Results, normalizer: str, activation: str) -> Sample | NotEvaluable:
    """Per sweep seed: share of init gains at which the normalized net is stable, minus the other's share."""
    pair = needs.Pair(normalizer, activation)
    problem = needs.unmet(
        results, pair, _gains_varied, needs.variants_decided, needs.usable, needs.best_rates_known
    )
    if problem:
        return problem
    stable = stability(results)
    shares = [gain_stability(results, variant, stable) for variant in pair.both]
    num_gains = max((int(found["num_gains"].max()) for found in shares if len(found)), default=0)
    for variant, found in zip(pair.both, shares, strict=True):
        complete = found.loc[found["num_gains"] == num_gains, "seed"]
        missing = sorted(set(select.sweep_seeds(results)) - set(complete))
        if missing:
            return NotEvaluable(
                f"{variant} was not trained with all {num_gains} init gains at seed {missing[0]}"
            )
    return Sample.of(paired_difference(*(as_points(shares[i]) for i in (1, 0))))


def _gains_varied(results: Results, pair: needs.Pair) -> str | None:
    """The study trained with several init gains."""
    if has_gains(results):
        return None
    return "the study trained with one init gain only: run a study with several init gains, from 0.1 to 10"


CLAIM = Claim(
    id="parameter-scale",
    statement="Batch normalization makes the outcome depend less on the scale of the initial weights.",
    h0="stable share(normalized) - stable share(unnormalized) <= 0.2",
    h1="stable share(normalized) - stable share(unnormalized) > 0.2",
    measure="share of init gains from 0.1 to 10 at which the net is stable, at its eta*",
    contrast="normalized - unnormalized",
    pairing="same seed",
    unit="share of gains",
    delta=0.2,
    delta_reason="one gain in five",
    evaluate=evaluate,
    show=show_points,
    supported="the {act} net with {norm} trains at more of the scales of its initial weights: {effect}",
    refuted=(
        "{norm} does not let the {act} net train at {delta} more of the scales of its initial weights; the "
        "change is {effect}"
    ),
    inconclusive=(
        "whether {norm} lets the {act} net train at {delta} more of the scales of its initial weights is not "
        "settled; the best guess is {effect}"
    ),
    needs="several values of network.init_gain",
)
