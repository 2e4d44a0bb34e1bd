"""Simulated studies with a known true effect, seen the way a study sees it.

Two steps, for any number of studies at once. `draw_pairs` draws the truth per seed: a seed effect that the
two variants of a pair share, noise of their own, and the effect between them. An observer then lets the
measurement at it (grid, bisection, noisy quantized accuracy, evaluations every E steps, the budget) and
returns what the protocol says is known of each paired effect: its least and greatest value.

Arrays are [num_studies, num_activations, num_seeds]; "reference" is the unnormalized variant, "treated" the
normalized one. Positive effects favour the treated variant.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from analysis.stats.signed_rank import Floats
from benchmark.contract import STABLE_SHARE

Pairs = tuple[Floats, Floats]
Observer = Callable[[Floats, Floats, np.random.Generator], Pairs]

# Pseudo-median of a unit exponential: the mean of two is Gamma(2, scale 1/2), whose median this is.
EXPONENTIAL_PSEUDO_MEDIAN = 0.8391734950083307
SHAPES = ("normal", "skewed", "discretized", "one-sided right", "one-sided left")


def draw_pairs(
    shape: str, effect: float, spread: float, size: tuple[int, int, int], rng: np.random.Generator
) -> Pairs:
    """True values of reference and treated variant, whose differences have the pseudo-median `effect`.

    The noise is, by shape: normal; skewed, exponential in both variants alike; discretized, normal rounded
    to half a spread, so that ties and effects of exactly zero are common; or one-sided, exponential in one
    variant and none in the other, to the right or to the left. The difference's standard deviation is
    sqrt(2) x spread, up to the rounding.

    Args:
        shape: One of SHAPES.
        effect: True effect in the measure's unit.
        spread: Standard deviation of a variant's own noise, and of the seed effect that pairs share.
        size: [num_studies, num_activations, num_seeds].
        rng: Source of the draws.
    """
    reference = spread * rng.standard_normal(size)
    if shape.startswith("one-sided"):
        outliers = np.sqrt(2) * (rng.exponential(size=size) - EXPONENTIAL_PSEUDO_MEDIAN)
        return reference, reference + effect + spread * (
            outliers if shape == "one-sided right" else -outliers
        )
    own, other = (rng.exponential if shape == "skewed" else rng.standard_normal)(size=(2, *size))
    if shape == "discretized":
        own, other = np.round(2 * own) / 2, np.round(2 * other) / 2
    return reference + spread * other, reference + effect + spread * own


@dataclass(frozen=True)
class Search:
    """How a study looks for the stability edge, and on what data (protocol, section 10).

    Attributes:
        log10_rates: The grid, ascending.
        num_bisections: Of the gap above the highest stable rate.
        num_classes: K.
        num_images: Validation images: accuracy is a multiple of 1 / num_images.
        accuracy: True accuracy at well-chosen rates.
    """

    log10_rates: tuple[float, ...]
    num_bisections: int
    num_classes: int
    num_images: int
    accuracy: float


QUICK = Search(tuple(np.linspace(-3, 2, 6)), 3, num_classes=10, num_images=360, accuracy=0.97)
CIFAR100 = Search(tuple(np.linspace(-4, 1, 12)), 2, num_classes=100, num_images=5000, accuracy=0.5)


@dataclass(frozen=True)
class Edges:
    """What one sweep and its refinement know of the stable rates, in log10; each [...]."""

    lowest_stable: Floats
    below_lowest: Floats
    highest_stable: Floats
    above_highest: Floats


def find_edges(search: Search, low_edge: Floats, high_edge: Floats, rng: np.random.Generator) -> Edges:
    """Sweeps the grid and bisects the upper edge, judging each rate by one noisy, quantized accuracy.

    Args:
        search: Grid, bisections and data.
        low_edge: True log10 rate below which the expected accuracy is no longer stable, [...].
        high_edge: The same at the upper end, [...].
        rng: Source of the validation noise.
    """
    width = 0.05  # decades over which accuracy falls off beyond an edge
    chance = 1 / search.num_classes

    def stable(log10_rate: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        falling = expit((high_edge - log10_rate) / width + logit(STABLE_SHARE))
        rising = expit((log10_rate - low_edge) / width + logit(STABLE_SHARE))
        probability = chance + (search.accuracy - chance) * falling * rising
        accuracy = rng.binomial(search.num_images, probability) / search.num_images
        return np.asarray(accuracy - chance >= STABLE_SHARE * (search.accuracy - chance), dtype=np.bool_)

    rates = np.array([-np.inf, *search.log10_rates, np.inf])
    is_stable = np.stack([stable(np.full(high_edge.shape, rate)) for rate in search.log10_rates])
    any_stable = is_stable.any(axis=0)
    lowest = 1 + is_stable.argmax(axis=0)
    highest = len(search.log10_rates) - is_stable[::-1].argmax(axis=0)
    low, high = rates[highest], rates[highest + 1]
    for _ in range(search.num_bisections):
        can_bisect = np.isfinite(high)
        middle = (low + np.where(can_bisect, high, low)) / 2
        holds = stable(middle)
        low, high = np.where(can_bisect & holds, middle, low), np.where(can_bisect & ~holds, middle, high)
    return Edges(
        lowest_stable=np.where(any_stable, rates[lowest], np.inf),
        below_lowest=np.where(any_stable, rates[lowest - 1], -np.inf),
        highest_stable=np.where(any_stable, low, -np.inf),
        above_highest=np.where(any_stable, high, np.inf),
    )


def difference(treated: Pairs, reference: Pairs) -> Pairs:
    """Least and greatest treated - reference that two intervals allow; inf - inf allows anything."""
    (treated_low, treated_high), (reference_low, reference_high) = treated, reference
    unknown_low = np.isneginf(treated_low) | np.isposinf(reference_high)
    unknown_high = np.isposinf(treated_high) | np.isneginf(reference_low)
    with np.errstate(invalid="ignore"):  # inf - inf, replaced here
        low = np.where(unknown_low, -np.inf, treated_low - reference_high)
        high = np.where(unknown_high, np.inf, treated_high - reference_low)
    return low, high


def max_stable_rate(search: Search) -> Observer:
    """Observer of log10(max stable rate), in decades. The edges' place between grid points is random."""

    def observe(reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
        base = rng.uniform(-1, 0, size=(*reference.shape[:2], 1))
        no_low_edge = np.full(reference.shape, -np.inf)
        seen = [find_edges(search, no_low_edge, base + edge, rng) for edge in (treated, reference)]
        return difference(*((edges.highest_stable, edges.above_highest) for edges in seen))

    return observe


def stable_band(search: Search) -> Observer:
    """Observer of the stable band in decades; only its upper edge is refined, as in a study."""

    def observe(reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
        size = (*reference.shape[:2], 1)
        low_edge = rng.uniform(-2.8, -1.8, size=size) + np.zeros(reference.shape)
        base = rng.uniform(-1, 0, size=size)
        seen = [find_edges(search, low_edge, base + edge, rng) for edge in (treated, reference)]
        bands = []
        for edges in seen:
            none = np.isneginf(edges.highest_stable)
            shortest = np.where(none, 0.0, edges.highest_stable) - np.where(none, 0.0, edges.lowest_stable)
            bands.append((np.where(none, -np.inf, shortest), edges.above_highest - edges.below_lowest))
        return difference(*bands)

    return observe


def time_to_target(reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
    """Observer of log10(t_ref / t), in decades: evaluated every T / 50 steps, censored at T.

    The reference typically arrives between half the budget and its end, so part of it is censored. The time
    to target is by definition that of the first evaluation at or above it, so accuracy adds no further noise.
    """
    budget, interval = 1.0, 1 / 50
    base = np.log10(rng.uniform(0.5, 1.0, size=(*reference.shape[:2], 1)))
    known = []
    for speed in (treated, reference):
        evaluation = np.ceil(10 ** (base - speed) / interval)
        arrived = evaluation * interval <= budget + interval / 2
        latest = np.where(arrived, np.log10(evaluation * interval), np.inf)
        with np.errstate(divide="ignore"):  # there at the first evaluation: at any time before it, -inf
            earliest = np.where(arrived, np.log10((evaluation - 1) * interval), np.log10(budget))
        known.append((-latest, -earliest))
    return difference(*known)


def failure_share(num_rates: int) -> Observer:
    """Observer of the failing share of the range, as the interval that the grid leaves open.

    Rates above the edge fail. The edge lies in the gap between the last rate that trains and the first that
    does not, so the share is known to one gap, 1 / (num_rates - 1).
    """

    def observe(reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
        num_gaps = num_rates - 1
        base = rng.uniform(0.4, 0.6, size=(*reference.shape[:2], 1))
        failing = [np.floor(np.clip(base - gain, 0, 1) * num_gaps) for gain in (treated, reference)]
        known = [(share / num_gaps, np.minimum(share + 1, num_gaps) / num_gaps) for share in failing]
        (treated_low, treated_high), (reference_low, reference_high) = known
        return difference((-treated_high, -treated_low), (-reference_high, -reference_low))

    return observe


def generalization_gap(share_untrained: float) -> Observer:
    """Observer of the gap in nats: known exactly, except for pairs with an untrained trial."""

    def observe(reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
        untrained = rng.uniform(size=reference.shape) < share_untrained
        narrower = treated - reference
        return np.where(untrained, -np.inf, narrower), np.where(untrained, np.inf, narrower)

    return observe
