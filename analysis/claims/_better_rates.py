"""Where refinement came upon a better rate than the grid's best: the claims at the best rate, there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.claims import _alternatives as alternatives
from analysis.claims import faster_at_best_rate, regularizes, worth_its_cost
from analysis.claims._judge import judge
from analysis.measures import select
from analysis.measures.rates import capped_losses
from analysis.results import Results
from benchmark.contract import BASELINE, TRAINED_SEEDS_SHARE

CLAIMS_AT_BEST = (faster_at_best_rate.CLAIM, worth_its_cost.CLAIM, regularizes.CLAIM)
"""Those that compare each net at its own best rate."""
STAGES = ("sweep", "refine")
COLUMNS = [
    *("claim", "normalizer", "activation", "instead", "outcome", "effect", "effect_low", "effect_high"),
    *("low", "high", "unit", "n", "reason"),
]


@dataclass(frozen=True)
class BetterRate:
    """A refined rate of a smaller loss than eta*.

    Attributes:
        variant: whose.
        rate: the refined one.
        seeds: that tried it.
        loss: mean over them of min(final validation loss, C) there.
        loss_at_best: the same at eta*, over the same seeds.
    """

    variant: str
    rate: float
    seeds: tuple[int, ...]
    loss: float
    loss_at_best: float

    @property
    def words(self) -> str:
        """Whose, where and by how much."""
        return (
            f"{self.variant} at {self.rate:.3g} (loss {self.loss:.3f}; at its best rate of the grid "
            f"{self.loss_at_best:.3f}; {len(self.seeds)} seeds)"
        )


def better_rate(results: Results, variant: str) -> BetterRate | None:
    """The refined rate that betters a variant's eta* most, among those that half the sweep's seeds tried.

    Fewer would be those whose edge happened to lie there; and no rate is selected that trains under fewer.
    """
    best = select.best_rate(results, variant)
    tried = select.ended_trials(results, *STAGES, variant=variant)
    if best is None or tried.empty:
        return None
    tried = tried.assign(loss=capped_losses(results, tried), trained=tried["status"] == "trained")
    at_best = tried[select.same_rate(tried["learning_rate"], best)].set_index("seed")["loss"]
    least = TRAINED_SEEDS_SHARE * len(select.sweep_seeds(results))
    found = []
    refined = tried[(tried["stage"] == "refine") & tried["seed"].isin(at_best.index)]
    for rate, own in refined.groupby("learning_rate"):
        loss, before = float(own["loss"].mean()), float(at_best.loc[own["seed"]].mean())
        enough = len(own) >= least and own["trained"].mean() >= TRAINED_SEEDS_SHARE
        if enough and loss < before:
            seeds = tuple(sorted(int(seed) for seed in own["seed"]))
            found.append(BetterRate(variant, float(str(rate)), seeds, loss, before))
    return min(found, key=lambda one: one.loss - one.loss_at_best, default=None)


def better_rates_frame(results: Results) -> pd.DataFrame:
    """The claims at the best rate, judged at better rates that refinement came upon, from what there is.

    Sweep and refinement are evaluated less often than the confirm stage, and not every seed tried the better
    rate: the effect is what these trials tell. It decides nothing.

    Returns:
        frame with a row per claim, normalizer and activation of which a net has such a rate: claim,
        normalizer, activation, instead (which nets, where, by how much), outcome, effect, effect_low,
        effect_high, low, high (in unit), unit, n, reason (why nothing can be said; n is 0 then).
    """
    better = {name: found for name in results.variants if (found := better_rate(results, name))}
    rows = []
    for name, variant in results.planned.items():
        reference = select.reference_of(results, name)
        pair = [better[one] for one in (reference, name) if one in better]
        rates = {one: select.best_rate(results, one) for one in (reference, name) if one in results.variants}
        if variant.normalization == BASELINE or not pair or None in rates.values() or len(rates) < 2:
            continue
        rates |= {one.variant: one.rate for one in pair}
        seeds = sorted(set.intersection(*(set(one.seeds) for one in pair)))
        instead = " and ".join(one.words for one in pair)
        there = alternatives.at_sweep_rates(
            results, {one: rate for one, rate in rates.items() if rate is not None}, STAGES, seeds
        )
        for verdict in judge(there, CLAIMS_AT_BEST, None, normalizers=[variant.normalization]):
            if verdict.activation == variant.activation:
                rows.append(
                    {column: getattr(verdict, column) for column in COLUMNS if column != "instead"}
                    | {"instead": instead}
                )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.assign(n=frame["n"].fillna(0).astype(np.int64)) if len(frame) else frame
