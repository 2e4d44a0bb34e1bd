"""What claims require of a study and a pair."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from analysis.claims._base import NotEvaluable, Pair, Requirement
from analysis.measures import select, stable_band
from analysis.results import DAMAGED, Results
from benchmark.contract import BEST, USABLE_SHARE, share_above_chance

EDGE_RESOLUTION = 0.15
"""Decades within which refinement is to know an edge of the stable rates (protocol, 4)."""


def unmet(results: Results, pair: Pair, requirements: Iterable[Requirement]) -> NotEvaluable | None:
    """The first requirement that is not met, both variants being planned before all; None if all are."""
    for requirement in (both_planned, *requirements):
        reason = requirement(results, pair)
        if reason is not None:
            return NotEvaluable(reason)
    return None


def both_planned(results: Results, pair: Pair) -> str | None:
    """Both variants belong to the study."""
    missing = [v for v in pair.both if v not in results.variants]
    return f"this study has no variant {missing[0]} to compare with" if missing else None


def rates_varied(results: Results, pair: Pair) -> str | None:
    """The study tried several learning rates."""
    if results.study["search"]["sampler"] == "fixed":
        return (
            "this study trains at a single learning rate, as its source did, so it says nothing about other "
            "rates or about each variant at its best; a study with the grid sampler does"
        )
    return None


def on_the_grid(results: Results, pair: Pair) -> str | None:
    """The sweep is the grid: stability edges need known gaps."""
    sampler = results.study["search"]["sampler"]
    if sampler not in ("grid", "fixed"):
        return f"stability needs the grid's known gaps between rates; this study's sampler is {sampler!r}"
    return rates_varied(results, pair)


def sweep_complete(results: Results, pair: Pair) -> str | None:
    """Every planned sweep trial of both variants has an outcome."""
    if "grid" not in results.decisions:
        done = len(select.ended_trials(results, "sweep"))
        return f"the sweep has not finished ({done} of {_planned(results, 'sweep')} trials ended)"
    return next((missing for v in pair.both if (missing := _missing_of_sweep(results, v))), None)


@lru_cache(maxsize=select.CACHED)  # of the reference, every pair asks
def _missing_of_sweep(results: Results, variant: str) -> str | None:
    sweep = select.ended_trials(results, "sweep", variant=variant)
    for rate in select.sweep_grid(results):
        found = sweep.loc[select.same_rate(sweep["learning_rate"], rate), "seed"]
        missing = _missing(results, (variant, rate, "sweep"), found, select.sweep_seeds(results))
        if missing:
            return missing
    return None


def variants_decided(results: Results, pair: Pair) -> str | None:
    """The select stage has judged both variants."""
    undecided = [v for v in pair.both if not select.decided(results, v)]
    return (
        f"the study has not yet decided about {undecided[0]}: its sweep is unfinished" if undecided else None
    )


def usable(results: Results, pair: Pair) -> str | None:
    """Both variants trained somewhere: a ratio to one that never did means nothing."""
    for variant in pair.both:
        if not select.decided(results, variant)["usable"]:
            return (
                f"{_hardly_trained(results, variant)}, so there is nothing to measure against "
                "(fewer-failures is the claim that judges this)"
            )
    return None


def _hardly_trained(results: Results, variant: str) -> str:
    """How far an unusable variant came: never trained, or in so few trials, or so little."""
    within = f"within {results.study['budget']['num_steps']} steps"
    sweep = select.ended_trials(results, "sweep", variant=variant)
    trained = sweep[sweep["status"] == "trained"]
    if trained.empty:
        return f"{variant} never trained at any rate {within}"
    best_of_study = max(of["best_cell_accuracy"] for of in results.decisions["variants"].values())
    needed = share_above_chance(best_of_study, results.chance, USABLE_SHARE)
    reached, mean = (
        trained["final_val_accuracy"].max(),
        select.decided(results, variant)["best_cell_accuracy"],
    )
    return (
        f"{variant} hardly trained {within}: {len(trained)} of its {len(sweep)} trials on the grid did, the "
        f"best to an accuracy of {reached:.3f}, but no rate's mean over seeds is above {mean:.3f}, where "
        f"{needed:.3f} would make it usable (chance, {results.chance:.3f}, and a tenth of the study's best "
        "gain on it)"
    )


def edges_refined(results: Results, pair: Pair) -> str | None:
    """The refine stage has run, so far as the study's status tells."""
    wide = wide_edges(results, pair, both_edges=False)
    if wide and results.status != "complete":
        return (
            f"the refine stage is unfinished: {wide} stability edges are not yet known within "
            f"{EDGE_RESOLUTION} decades"
        )
    return None


def wide_edges(results: Results, pair: Pair, *, both_edges: bool) -> int:
    """Number of edges, upper ones or all, that were bracketed but not bisected to the promised width."""
    which = ("upper", "lower") if both_edges else ("upper",)
    return sum(_wide_edges_of(results, variant, edge) for variant in pair.both for edge in which)


@lru_cache(maxsize=select.CACHED)
def _wide_edges_of(results: Results, variant: str, edge: str) -> int:
    edges = stable_band(results, variant)
    width = edges[f"{edge}_high"].to_numpy(dtype=float) - edges[f"{edge}_low"].to_numpy(dtype=float)
    return int((np.isfinite(width) & (width > EDGE_RESOLUTION)).sum())


def best_rates_known(results: Results, pair: Pair) -> str | None:
    """Both variants have an eta*, inside the grid."""
    return reference_best_known(results, pair) or _best_known(results, pair.variant)


def reference_best_known(results: Results, pair: Pair) -> str | None:
    """The reference has an eta*, inside the grid."""
    return _best_known(results, pair.reference_variant)


def target_fixed(results: Results, pair: Pair) -> str | None:
    """The activation's target accuracy is known."""
    if pair.activation not in results.decisions.get("targets", {}):
        return f"the target accuracy of the {pair.activation} nets is not fixed yet: the sweep is unfinished"
    return None


def confirmed(role: str) -> Requirement:
    """A requirement: all confirm seeds, of the reference at its best and of the variant in this role."""

    def complete(results: Results, pair: Pair) -> str | None:
        for variant, wanted in ((pair.reference_variant, BEST), (pair.variant, role)):
            rate = select.confirm_rate(results, variant, wanted, pair.reference)
            if rate is None:
                return f"the confirm stage has no cell of {variant} in the role {wanted!r} yet"
            trials = select.confirm_trials(results, variant, wanted, pair.reference)
            seeds = select.confirm_seeds(results)
            missing = _missing(results, (variant, rate, "confirm"), trials["seed"], seeds)
            if missing:
                return missing
        return None

    return complete


def probed(probe: str, switch: str) -> Requirement:
    """A requirement: the study logged a probe of both variants."""

    def logged(results: Results, pair: Pair) -> str | None:
        for variant in pair.both:
            if select.probe_rows(results, probe, variant).empty:
                return f"the study did not log {probe} of {variant}: run it with {switch}"
        return None

    return logged


def _best_known(results: Results, variant: str) -> str | None:
    """A variant's eta* exists and the grid shows both its sides."""
    rate = select.best_rate(results, variant)
    if rate is None:
        return f"{variant} has no best learning rate: at no rate did half of its seeds train"
    if select.decided(results, variant)["at_edge"]:
        extended = results.decisions.get("num_extensions")
        last = "still the grid's last after extending it" if extended else "the grid's last"
        return (
            f"the best learning rate of {variant} ({rate:.3g}) is {last}: "
            "its true best may lie outside; widen search.low or search.high"
        )
    return None


def _missing(
    results: Results, cell: tuple[str, float, str], found: Iterable[int], seeds: range
) -> str | None:
    """The words for a cell without all its seeds; a failed or damaged trial is named as such."""
    variant, rate, stage = cell
    absent = sorted(set(seeds) - set(found))
    if not absent:
        return None
    trials = results.trials[(results.trials["variant"] == variant) & (results.trials["stage"] == stage)]
    trials = trials[select.same_rate(trials["learning_rate"], rate) & trials["seed"].isin(absent)]
    found_so = [status for status in ("failed", DAMAGED) if (trials["status"] == status).any()]
    why = " or ".join(found_so) or "not trained yet"
    which = ", ".join(str(seed) for seed in absent)
    where = f"{stage} cell {variant} at learning rate {rate:.3g}"
    return f"the {where} is missing seed {which} ({why})"


def _planned(results: Results, stage: str) -> str:
    """The planned number of trials of a stage, where it was logged."""
    return str(results.progress.get("planned", {}).get(stage) or "the planned")
