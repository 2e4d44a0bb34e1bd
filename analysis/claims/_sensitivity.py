"""How verdicts move with choices that others would have made; any flip is marked."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from analysis.claims import _alternatives as alternatives
from analysis.claims import (
    faster_at_best_rate,
    faster_at_same_rate,
    higher_learning_rate,
    no_vanishing_gradient,
    regularizes,
    worth_its_cost,
)
from analysis.claims._base import Claim, Pair, Sample, Verdict
from analysis.claims._judge import judge
from analysis.measures import select
from analysis.measures.rates import capped_losses
from analysis.results import Results, Variant
from benchmark.contract import BASELINE, GRADIENT_TIMES_WEIGHT, best_cell


def _judged_by(claim: Claim, evaluate: Callable[[Results, Pair], Sample]) -> Claim:
    """The claim with another measure in its own one's place."""
    return dataclasses.replace(claim, evaluate=evaluate)


PRIMARY = higher_learning_rate.CLAIM
CONTIGUOUS = _judged_by(PRIMARY, partial(higher_learning_rate.evaluate, contiguous=True))
TARGET_CLAIMS = (faster_at_best_rate.CLAIM, faster_at_same_rate.CLAIM, worth_its_cost.CLAIM)
SELECTED_CLAIMS = (*TARGET_CLAIMS, regularizes.CLAIM)
"""Claims whose confirm cells depend on which rate was selected as eta*."""

AS_IS = "as the protocol says"
AS_JUDGED = (PRIMARY, *TARGET_CLAIMS, no_vanishing_gradient.CLAIM, regularizes.CLAIM)
"""Claims that have rows, as the protocol has them."""


@dataclass(frozen=True)
class Choice:
    """Another choice, which a critic would try.

    Attributes:
        name: of its row.
        short: within a sentence, after "not".
        claims: what is judged under it, each as it is judged there.
        change: the study as it would have been.
    """

    name: str
    short: str
    claims: tuple[Claim, ...]
    change: Callable[[Results], Results] = lambda results: results


STABLE_SHARES = (0.5, 0.9)
MOVING_AVERAGES = Choice(
    "moving-average statistics, not re-estimated ones",
    "by moving averages",
    (PRIMARY, *TARGET_CLAIMS),
    alternatives.on_moving_averages,
)
CHOICES = (
    *(
        Choice(
            f"stable at {share:.0%} of the best accuracy above chance (rho {share})",
            f"at rho {share}",
            (PRIMARY,),
            partial(alternatives.with_rho, rho=share),
        )
        for share in STABLE_SHARES
    ),
    Choice(
        "stable means trained, at any accuracy",
        "with stable meaning trained",
        (PRIMARY,),
        partial(alternatives.with_rho, rho="trained"),
    ),
    Choice(
        "one threshold of stability for all nets of an activation: the unnormalized net's",
        "under one threshold for both nets",
        (PRIMARY,),
        alternatives.with_common_threshold,
    ),
    Choice(
        "best cell by the median over seeds, not the mean",
        "by median cells",
        (PRIMARY,),
        alternatives.with_median_cells,
    ),
    Choice(
        "only rates in an unbroken stable run from the best rate",
        "over an unbroken stable run",
        (CONTIGUOUS,),
    ),
    MOVING_AVERAGES,
    *(
        Choice(
            f"target from the {which} quartile of seeds",
            f"with the {which} quartile's target",
            TARGET_CLAIMS,
            partial(alternatives.with_target, quantile=quantile),
        )
        for which, quantile in (("lower", 0.25), ("upper", 0.75))
    ),
    *(
        Choice(
            f"target at {share:.0%} of the accuracy above chance",
            f"with a target at {share:.0%}",
            TARGET_CLAIMS,
            partial(alternatives.with_target, share=share),
        )
        for share in (0.90, 0.99)
    ),
    Choice(
        "slope of gradient norm times weight norm, which no layer's scale changes",
        "by gradient times weights",
        (
            _judged_by(
                no_vanishing_gradient.CLAIM,
                partial(no_vanishing_gradient.evaluate, probe=GRADIENT_TIMES_WEIGHT),
            ),
        ),
    ),
    *(
        Choice(
            f"at {factor:g} times the matched training loss",
            f"at {factor:g} times the loss",
            (_judged_by(regularizes.CLAIM, partial(regularizes.evaluate, factor=factor)),),
        )
        for factor in (1.1, 1.25, 1.5)
    ),
)
TABLE_COLUMNS = [
    "claim",
    "normalizer",
    "activation",
    "choice",
    "outcome",
    "effect",
    "low",
    "high",
    "unit",
    "p_supported",
    "p_refuted",
    "n",
    "flips",
    "reason",
]

MIN_SHARE = 0.2
"""A rate that more than this share of bootstraps selects is worth asking about (protocol, 4)."""

NUM_BOOTSTRAPS = 2000


def sensitivity_table(results: Results) -> pd.DataFrame:
    """The claims under choices a critic would try.

    Another optimizer is a study of its own: there is a row for every one among `results.siblings`. A choice
    that the study itself made (its own rho) is none.

    Returns:
        frame with a row per claim, normalizer, activation and choice (the protocol's own first): claim,
        normalizer, activation, choice, outcome, effect, low, high (in unit), unit, p_supported, p_refuted
        (adjusted in their family), n, flips (the outcome is not the protocol's), reason.
    """
    choices = [choice for choice in CHOICES if choice.short != f"at rho {results.study['judge']['rho']}"]
    studies = [
        (AS_IS, AS_JUDGED, results),
        *((choice.name, choice.claims, choice.change(results)) for choice in choices),
        *((_optimizers(results, sibling), [PRIMARY], sibling) for sibling in results.siblings),
    ]
    rows = [
        _row(verdict) | {"choice": choice}
        for choice, claims, changed in studies
        for verdict in _judged(changed, claims)
    ]
    table = pd.DataFrame(rows, columns=TABLE_COLUMNS)
    keys = ["claim", "normalizer", "activation"]
    base = table[table["choice"] == AS_IS].set_index(keys)["outcome"]
    protocol = [base[tuple(row)] for row in table[keys].itertuples(index=False)]
    table["flips"] = table["outcome"] != protocol
    order = {claim.id: i for i, claim in enumerate(AS_JUDGED)}
    ranked = table.assign(rank=table["claim"].map(order))
    return ranked.sort_values(["rank", "normalizer", "activation"], kind="stable", ignore_index=True)[
        TABLE_COLUMNS
    ]


def _optimizers(results: Results, sibling: Results) -> str:
    """What a sibling did otherwise, and which study run it is."""
    own, other = results.study["optimizer"], sibling.study["optimizer"]
    changed = [key for key in (own | other) if own.get(key) != other.get(key)]
    if "name" in changed:
        words = f"{other['name']} instead of {own['name']}"
    else:
        settings = (f"{key} {other.get(key)} instead of {own.get(key)}" for key in changed)
        words = f"{own['name']} with {', '.join(settings)}"
    return f"optimizer {words} (study hash {sibling.study_hash})"


def selection_shares(results: Results, rng: np.random.Generator) -> pd.DataFrame:
    """How often each rate would have been selected as eta*, over bootstraps of the sweep seeds.

    The rule is the protocol's, `best_cell`; a bootstrap may select no rate.

    Returns:
        frame with columns variant, learning_rate, share (of all bootstraps), selected (it is eta*).
    """
    rows = []
    for variant in results.variants:
        sweep = select.ended_trials(results, "sweep", variant=variant)
        losses, trained = (frame.to_numpy(dtype=float) for frame in _seed_by_rate(results, sweep))
        if losses.size == 0:
            continue
        rates = np.sort(sweep["learning_rate"].unique())
        drawn = rng.integers(len(losses), size=(NUM_BOOTSTRAPS, len(losses)))
        means = zip(losses[drawn].mean(axis=1).tolist(), trained[drawn].mean(axis=1).tolist(), strict=True)
        picked = Counter(best_cell(*of_rates) for of_rates in means)
        best = select.best_rate(results, variant)
        for i, rate in enumerate(rates):
            rows.append((variant, float(rate), picked[i] / NUM_BOOTSTRAPS, best == rate))
    return pd.DataFrame(rows, columns=["variant", "learning_rate", "share", "selected"])


def selection_flips(results: Results, shares: pd.DataFrame) -> pd.DataFrame:
    """The claims at the best rate, recomputed from the sweep where another rate gets over 20% of bootstraps.

    Args:
        results: a study's.
        shares: from `selection_shares`.

    Returns:
        frame with columns claim, normalizer, activation, variant and learning_rate (what is replaced, by
        what), share, outcome (there), effect, low, high, unit, n, protocol_outcome, flips; empty if the
        selection is clear or the confirm stage is not decided.
    """
    base = {_key(verdict): verdict.outcome for verdict in _judged(results, SELECTED_CLAIMS)}
    selected = {v: rate for v in results.variants if (rate := select.best_rate(results, v)) is not None}
    rows = []
    others = shares[
        ~shares["selected"] & (shares["share"] > MIN_SHARE) & shares["variant"].isin(list(selected))
    ]
    for other in others[["variant", "learning_rate", "share"]].to_dict("records"):
        variant, rate = str(other["variant"]), float(other["learning_rate"])
        own = results.planned[variant].normalization
        judged = results.normalizations if own == BASELINE else [own]
        rates = {
            name: of
            for name, of in (selected | {variant: rate}).items()
            if results.planned[name].normalization in (*judged, BASELINE)
        }
        there = alternatives.at_sweep_rates(results, rates)
        for verdict in _judged(there, SELECTED_CLAIMS, judged):
            if _depends_on(verdict, results.planned[variant]):
                outcome = base[_key(verdict)]
                flips = verdict.outcome != outcome
                rows.append(_row(verdict) | other | {"protocol_outcome": outcome, "flips": flips})
    names = ["claim", "normalizer", "activation", "variant", "learning_rate", "share", "outcome", "effect"]
    return pd.DataFrame(rows, columns=[*names, "low", "high", "unit", "n", "protocol_outcome", "flips"])


def _depends_on(verdict: Verdict, variant: Variant) -> bool:
    """Would another eta* of the variant change what this claim compares?"""
    if variant.activation != verdict.activation:
        return False
    own = variant.normalization == verdict.normalizer and verdict.claim != faster_at_same_rate.CLAIM.id
    return own or variant.normalization == BASELINE


def _seed_by_rate(results: Results, sweep: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """[seeds, rates] capped losses, and 1 where the trial trained."""
    capped = sweep.assign(
        loss=capped_losses(results, sweep),
        trained=(sweep["status"] == "trained").astype(float),
    )
    return tuple(
        capped.pivot_table(index="seed", columns="learning_rate", values=value).dropna()
        for value in ("loss", "trained")
    )


def _judged(
    results: Results, claims: Sequence[Claim], normalizers: Sequence[str] | None = None
) -> list[Verdict]:
    """Verdicts under a choice, of all normalizers or some; their families are the protocol's."""
    return judge(results, claims, rng=None, normalizers=normalizers)


def _key(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.claim, verdict.normalizer, verdict.activation


def _row(verdict: Verdict) -> dict[str, object]:
    """What the tables show of a verdict."""
    return {name: getattr(verdict, name) for name in TABLE_COLUMNS if hasattr(verdict, name)}
