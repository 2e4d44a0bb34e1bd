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
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from analysis.stats.signed_rank import Floats
from benchmark.contract import STABLE_SHARE, TRAINED_CONFIDENCE

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
        num_bisections: Of the gaps at both edges of the stable rates.
        num_classes: K.
        num_images: Validation images: accuracy is a multiple of 1 / num_images.
        accuracy: True accuracy at well-chosen rates.
    """

    log10_rates: tuple[float, ...]
    num_bisections: int
    num_classes: int
    num_images: int
    accuracy: float


QUICK = Search(tuple(np.linspace(-3.5, 0, 8)), 2, num_classes=10, num_images=360, accuracy=0.97)
CIFAR100 = Search(tuple(np.linspace(-4, 1, 12)), 2, num_classes=100, num_images=5000, accuracy=0.5)


@dataclass(frozen=True)
class Edges:
    """What one sweep and its refinement know of the stable rates, in log10; each [...]."""

    lowest_stable: Floats
    below_lowest: Floats
    highest_stable: Floats
    above_highest: Floats


def find_edges(search: Search, low_edge: Floats, high_edge: Floats, rng: np.random.Generator) -> Edges:
    """Sweeps the grid and refines both edges, judging each rate by one noisy, quantized accuracy.

    As a study does (protocol, section 4): every round halves the gaps at both edges of the stable rates;
    where none is stable but some trained, those beside the best trained one.

    Args:
        search: Grid, bisections and data.
        low_edge: True log10 rate below which the expected accuracy is no longer stable, [...].
        high_edge: The same at the upper end, [...].
        rng: Source of the validation noise.
    """
    width = 0.05  # decades over which accuracy falls off beyond an edge
    chance = 1 / search.num_classes
    threshold = chance + STABLE_SHARE * (search.accuracy - chance)
    # What the Wilson interval of protocol 5 excludes: it inverts this test.
    deviation = np.sqrt(chance * (1 - chance) / search.num_images)
    trained = chance + norm.ppf(TRAINED_CONFIDENCE) * deviation

    def observe(log10_rate: Floats) -> Floats:
        falling = expit((high_edge - log10_rate) / width + logit(STABLE_SHARE))
        rising = expit((log10_rate - low_edge) / width + logit(STABLE_SHARE))
        probability = chance + (search.accuracy - chance) * falling * rising
        return np.asarray(rng.binomial(search.num_images, probability) / search.num_images)

    # [rates, ...], ascending: what was tried, between -inf and +inf, which stand for what was not.
    rates = np.stack([np.full(high_edge.shape, rate) for rate in (-np.inf, *search.log10_rates, np.inf)])
    accuracies = np.stack(
        [observe(rate) if np.isfinite(rate).all() else np.full_like(rate, -1) for rate in rates]
    )
    for _ in range(search.num_bisections):
        is_worth_it = accuracies.max(axis=0) > trained
        for gap in _gaps(rates, accuracies, threshold):
            tried = is_worth_it & np.isfinite(gap).all(axis=0)
            middle = np.where(tried, gap[0], 0.0) / 2 + np.where(tried, gap[1], 0.0) / 2
            rates = np.concatenate([rates, np.where(tried, middle, np.inf)[None]])
            accuracies = np.concatenate([accuracies, np.where(tried, observe(middle), -1.0)[None]])
        order = np.argsort(rates, axis=0, kind="stable")
        rates, accuracies = (np.take_along_axis(of, order, axis=0) for of in (rates, accuracies))
    (high, above), (below, low) = _gaps(rates, accuracies, threshold)
    is_known = accuracies.max(axis=0) >= threshold
    return Edges(
        lowest_stable=np.where(is_known, low, np.inf),
        below_lowest=np.where(is_known, below, -np.inf),
        highest_stable=np.where(is_known, high, -np.inf),
        above_highest=np.where(is_known, above, np.inf),
    )


def _gaps(rates: Floats, accuracies: Floats, threshold: float) -> tuple[Pairs, Pairs]:
    """The gaps above the highest and below the lowest stable rate; where none is, beside the best one."""
    is_stable = accuracies >= threshold
    is_end = np.where(is_stable.any(axis=0), is_stable, accuracies == accuracies.max(axis=0))
    first, last = is_end.argmax(axis=0), len(rates) - 1 - is_end[::-1].argmax(axis=0)

    def at(index: NDArray[np.intp]) -> Floats:
        return np.asarray(np.take_along_axis(rates, index[None], axis=0)[0], dtype=np.float64)

    return (at(last), at(last + 1)), (at(first - 1), at(first))


def difference(treated: Pairs, reference: Pairs) -> Pairs:
    """Least and greatest treated - reference that two intervals allow; inf - inf allows anything."""
    (treated_low, treated_high), (reference_low, reference_high) = treated, reference
    unknown_low = np.isneginf(treated_low) | np.isposinf(reference_high)
    unknown_high = np.isposinf(treated_high) | np.isneginf(reference_low)
    with np.errstate(invalid="ignore"):  # inf - inf, replaced here
        low = np.where(unknown_low, -np.inf, treated_low - reference_high)
        high = np.where(unknown_high, np.inf, treated_high - reference_low)
    return low, high


def max_stable_rate(search: Search, band: float = np.inf) -> Observer:
    """Observer of log10(max stable rate), in decades. The edges' place between grid points is random.

    Args:
        search: how a study looks for it.
        band: true width of both variants' stable rates, decades. One narrower than the grid's step leaves
            some seeds without a stable rate on it.
    """

    def observe(reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
        high_edges = _high_edges(search, reference, treated, rng)
        seen = [find_edges(search, edge - band, edge, rng) for edge in high_edges]
        return difference(*((edges.highest_stable, edges.above_highest) for edges in seen))

    return observe


def stable_band(search: Search) -> Observer:
    """Observer of the stable band in decades: the lower edges lie alike, the effect is in the upper ones."""

    def observe(reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
        step = search.log10_rates[1] - search.log10_rates[0]
        place = rng.uniform(0.5, 0.5 + step, size=(*reference.shape[:2], 1))
        low_edge = search.log10_rates[0] + place + np.zeros(reference.shape)
        bands = []
        for high_edge in _high_edges(search, reference, treated, rng):
            edges = find_edges(search, low_edge, high_edge, rng)
            none = np.isneginf(edges.highest_stable)
            shortest = np.where(none, 0.0, edges.highest_stable) - np.where(none, 0.0, edges.lowest_stable)
            bands.append((np.where(none, -np.inf, shortest), edges.above_highest - edges.below_lowest))
        return difference(*bands)

    return observe


def _high_edges(search: Search, reference: Floats, treated: Floats, rng: np.random.Generator) -> Pairs:
    """Upper edges of the treated and of the reference variant, anywhere between two points of the grid."""
    step = search.log10_rates[1] - search.log10_rates[0]
    base = search.log10_rates[-1] - 1.25 - rng.uniform(0, step, size=(*reference.shape[:2], 1))
    return base + treated, base + reference


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
