"""Where refinement came upon a better rate than eta*."""

import dataclasses

import numpy as np
import pytest
from synthetic_results import make_results

from analysis import stats
from analysis.claims import better_rates_frame
from analysis.claims._better_rates import better_rate
from analysis.measures import select

VARIANT, REFERENCE = "batch-relu", "none-relu"


@pytest.fixture(scope="module")
def made():
    return make_results(activations=("relu",))


def refined_rates(results, variant=VARIANT):
    """The rates that refinement tried, by how many seeds tried them, the most first."""
    refined = select.ended_trials(results, "refine", variant=variant)
    return refined.groupby("learning_rate").size().sort_values(ascending=False, kind="stable")


def with_losses(results, rate, loss, variant=VARIANT):
    """The results, had a refined rate this final loss under every seed that tried it."""
    trials = results.trials.copy()
    there = (trials["variant"] == variant) & (trials["stage"] == "refine") & (trials["learning_rate"] == rate)
    trials.loc[there, ["final_val_loss", "status"]] = [loss, "trained"]
    return dataclasses.replace(results, trials=trials), trials[there]


def test_there_is_none_where_none_has_a_smaller_loss(made):
    rate = refined_rates(made).index[0]
    worse, _ = with_losses(made, rate, 2.0)
    trials = worse.trials
    refined = trials["stage"] == "refine"
    worse = dataclasses.replace(
        worse, trials=trials.assign(final_val_loss=trials["final_val_loss"] + 2.0 * refined)
    )
    assert better_rate(worse, VARIANT) is None
    assert better_rates_frame(worse).empty


def test_it_is_named_with_its_loss_beside_the_grids_best_over_the_same_seeds(made):
    rate = refined_rates(made).index[0]
    results, there = with_losses(made, rate, 0.001)
    found = better_rate(results, VARIANT)
    assert (found.rate, found.loss, len(found.seeds)) == (rate, pytest.approx(0.001), len(there))
    sweep = select.ended_trials(results, "sweep", variant=VARIANT)
    best = sweep[np.isclose(sweep["learning_rate"], select.best_rate(results, VARIANT))]
    same_seeds = best[best["seed"].isin(there["seed"])]["final_val_loss"]
    assert found.loss_at_best == pytest.approx(same_seeds.mean())


def test_a_rate_that_few_seeds_tried_is_none(made):
    rate = refined_rates(made).index[0]
    results, there = with_losses(made, rate, 0.001)
    for kept, is_found in ((4, True), (3, False)):  # of eight
        dropped = there["trial_hash"].iloc[kept:]
        fewer = dataclasses.replace(
            results, trials=results.trials[~results.trials["trial_hash"].isin(dropped)]
        )
        found = better_rate(fewer, VARIANT)
        assert (found is not None and found.rate == rate) == is_found


def first_evaluation_at(results, trial_hash, target):
    curve = results.curves[results.curves["trial_hash"] == trial_hash].sort_values("step")
    steps, there = curve["step"].to_numpy(), curve["val_accuracy"].to_numpy() >= target
    budget = results.study["budget"]["num_steps"]
    if not there.any():
        return budget, np.inf
    last = int(there.argmax())
    return steps[max(last - 1, 0)], steps[last]


def test_the_effect_is_that_of_its_trials_against_the_others_at_their_best(made):
    rate = refined_rates(made).index[0]
    results, there = with_losses(made, rate, 0.001)
    row = better_rates_frame(results).set_index("claim").loc["faster-at-best-rate"]
    assert f"{VARIANT} at {rate:.3g} (loss 0.001" in row["instead"]
    assert row["n"] == len(there)
    target = results.decisions["targets"]["relu"]["accuracy"]
    sweep = select.ended_trials(results, "sweep", variant=REFERENCE)
    plain = sweep[np.isclose(sweep["learning_rate"], select.best_rate(results, REFERENCE))].set_index("seed")
    low, high = [], []
    with np.errstate(divide="ignore"):
        for seed, trial in there.sort_values("seed").set_index("seed")["trial_hash"].items():
            own = np.log10(first_evaluation_at(results, trial, target))
            its = np.log10(first_evaluation_at(results, plain.loc[seed, "trial_hash"], target))
            low.append(its[0] - own[1])
            high.append(its[1] - own[0])
    low, high = (
        np.nan_to_num(ends, nan=nan, posinf=np.inf, neginf=-np.inf)
        for ends, nan in ((low, -np.inf), (high, np.inf))
    )
    expected = stats.estimate(low, high)
    assert (row["low"], row["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert row["effect"] == pytest.approx(expected.effect, nan_ok=True)


def test_only_claims_at_the_best_rate_are_asked(made):
    results, _ = with_losses(made, refined_rates(made).index[0], 0.001)
    assert list(better_rates_frame(results)["claim"]) == [
        "faster-at-best-rate",
        "worth-its-cost",
        "regularizes",
    ]
