"""What a claim is, what it finds in a study, and what a verdict says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results import Results, Variant
from benchmark.contract import BASELINE

Outcome = Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE", "NOT EVALUABLE"]
OUTCOMES: tuple[Outcome, ...] = ("SUPPORTED", "REFUTED", "INCONCLUSIVE", "NOT EVALUABLE")
NOT_EVALUABLE: Outcome = "NOT EVALUABLE"

# Stands beside claims whose seeds' effects are points: see "one-sided" in docs/calibration.md.
ONE_SIDED_RISK = (
    "If one variant alone had outliers among its seeds, the risk of a false verdict would be up to 8%, not 5%"
)


CONDITIONAL = "Conditional on this split: all seeds share one {shared}"


@dataclass(frozen=True, eq=False)
class Sample:
    """What is known of the paired effect of every seed.

    Attributes:
        seeds: [n].
        low: least effect that each seed allows, [n], -inf where unknown.
        high: greatest effect, [n], +inf where unknown.
        caveats: whole phrases for the report.
    """

    seeds: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    caveats: tuple[str, ...] = ()

    @classmethod
    def of(cls, frame: pd.DataFrame, caveats: Sequence[str] = ()) -> Sample:
        """From a frame with columns seed, low, high."""
        return cls(
            seeds=frame["seed"].to_numpy(dtype=np.int64),
            low=frame["low"].to_numpy(dtype=np.float64),
            high=frame["high"].to_numpy(dtype=np.float64),
            caveats=tuple(caveats),
        )


@dataclass(frozen=True)
class NotEvaluable:
    """Why a claim cannot be judged on this study: what is missing, or which variant never trained."""

    reason: str


@dataclass(frozen=True)
class Pair:
    """Two nets of one activation that a claim compares.

    Attributes:
        normalizer: the normalization that the claim is about.
        activation: of both.
        reference: the normalization that it is compared with: none, or what competes with normalizing.
    """

    normalizer: str
    activation: str
    reference: str = BASELINE

    @property
    def variant(self) -> str:
        """Name of the normalized variant."""
        return Variant(self.normalizer, self.activation).name

    @property
    def reference_variant(self) -> str:
        """Name of the variant that it is compared with."""
        return Variant(self.reference, self.activation).name

    @property
    def both(self) -> tuple[str, str]:
        """The reference's variant and the normalized one."""
        return self.reference_variant, self.variant


Requirement = Callable[[Results, Pair], str | None]
"""What is missing of what a claim requires, in plain words, or None."""


@dataclass(frozen=True)
class Claim:
    """One hypothesis, fixed before the data.

    Attributes:
        id: name on the command line and in `verdicts.json`.
        statement: one sentence, of batch normalization; the same is asked of every normalizer.
        h0: what SUPPORTED rejects, as a formula; REFUTED rejects h1's bound from the other side.
        h1: the claim, as a formula.
        measure: the deciding measure.
        contrast: what is subtracted from what.
        pairing: what makes a pair.
        unit: of the effect and delta.
        delta: smallest effect of interest; an effect at or below it does not support the claim.
        delta_reason: why that much.
        requires: of the study and the pair, beyond that both variants are planned; asked in this order, and
            each may rely on those before it.
        evaluate: results that meet the requirements, pair -> paired effects.
        show: an effect in words, e.g. `3.2 times`.
        supported: sentence with {norm}, {act}, {effect}, {delta}; likewise the next two.
        refuted: sentence.
        inconclusive: sentence, without {effect}: it can be unknown.
        best_guess: the effect in that sentence's second half, with {effect}.
        activations: the claim is about these alone; None for all.
        shared: the images that all seeds share, from which the measure is read, or the rate at which it is.
        narrowed_by: of what more between those tried would narrow the seeds' intervals; empty where nothing
            that is searched would.
        needs: the study's switch that logs what it reads beyond the standard metrics; empty for none.
        caveat: stands beside every verdict of the claim; empty for none.
        primary: the study's main question.
    """

    id: str
    statement: str
    h0: str
    h1: str
    measure: str
    contrast: str
    pairing: str
    unit: str
    delta: float
    delta_reason: str
    requires: tuple[Requirement, ...]
    evaluate: Callable[[Results, Pair], Sample]
    show: Callable[[float], str]
    supported: str
    refuted: str
    inconclusive: str
    best_guess: str = "{effect}"
    activations: tuple[str, ...] | None = None
    shared: str = "validation set"
    narrowed_by: str = ""
    needs: str = ""
    caveat: str = ""
    primary: bool = False

    @property
    def tests_together(self) -> str:
        """The tests that Holm corrects together: `family` of verdicts.json."""
        which = "activations" if self.activations is None else "/".join(self.activations) + " nets"
        return f"{self.id}, one normalizer, over the study's {which}"

    def planned_activations(self, results: Results) -> list[str]:
        """The study's activations that the claim is about."""
        return [a for a in results.activations if self.activations is None or a in self.activations]


@dataclass(frozen=True)
class Robustness:
    """How an outcome fares under other choices (protocol, 8).

    Attributes:
        num_same: choices under which the outcome is the same.
        num_choices: that were tried.
        brief: those under which it is not, in words.
        words: the same with the figures there; a sentence without its full stop.
    """

    num_same: int
    num_choices: int
    brief: str
    words: str


@dataclass(frozen=True, eq=False)
class Verdict:
    """A judged claim.

    Attributes:
        claim: its id.
        pair: what was compared.
        outcome: SUPPORTED, REFUTED, INCONCLUSIVE or NOT EVALUABLE.
        effect: Hodges-Lehmann pseudo-median, in `unit`; NaN where nothing is known.
        low: lower end of the 90% interval (95% on its side).
        high: upper end.
        effect_low: pseudo-median of the least effects.
        effect_high: pseudo-median of the greatest effects.
        unit: of the effect.
        delta: smallest effect of interest.
        p_supported: Holm-adjusted p of "effect <= delta"; 1 where not evaluable.
        p_refuted: Holm-adjusted p of "effect >= delta".
        n: number of pairs.
        num_tests: adjusted together; `family_size` of verdicts.json.
        seeds_needed: for INCONCLUSIVE, the number of seeds that would likely settle it; None if unknown.
        reason: why not evaluable; else caveats; may be empty.
        sentence: the outcome in plain words.
        exploratory: of a normalizer other than batch.
        survives_holm_over_all: does the outcome hold when all planned tests are adjusted together? None where
            there is nothing to survive.
        sample: the pairs; None where not evaluable.
        robustness: under other choices; None where none was tried.
    """

    claim: str
    pair: Pair
    outcome: Outcome
    effect: float
    low: float
    high: float
    effect_low: float
    effect_high: float
    unit: str
    delta: float
    p_supported: float
    p_refuted: float
    n: int
    num_tests: int
    seeds_needed: int | None
    reason: str
    sentence: str
    exploratory: bool
    survives_holm_over_all: bool | None
    sample: Sample | None
    robustness: Robustness | None = None

    @property
    def normalizer(self) -> str:
        """What was judged."""
        return self.pair.normalizer

    @property
    def activation(self) -> str:
        """Of both nets."""
        return self.pair.activation

    @property
    def in_full(self) -> str:
        """The sentence, and what other choices make of it."""
        return f"{self.sentence} {self.robustness.words}." if self.robustness else self.sentence

    @property
    def samples(self) -> pd.DataFrame:
        """The pairs as a frame: seed, low, high."""
        if self.sample is None:
            return pd.DataFrame({"seed": [], "low": [], "high": []})
        return pd.DataFrame({"seed": self.sample.seeds, "low": self.sample.low, "high": self.sample.high})


NOT_MEASURABLE = "not measurable here"


def show_effect(show: Callable[[float], str], effect: float, least: float, greatest: float) -> str:
    """An effect in words; of an infinite or unknown one, the bound that there is.

    Args:
        show: of the claim.
        effect: pseudo-median of the pairs' midpoints.
        least: pseudo-median of the least effects.
        greatest: pseudo-median of the greatest effects.
    """
    if math.isfinite(effect):
        return show(effect)
    if math.isfinite(least):
        return f"at least {show(least)}"
    if math.isfinite(greatest):
        return f"at most {show(greatest)}"
    return NOT_MEASURABLE


def show_middle(show: Callable[[float], str], least: float, greatest: float, delta: float) -> str:
    """Of an effect that is known no better than delta, between what it is the middle; else empty.

    Args:
        show: of the claim.
        least: pseudo-median of the least effects.
        greatest: pseudo-median of the greatest effects.
        delta: smallest effect of interest.
    """
    if not math.isfinite(least) or not math.isfinite(greatest) or greatest - least <= delta:
        return ""
    low, high = (show(end).partition(" ")[0] for end in (least, greatest))
    return f"the middle of {low} to {high}"


def show_interval(show: Callable[[float], str], low: float, high: float) -> str:
    """An interval with its unit once, `+0.17 to +0.33 nats`; open ends in words."""
    if math.isinf(low) and math.isinf(high):
        return "unbounded"
    if math.isinf(high):
        return f"at least {show(low)}"
    if math.isinf(low):
        return f"at most {show(high)}"
    number, _, _ = show(low).partition(" ")
    return f"{number} to {show(high)}"


def show_times(effect: float) -> str:
    """A log10 ratio as a factor: 0.5 -> `3.16 times`."""
    return f"{10**effect:.3g} times"


def show_decades(effect: float) -> str:
    """A number of decades."""
    return f"{effect:+.2f} decades"


def show_share(effect: float) -> str:
    """A difference of shares of one range: 0.33 -> `+33% of the range`."""
    return f"{round(100 * effect):+d}% of the range"


def show_nats(effect: float) -> str:
    """A difference of losses."""
    return f"{effect:+.3f} nats"


def show_slope(effect: float) -> str:
    """A difference of attenuation slopes."""
    return f"{effect:+.2f} decades per layer"
