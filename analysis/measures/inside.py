"""Measures of what the probes saw inside the network (protocol, 7)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.measures import rates, select
from analysis.measures.matched import at_levels, common_levels, with_training_loss
from analysis.results import Results
from benchmark.contract import (
    BASELINE,
    BEST,
    CLASSIFIER,
    ENDED,
    GRADIENT_NORM,
    LANDSCAPE_SMOOTHNESS,
    WHOLE_NETWORK,
)

GRADIENT_FLOOR = 1e-30
"""Norms below it (exact zeros) are floored, so that they have a logarithm, and flagged."""

GAINS = (0.1, 10.0)
"""The range of init gains that a claim is about (protocol, 9)."""


def attenuation(probes: pd.DataFrame, probe: str = GRADIENT_NORM) -> pd.DataFrame:
    """How fast the gradient dies towards the input, per trial and evaluation.

    The attenuation slope is the least-squares slope of log10 ||dL/dW_l|| on the layer's index, over the
    hidden layers: decades per layer, positive where early layers get less.

    Args:
        probes: rows of `Results.probes`, of any trials and steps.
        probe: what is read per layer in the gradient norm's place.

    Returns:
        frame with columns trial_hash, variant, stage, trial_learning_rate, seed, step, slope (decades per
        layer), first_last_ratio (first layer's norm / last one's), floored (a norm was zero), switched_off (a
        norm was zero though a layer nearer to the input had a gradient: that layer was off, which vanishing
        on the way back to the input cannot make it; as the branches of SkipInit are at first).
    """
    wanted = (probes["probe"] == probe) & in_hidden_layers(probes)
    keys = ["trial_hash", "variant", "stage", "trial_learning_rate", "seed", "step"]
    if not wanted.any():
        return pd.DataFrame(columns=[*keys, "slope", "first_last_ratio", "floored", "switched_off"])
    norms = probes[wanted].pivot_table(index=keys, columns="index", values="value", dropna=False).dropna()
    values = norms.to_numpy(dtype=float)
    logs = np.log10(np.maximum(values, GRADIENT_FLOOR))
    depth = norms.columns.to_numpy(dtype=float)
    depth -= depth.mean()
    summary = norms.index.to_frame(index=False)
    summary["slope"] = logs @ depth / (depth @ depth)
    summary["first_last_ratio"] = 10 ** (logs[:, 0] - logs[:, -1])
    is_zero = values < GRADIENT_FLOOR
    reached = np.logical_or.accumulate(~is_zero, axis=1)
    summary["floored"] = pd.Series(is_zero.any(axis=1), dtype=bool)
    summary["switched_off"] = pd.Series((is_zero & reached).any(axis=1), dtype=bool)
    return summary


def in_hidden_layers(probes: pd.DataFrame) -> pd.Series[bool]:
    """Where a probe's row is of a hidden layer: a convolution, or a hidden layer of an mlp.

    Not the classifier, nor the network as a whole (whose index is -1).
    """
    return (probes["index"] >= 0) & ~probes["layer"].isin((CLASSIFIER, WHOLE_NETWORK))


@lru_cache(maxsize=select.CACHED)
def attenuation_at_init(results: Results, variant: str, probe: str = GRADIENT_NORM) -> pd.DataFrame:
    """Per sweep seed, the attenuation slope at init. Init does not depend on the rate: the lowest one's.

    Returns:
        frame with columns seed, value (decades per layer; smaller is better), floored, switched_off.
    """
    probes = select.probe_rows(results, probe, variant)
    at_init = probes[(probes["step"] == 0) & (probes["stage"] == "sweep")]
    slopes = attenuation(at_init, probe).sort_values("trial_learning_rate").drop_duplicates("seed")
    slopes = slopes.sort_values("seed")
    return slopes.rename(columns={"slope": "value"})[["seed", "value", "floored", "switched_off"]]


def smoothness_ratio(
    results: Results, reference: str, variant: str, at: str = select.SAME_RATE, normalization: str = BASELINE
) -> pd.DataFrame:
    """Per confirm seed, log10 of the reference's smoothness by the variant's, at equal training loss.

    Effective smoothness is max ||grad(w - a g) - g|| / ||a g|| along the gradient, after Santurkar et al.
    (1805.11604), of the walk with the same steps for both. Its logarithm is read where a net's clean training
    loss first falls to each of the levels that both pass; the median over the levels counts. Read at equal
    steps, a net on a plateau would pass for smooth.

    Args:
        results: of a study with landscape probes.
        reference: the variant that is compared with.
        variant: whose.
        at: the role of the variant's confirm cell.
        normalization: of the reference, which `at` goes by.

    Returns:
        frame with columns seed, low, high (decades, greater: the variant is smoother; (-inf, inf) for a pair
        of which one did not train or whose losses share no level), num_levels.
    """
    traces: list[dict[int, pd.DataFrame]] = []
    seeds: list[set[int]] = []
    for name, role in ((reference, BEST), (variant, at)):
        trials = select.confirm_trials(results, name, role, normalization)
        probes = select.probe_rows(results, LANDSCAPE_SMOOTHNESS, name)
        trained = trials.loc[trials["status"] == "trained", "trial_hash"]
        rows = with_training_loss(results, probes[probes["trial_hash"].isin(trained) & (probes["value"] > 0)])
        traces.append({int(str(seed)): own for seed, own in rows.groupby("seed")})
        seeds.append(set(trials["seed"].astype(int)))
    found = []
    for seed in sorted(seeds[0] & seeds[1]):
        pair = [own[seed] for own in traces if seed in own]
        levels = common_levels([own["clean_train_loss"] for own in pair]) if len(pair) == 2 else np.empty(0)
        if levels.size == 0:
            found.append((seed, -np.inf, np.inf, 0))
            continue
        logs = [at_levels(own["clean_train_loss"], np.log10(own["value"]), levels) for own in pair]
        ratio = float(np.median(logs[0] - logs[1]))
        found.append((seed, ratio, ratio, levels.size))
    return pd.DataFrame(found, columns=["seed", "low", "high", "num_levels"])


def steps_along_the_gradient(results: Results) -> str | None:
    """None, or why a walk along the gradient says nothing of this study's steps."""
    name = results.study["optimizer"]["name"]
    if name == "sgd":
        return None
    return (
        f"the study trains with {name}, whose steps do not follow the gradient: a learning rate times it is "
        "no step of theirs; a study with sgd asks this"
    )


def layer_profile(results: Results, probe: str, at: str = BEST) -> pd.DataFrame:
    """A per-layer probe in every variant's confirm trials.

    Returns:
        frame with columns variant, seed, step, layer, index, value.
    """
    hashes = pd.concat([select.confirm_trials(results, v, at)["trial_hash"] for v in results.variants])
    probes = results.probes
    rows = probes[(probes["probe"] == probe) & probes["trial_hash"].isin(hashes)]
    return rows[["variant", "seed", "step", "layer", "index", "value"]].reset_index(drop=True)


def gain_stability(results: Results, variant: str, stable: pd.Series[bool]) -> pd.DataFrame:
    """Per sweep seed, the share of init gains at which a variant is stable at its eta*.

    The network's own gain, 1, is the sweep's trial at that rate; the others are of the gains stage.

    Args:
        results: of a study that varies `init.gains`.
        variant: whose.
        stable: per trial, indexed like `results.trials`.

    Returns:
        frame with columns seed, value (share of the gains; greater is better), low, high (share of their
        range, see `share_of_range`), num_gains (with an outcome).
    """
    rate = select.best_rate(results, variant)
    trials = results.trials
    if rate is None:
        return pd.DataFrame(columns=["seed", "value", "low", "high", "num_gains"])
    own = trials.assign(counted=stable, level=np.log10(trials["init_gain"]))[
        (trials["variant"] == variant)
        & trials["init_gain"].isin(planned_gains(results))
        & trials["status"].isin(ENDED)
        & trials["seed"].isin(select.sweep_seeds(results))
        & select.same_rate(trials["learning_rate"], rate)
    ].drop_duplicates(["seed", "init_gain"])
    shares = rates.shares_by_seed(own)
    return shares.assign(num_gains=shares["seed"].map(own.groupby("seed").size()))


def planned_gains(results: Results) -> list[float]:
    """The study's init gains within the range that the claim is about; empty where it varies none."""
    low, high = GAINS
    gains = [float(gain) for gain in results.study.get("init", {}).get("gains", [])]
    within = [gain for gain in gains if low <= gain <= high]
    return within if len(within) > 1 else []
