"""The report's tables: one row per cell, one per variant, and the rates' multiples after Ioffe & Szegedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.measures import quality, rates, select, speed
from analysis.results import Results, Variant
from analysis.stats import estimate, iqm, median_value, restricted_mean, restricted_mean_difference
from benchmark.contract import BASELINE, BEST, ENDED, ROLES, STAGES

# Steps (millions) to 72.2% validation accuracy on ImageNet, and maximum accuracy: Ioffe & Szegedy
# (1502.03167), figure 3. Another net and dataset; what else the fast rows changed is in their section 4.2.1.
PUBLISHED_NOTE = (
    "Inception on ImageNet (another net and dataset): steps to 72.2%, and maximum accuracy; BN-x5 and BN-x30 "
    "also did without dropout and local response normalization, with a fifth of the L2, a rate that decays 6 "
    "times as fast, more thorough shuffling and less photometric distortion"
)
PUBLISHED = {
    (BASELINE, BEST, "relu"): ("Inception", 31.0, 0.722),
    ("batch", "x1", "relu"): ("BN-Baseline", 13.3, 0.727),
    ("batch", "x5", "relu"): ("BN-x5", 2.1, 0.730),
    ("batch", "x30", "relu"): ("BN-x30", 2.7, 0.748),
    ("batch", "x5", "sigmoid"): ("BN-x5-Sigmoid", np.nan, 0.698),
}


def cell_table(results: Results) -> pd.DataFrame:
    """One row per cell (variant, learning rate, stage).

    Diverged trials count with the loss cap and chance accuracy; failed ones have no numbers, only a share.

    Returns:
        frame with columns variant, normalization, activation, stage, learning_rate, n (trials with an
        outcome), n_failed, share_trained, share_stuck, share_diverged (of n), share_failed (of all),
        accuracy_mean, accuracy_std (NaN at n = 1), accuracy_iqm, accuracy_min, accuracy_max, loss_mean,
        loss_std (nats), seconds_mean (training alone), test_accuracy_mean.
    """
    rows = []
    trials = results.trials[results.trials["status"].isin([*ENDED, "failed"])]
    trials = trials[trials["init_gain"] == 1.0]
    keys = ["variant", "normalization", "activation", "stage", "learning_rate"]
    for values, cell in trials.groupby(keys, sort=True):
        rows.append(dict(zip(keys, values, strict=True)) | _cell(cell))
    table = pd.DataFrame(rows, columns=[*keys, *_cell(trials.iloc[:0])])
    order = {variant: i for i, variant in enumerate(results.variants)}
    stages = {stage: position for position, stage in enumerate(STAGES)}
    return table.sort_values(
        ["variant", "stage", "learning_rate"],
        key=lambda c: c.map(order) if c.name == "variant" else c.map(stages) if c.name == "stage" else c,
        ignore_index=True,
    )


def _cell(trials: pd.DataFrame) -> dict[str, Any]:
    """Summary of one cell's trials."""
    ended = trials[trials["status"].isin(ENDED)]
    n, n_failed = len(ended), int((trials["status"] == "failed").sum())
    accuracy = ended["final_val_accuracy"].to_numpy(dtype=float)
    shares = {f"share_{s}": (ended["status"] == s).mean() if n else np.nan for s in ENDED}
    return {
        "n": n,
        "n_failed": n_failed,
        **shares,
        "share_failed": n_failed / (n + n_failed) if n + n_failed else np.nan,
        "accuracy_mean": accuracy.mean() if n else np.nan,
        "accuracy_std": accuracy.std(ddof=1) if n > 1 else np.nan,
        "accuracy_iqm": float(iqm(accuracy)) if n else np.nan,
        "accuracy_min": accuracy.min() if n else np.nan,
        "accuracy_max": accuracy.max() if n else np.nan,
        "loss_mean": ended["final_val_loss"].mean(),
        "loss_std": ended["final_val_loss"].std(),
        "seconds_mean": ended["train_seconds"].mean(),
        "test_accuracy_mean": ended["test_accuracy"].mean(),
    }


def variant_table(results: Results) -> pd.DataFrame:
    """One row per planned variant; NaN for what is undecided or unmeasured.

    Returns:
        frame with columns variant, normalization, activation, best_learning_rate (eta*), at_edge, usable,
        best_cell_accuracy; max_stable_rate_low, _high (medians over seeds of the intervals' ends),
        max_stable_rate_min, _max (their range), stable_band_low, _high (decades, medians),
        learning_rate_sensitivity (nats), rates_not_trained (share of the grid's rates), failure_share_low,
        _high (of their range, as the claim reads it; means over seeds); target_accuracy; at eta* in
        the confirm stage: n_confirm, share_reached, steps_to_target, seconds_to_target (medians, inf:
        fewer than half arrived), restricted_mean_steps, accuracy_mean, _std, _iqm, anytime_accuracy,
        loss_spikes (mean per trial), seconds_mean, test_accuracy_mean; num_parameters (NaN where not logged).
    """
    rows = [_variant(results, variant) for variant in results.variants]
    return pd.DataFrame(rows)


def _variant(results: Results, variant: str) -> dict[str, Any]:
    """One row of the variant table."""
    own = results.planned[variant]
    decided = select.decided(results, variant)
    rate = select.best_rate(results, variant)
    row: dict[str, Any] = {
        "variant": variant,
        "normalization": own.normalization,
        "activation": own.activation,
        "best_learning_rate": np.nan if rate is None else rate,
        "at_edge": decided.get("at_edge"),
        "usable": decided.get("usable"),
        "best_cell_accuracy": decided.get("best_cell_accuracy", np.nan),
    }
    row |= _range_columns(results, variant)
    row |= _confirm_columns(results, variant, own.activation)
    row["num_parameters"] = results.trials.loc[results.trials["variant"] == variant, "num_parameters"].max()
    return row


def _range_columns(results: Results, variant: str) -> dict[str, float]:
    """What the sweep and its refinement say of a variant."""
    edge = rates.max_stable_rate(results, variant)
    band = rates.stable_band(results, variant)
    failures = rates.failure_share(results, variant)
    return {
        "max_stable_rate_low": 10 ** median_value(edge["low"], "lower"),
        "max_stable_rate_high": 10 ** median_value(edge["high"], "higher"),
        "max_stable_rate_min": 10 ** edge["low"].min(),
        "max_stable_rate_max": 10 ** edge["high"].max(),
        "stable_band_low": median_value(band["low"], "lower"),
        "stable_band_high": median_value(band["high"], "higher"),
        "learning_rate_sensitivity": rates.learning_rate_sensitivity(results, variant),
        "rates_not_trained": failures["value"].mean(),
        "failure_share_low": failures["low"].mean(),
        "failure_share_high": failures["high"].mean(),
    }


def _confirm_columns(results: Results, variant: str, activation: str) -> dict[str, float]:
    """What the confirm stage says of a variant at its eta*."""
    trials = select.confirm_trials(results, variant)
    steps = speed.time_to_target(results, variant)["high"].to_numpy(dtype=float)
    seconds = speed.time_to_target(results, variant, unit="seconds")["high"]
    accuracy = trials["final_val_accuracy"].to_numpy(dtype=float)
    n = accuracy.size
    return {
        "target_accuracy": speed.target_accuracy(results, activation),
        "n_confirm": n,
        "share_reached": np.isfinite(steps).mean() if n else np.nan,
        "steps_to_target": median_value(steps, "higher"),
        "seconds_to_target": median_value(seconds, "higher"),
        "restricted_mean_steps": restricted_mean(steps, speed.budget(results)) if n else np.nan,
        "accuracy_mean": accuracy.mean() if n else np.nan,
        "accuracy_std": accuracy.std(ddof=1) if n > 1 else np.nan,
        "accuracy_iqm": float(iqm(accuracy)) if n else np.nan,
        "anytime_accuracy": speed.anytime_accuracy(results, variant)["value"].mean(),
        "loss_spikes": quality.loss_spikes(results, variant)["num_spikes"].mean(),
        "seconds_mean": trials["train_seconds"].mean(),
        "test_accuracy_mean": trials["test_accuracy"].mean(),
    }


def probe_cost(results: Results) -> pd.DataFrame:
    """What the probes took beside the training, over all trials of each variant that have an outcome.

    Returns:
        frame with columns variant, n (trials), train_seconds, probe_seconds (sums), share (of the training's
        seconds).
    """
    ended = results.trials[results.trials["status"].isin(ENDED)]
    groups = ended.groupby("variant")
    cost = groups[["train_seconds", "probe_seconds"]].sum().assign(n=groups.size())
    cost["share"] = cost["probe_seconds"] / cost["train_seconds"]
    planned = [variant for variant in results.variants if variant in cost.index]
    return cost.loc[planned, ["n", "train_seconds", "probe_seconds", "share"]].reset_index()


def rate_multiples_table(results: Results) -> pd.DataFrame:
    """Ioffe & Szegedy's table for each activation: same rate, its multiples, and own best.

    The bar is the unnormalized net's own best validation accuracy at its eta*, seed by seed, as theirs was
    the best of Inception; so every seed of the unnormalized row arrives.

    Returns:
        frame with columns activation, normalization, role (best, x1, x5, x30), learning_rate, n,
        bar_accuracy (median), share_reached, steps (median, inf: fewer than half arrived),
        best_accuracy (mean over seeds), speedup (Hodges-Lehmann, times faster in steps than the
        unnormalized net), speedup_low, speedup_high (90% interval), published, published_steps_millions,
        published_accuracy, published_note.
    """
    rows = []
    for activation in results.activations:
        reference = Variant(BASELINE, activation).name
        if reference not in results.variants:
            continue
        bar = speed.best_accuracy(results, reference)
        own_times = speed.time_to_target(results, reference, target=bar)
        for normalization in results.normalizations:
            roles = (BEST,) if normalization == BASELINE else (*ROLES[1:], BEST)
            for role in roles:
                row = _multiple(results, Variant(normalization, activation), role, bar, own_times)
                rows.append({"activation": activation, "normalization": normalization, "role": role} | row)
    return pd.DataFrame(rows)


def _multiple(
    results: Results, net: Variant, role: str, bar: pd.Series[float], reference: pd.DataFrame
) -> dict[str, Any]:
    """One row of the multiples' table."""
    rate = select.confirm_rate(results, net.name, role)
    best = speed.best_accuracy(results, net.name, role)
    times = speed.time_to_target(results, net.name, role, target=bar)
    times = times[times["seed"].isin(bar.index)]
    effects = speed.log_speedup(reference, times)
    known = net.normalization != BASELINE and len(effects) > 0
    size = estimate(effects["low"].to_numpy(), effects["high"].to_numpy()) if known else None
    name, steps, accuracy = PUBLISHED.get((net.normalization, role, net.activation), ("", np.nan, np.nan))
    return {
        "learning_rate": np.nan if rate is None else rate,
        "n": len(best),
        "bar_accuracy": bar.median(),
        "share_reached": np.isfinite(times["high"]).mean() if len(times) else np.nan,
        "steps": median_value(times["high"], "higher"),
        "best_accuracy": best.mean(),
        "speedup": 10**size.effect if size else np.nan,
        "speedup_low": 10**size.low if size else np.nan,
        "speedup_high": 10**size.high if size else np.nan,
        "published": name,
        "published_steps_millions": steps,
        "published_accuracy": accuracy,
        "published_note": PUBLISHED_NOTE if name else "",
    }


def time_table(results: Results, rng: np.random.Generator) -> pd.DataFrame:
    """Censored times in every confirm cell, with the paired restricted mean against the unnormalized net.

    Returns:
        frame with columns variant, role, learning_rate, n, share_reached, restricted_mean_steps (of
        min(t, T)), and difference, difference_low, difference_high (steps, 95% bootstrap interval;
        negative is faster; NaN for the unnormalized variant or without pairs).
    """
    horizon = speed.budget(results)
    rows = []
    for variant in results.variants:
        own = select.reference_of(results, variant)
        is_reference = own == variant
        reference = pd.Series(dtype=float) if is_reference else _latest_times(results, own)
        for role in (BEST,) if is_reference else ROLES:
            times = _latest_times(results, variant, role)
            if times.empty:
                continue
            rows.append(
                {
                    "variant": variant,
                    "role": role,
                    "learning_rate": select.confirm_rate(results, variant, role),
                    "n": len(times),
                    "share_reached": np.isfinite(times).mean(),
                    "restricted_mean_steps": restricted_mean(times.to_numpy(), horizon),
                    **_restricted_difference(times, reference, horizon, rng),
                }
            )
    return pd.DataFrame(rows)


def _latest_times(results: Results, variant: str, role: str = BEST) -> pd.Series[float]:
    """By seed, the step by which the target was reached, inf for never; empty for a variant not planned."""
    if variant not in results.planned:
        return pd.Series(dtype=float)
    return speed.time_to_target(results, variant, role).set_index("seed")["high"]


def _restricted_difference(
    times: pd.Series[float], reference: pd.Series[float], horizon: float, rng: np.random.Generator
) -> dict[str, float]:
    """Paired difference of restricted means, where there is a pair."""
    seeds = times.index.intersection(reference.index)
    if seeds.empty:
        return {"difference": np.nan, "difference_low": np.nan, "difference_high": np.nan}
    found = restricted_mean_difference(times[seeds].to_numpy(), reference[seeds].to_numpy(), horizon, rng)
    return {"difference": found.value, "difference_low": found.low, "difference_high": found.high}
