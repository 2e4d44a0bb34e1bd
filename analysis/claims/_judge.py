"""From paired effects to verdicts: requirements, Holm, outcomes, sentences (protocol, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from analysis.claims._base import (
    CONDITIONAL,
    NOT_EVALUABLE,
    NOT_MEASURABLE,
    Claim,
    NotEvaluable,
    Outcome,
    Pair,
    Sample,
    Verdict,
    show_effect,
    show_interval,
    show_middle,
)
from analysis.claims._requirements import unmet
from analysis.results import Results
from analysis.stats import Estimate, decide, estimate, holm, seeds_needed, settled_if_narrowed, tests_of
from benchmark.contract import BASELINE, CONFIRMATORY, least_seeds


@dataclass(frozen=True)
class _Test:
    """One planned test and its unadjusted p-values; 1 where not evaluable."""

    claim: Claim
    pair: Pair
    found: Sample | NotEvaluable
    p_supported: float
    p_refuted: float


@dataclass(frozen=True)
class _Standing:
    """A test's Holm-adjusted p-values: among the tests of its claim and normalizer, and among all planned."""

    p_supported: float
    p_refuted: float
    p_supported_all: float
    p_refuted_all: float
    num_tests: int


def judge(
    results: Results,
    claims: Sequence[Claim],
    rng: np.random.Generator | None,
    reference: str = BASELINE,
    normalizers: Sequence[str] | None = None,
) -> list[Verdict]:
    """Judge claims on a study, for every normalizer and activation that it planned.

    Args:
        results: of the study.
        claims: in the order of the report. "All planned tests" are the tests of these.
        rng: of the seeds-needed simulation alone, which takes most of the time; None leaves it out.
        reference: the normalization to compare with. With another than none only batch normalization is:
            that is what others compete with.
        normalizers: only these; "all planned tests" are theirs.

    Returns:
        one verdict per claim, normalizer and activation, in that order.
    """
    judged = normalizers or (results.normalizations if reference == BASELINE else [CONFIRMATORY])
    together = [
        [
            _test(results, claim, Pair(n, activation, reference))
            for activation in claim.planned_activations(results)
        ]
        for claim in claims
        for n in judged
        if n != reference
    ]
    every = [test for tests in together for test in tests]
    over_all = dict(zip(map(id, every), _adjusted(every), strict=True))
    verdicts = []
    for tests in together:
        for test, adjusted in zip(tests, _adjusted(tests), strict=True):
            standing = _Standing(*adjusted, *over_all[id(test)], num_tests=len(tests))
            verdicts.append(_verdict(results, test, standing, rng))
    return verdicts


def _test(results: Results, claim: Claim, pair: Pair) -> _Test:
    """Evaluate one claim on one pair of variants, if the study meets what it requires."""
    problem = unmet(results, pair, claim.requires)
    if problem is not None:
        return _Test(claim, pair, problem, 1.0, 1.0)
    found = claim.evaluate(results, pair)
    return _Test(claim, pair, found, *tests_of(found.low, found.high, claim.delta))


def _adjusted(tests: Sequence[_Test]) -> list[tuple[float, float]]:
    """Holm-adjusted p-values of both directions, each direction by itself."""
    supported = holm([test.p_supported for test in tests])
    refuted = holm([test.p_refuted for test in tests])
    return [(float(s), float(r)) for s, r in zip(supported, refuted, strict=True)]


def _verdict(results: Results, test: _Test, standing: _Standing, rng: np.random.Generator | None) -> Verdict:
    """One test's verdict from its adjusted p-values."""
    claim, found = test.claim, test.found
    if isinstance(found, NotEvaluable):
        outcome, size, needed, survives = NOT_EVALUABLE, _NOTHING, None, None
        reason, sentence = found.reason, _not_evaluable_sentence(results, test, found)
    else:
        outcome = cast(Outcome, decide(standing.p_supported, standing.p_refuted))
        size = estimate(found.low, found.high)
        settled = outcome in ("SUPPORTED", "REFUTED")
        survives = decide(standing.p_supported_all, standing.p_refuted_all) == outcome if settled else None
        if rng is None or settled:
            needed = None
        else:
            needed = seeds_needed(found.low, found.high, claim.delta, standing.num_tests, rng)
        reason = " ".join(_caveats(results, claim, found, standing.num_tests))
        sentence = _sentence(results, test, outcome, size)
        if not settled:
            sentence += _what_settles(claim, found, needed, standing.num_tests)
    return Verdict(
        claim=claim.id,
        pair=test.pair,
        outcome=outcome,
        effect=size.effect,
        low=size.low,
        high=size.high,
        effect_low=size.effect_low,
        effect_high=size.effect_high,
        unit=claim.unit,
        delta=claim.delta,
        p_supported=standing.p_supported,
        p_refuted=standing.p_refuted,
        n=size.n,
        num_tests=standing.num_tests,
        seeds_needed=needed,
        reason=reason,
        sentence=sentence,
        exploratory=test.pair.normalizer != CONFIRMATORY,
        survives_holm_over_all=survives,
        sample=None if isinstance(found, NotEvaluable) else found,
    )


_NOTHING = Estimate(effect=np.nan, effect_low=np.nan, effect_high=np.nan, low=np.nan, high=np.nan, n=0)


def _sentence(results: Results, test: _Test, outcome: Outcome, size: Estimate) -> str:
    """The outcome in plain words, with its figures."""
    claim = test.claim
    effect = show_effect(claim.show, size.effect, size.effect_low, size.effect_high)
    # Only an unsettled effect can be without any bound: a settled one's interval excludes delta.
    guess = f"the effect is {effect}" if effect == NOT_MEASURABLE else f"the best guess is {claim.best_guess}"
    templates = {
        "SUPPORTED": claim.supported,
        "REFUTED": claim.refuted,
        "INCONCLUSIVE": f"{claim.inconclusive}; {guess}",
    }
    text = templates[outcome].format(
        norm=results.words(test.pair.normalizer),
        act=test.pair.activation,
        effect=effect,
        delta=claim.show(claim.delta).lstrip("+"),
    )
    return f"{text[0].upper()}{text[1:]} ({_interval_words(claim, size)}, {size.n} seeds)."


def _what_settles(claim: Claim, sample: Sample, needed: int | None, num_tests: int) -> str:
    """What would likely settle an inconclusive verdict: more rates (or gains) for them, or more seeds."""
    finer = claim.narrowed_by
    if finer and settled_if_narrowed(sample.low, sample.high, claim.delta, num_tests):
        return f" More {finer} between those tried would likely settle it, with the same seeds."
    seeds = (
        "More seeds alone would not likely settle it."
        if needed is None
        else f"About {needed} seeds would likely settle it."
    )
    return f" More {finer} between those tried would not likely settle it. {seeds}" if finer else f" {seeds}"


def _interval_words(claim: Claim, size: Estimate) -> str:
    """Where the effect is known no better than delta, that; and the 90% interval, an open one in words."""
    if np.isinf(size.low) and np.isinf(size.high):
        interval = "no bounded 90% interval"
    else:
        interval = f"90% interval: {show_interval(claim.show, size.low, size.high)}"
    middle = show_middle(claim.show, size.effect_low, size.effect_high, claim.delta)
    return f"{middle}; {interval}" if middle else interval


def _not_evaluable_sentence(results: Results, test: _Test, found: NotEvaluable) -> str:
    """What could not be asked, and why."""
    words = results.words(test.pair.normalizer)
    return f"This study cannot tell for {words} on the {test.pair.activation} net: {found.reason}."


def _caveats(results: Results, claim: Claim, sample: Sample, num_tests: int) -> list[str]:
    """Sentences that qualify a judged claim."""
    conditional = CONDITIONAL.format(shared=claim.shared)
    said = [f"{text}." for text in (conditional, claim.caveat, *sample.caveats) if text]
    n = sample.seeds.size
    blank = int((np.isneginf(sample.low) & np.isposinf(sample.high)).sum())
    if blank:
        said.append(f"{blank} of {n} pairs say nothing: a trial of theirs did not get far enough to compare.")
    least = least_seeds(num_tests)
    if n < least:
        said.append(f"{n} seeds can decide nothing here, whatever they show: it takes {least}.")
    if results.study["data"].get("validation") == "test":
        said.append("Validated on the test split, as its source did.")
    return said
