"""Choices a critic might have made, each as results rewritten to what they would have been under it.

The claims then run on the rewritten results as they are: one judge, no second code path. What the stages
did while the study ran stays (which rates were bisected, which cells were confirmed); intervals stay true
under any choice, only wider than a study run under that choice would have made them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.measures import select
from analysis.measures.rates import Rho, stability_threshold
from analysis.results import Results
from benchmark.contract import BEST, CONFIRM_SEED_OFFSET, TARGET_SHARE, is_usable, share_above_chance

_JUDGED = ("val_loss", "val_accuracy", "clean_train_loss", "clean_train_accuracy")


def with_rho(results: Results, rho: Rho) -> Results:
    """Stable trials keep another share of the best accuracy above chance, or need only train."""
    return _with_variants(
        results, lambda variant, decided: {"stability_threshold": stability_threshold(results, variant, rho)}
    )


def with_common_threshold(results: Results) -> Results:
    """Stable trials of an activation all pass one threshold: the unnormalized variant's."""

    def of_reference(variant: str, decided: dict[str, Any]) -> dict[str, Any]:
        reference = select.decided(results, select.reference_of(results, variant))
        return {"stability_threshold": reference["stability_threshold"]} if reference else {}

    return _with_variants(results, of_reference)


def with_median_cells(results: Results) -> Results:
    """A cell's accuracy is the median over its seeds, not the mean, wherever the best cell counts."""
    return _with_best_cells(results, results.trials, "median")


def on_moving_averages(results: Results) -> Results:
    """Every judged metric uses the moving-average statistics; best cells and thresholds follow.

    eta* itself and the targets stay, since the confirm stage was trained for them.
    """
    trials = results.trials.assign(
        status=results.trials["status_ema"],
        final_val_loss=results.trials["final_val_loss_ema"],
        final_val_accuracy=results.trials["final_val_accuracy_ema"],
    )
    curves = results.curves.assign(**{name: results.curves[f"{name}_ema"] for name in _JUDGED})
    return dataclasses.replace(_with_best_cells(results, trials, "mean"), curves=curves)


def with_target(results: Results, quantile: float = 0.5, share: float = TARGET_SHARE) -> Results:
    """The target is another share of another quantile, over sweep seeds, of the accuracy above chance."""
    targets = {}
    for activation, target in results.decisions.get("targets", {}).items():
        source = target["variant"]
        rate = select.best_rate(results, source)
        sweep = select.ended_trials(results, "sweep", variant=source)
        accuracy = sweep.loc[select.same_rate(sweep["learning_rate"], rate or np.nan), "final_val_accuracy"]
        level = float(accuracy.quantile(quantile))
        targets[activation] = {
            "accuracy": share_above_chance(level, results.chance, share),
            "variant": source,
        }
    return _decided(results, targets=targets)


def at_sweep_rates(
    results: Results,
    rates: Mapping[str, float],
    stages: Sequence[str] = ("sweep",),
    seeds: Sequence[int] | None = None,
) -> Results:
    """The confirm stage replaced by trials before it, each variant at the rate given as its eta*.

    For asking what the claims at the best rate would be, had selection picked another rate. The unnormalized
    variant's rate is also the others' `x1`.

    Args:
        results: a study's.
        rates: by variant.
        stages: whose trials.
        seeds: of these alone, ascending; None for all of the sweep.
    """
    seeds = select.sweep_seeds(results) if seeds is None else seeds
    tried = select.ended_trials(results, *stages)
    tried = tried[tried["seed"].isin(seeds)]
    confirm: list[dict[str, Any]] = []
    chosen = []
    for variant, rate in rates.items():
        confirm.append({"variant": variant, "learning_rate": rate, "roles": [BEST]})
        reference = select.reference_of(results, variant)
        plain = rates.get(reference)
        if plain is not None and variant != reference:
            confirm.append({"variant": variant, "learning_rate": plain, "roles": [select.SAME_RATE]})
    for cell in confirm:
        at_rate = select.same_rate(tried["learning_rate"], cell["learning_rate"])
        chosen.append(tried[(tried["variant"] == cell["variant"]) & at_rate])
    trials = pd.concat(chosen).drop_duplicates("trial_hash") if chosen else tried.iloc[:0]
    first = CONFIRM_SEED_OFFSET + select.sweep_seeds(results).start
    numbers = {seed: first + position for position, seed in enumerate(seeds)}
    trials = _renumbered(trials, trials, numbers)
    rewritten = _with_variants(
        _decided(results, confirm=confirm),
        lambda variant, decided: {"best_learning_rate": rates.get(variant), "at_edge": False},
    )
    return dataclasses.replace(
        rewritten,
        study=results.study | {"seeds": results.study["seeds"] | {"confirm": len(seeds)}},
        trials=trials,
        curves=_renumbered(results.curves, trials, numbers),
        probes=_renumbered(results.probes, trials, numbers),
    )


def _renumbered(frame: pd.DataFrame, trials: pd.DataFrame, numbers: Mapping[int, int]) -> pd.DataFrame:
    """The rows of these trials, as rows of the confirm stage under other seeds."""
    rows = frame[frame["trial_hash"].isin(trials["trial_hash"])]
    return rows.assign(stage="confirm", seed=rows["seed"].map(numbers).astype(rows["seed"].dtype))


def _with_best_cells(results: Results, trials: pd.DataFrame, statistic: str) -> Results:
    """Best cells, usability and stability thresholds recomputed from the sweep (protocol, 5)."""
    rewritten = dataclasses.replace(results, trials=trials)
    best = {}
    for variant in results.decisions.get("variants", {}):
        sweep = select.ended_trials(rewritten, "sweep", variant=variant)
        best[variant] = float(
            sweep.groupby("learning_rate")["final_val_accuracy"].agg(statistic).astype(float).max()
        )
    rho = float(results.study["judge"]["rho"])
    of_study = max(best.values(), default=np.nan)
    return _with_variants(
        rewritten,
        lambda variant, decided: {
            "best_cell_accuracy": best[variant],
            "usable": is_usable(best[variant], of_study, results.chance),
            "stability_threshold": share_above_chance(best[variant], results.chance, rho),
        },
    )


def _with_variants(results: Results, change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Results:
    """Results with other decisions on every variant."""
    variants = results.decisions.get("variants", {})
    return _decided(
        results, variants={name: decided | change(name, decided) for name, decided in variants.items()}
    )


def _decided(results: Results, **decisions: Any) -> Results:
    """Results with other decisions."""
    return dataclasses.replace(results, decisions=results.decisions | decisions)
