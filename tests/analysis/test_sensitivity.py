import dataclasses

import numpy as np
import pytest
from synthetic_results import CHANCE, make_results

from analysis.claims import _alternatives as alternatives
from analysis.claims import judge, selection_flips, selection_shares, sensitivity_table, with_robustness
from analysis.measures import confirm_trials, generalization_gap, time_to_target
from analysis.stats import estimate


@pytest.fixture(scope="module")
def results():
    return make_results(activations=("relu",))


def rows_of(table, claim):
    return table[table["claim"] == claim].set_index("choice")


def test_the_protocols_own_choice_comes_first_and_never_flips(results):
    table = sensitivity_table(results)
    for _, rows in table.groupby("claim"):
        assert rows["choice"].iloc[0] == "as the protocol says"
        assert not rows["flips"].iloc[0]
    assert rows_of(table, "higher-learning-rate").index.size == 7
    assert not rows_of(table, "higher-learning-rate")["flips"].any()


def test_the_studys_own_rho_is_no_other_choice(results):
    loose = results.study | {"judge": results.study["judge"] | {"rho": 0.5}}
    for study, own, other in ((results.study, 0.9, 0.5), (loose, 0.5, 0.9)):
        rows = rows_of(sensitivity_table(dataclasses.replace(results, study=study)), "higher-learning-rate")
        shares = [name for name in rows.index if "rho" in name]
        assert len(shares) == 1, own
        assert f"rho {other}" in shares[0]


def test_one_threshold_for_both_nets_is_the_unnormalized_ones(results):
    decided = results.decisions["variants"]
    changed = alternatives.with_common_threshold(results).decisions["variants"]
    assert decided["batch-relu"]["stability_threshold"] != decided["none-relu"]["stability_threshold"]
    assert {name: of["stability_threshold"] for name, of in changed.items()} == dict.fromkeys(
        decided, decided["none-relu"]["stability_threshold"]
    )


def test_a_verdict_that_hangs_on_moving_averages_is_marked(results):
    trials = results.trials
    # by moving average, the normalized net is no good above the unnormalized one's highest rate
    spoiled = (trials["variant"] == "batch-relu") & (trials["learning_rate"] > 0.3)
    ema = trials["final_val_accuracy_ema"].where(~spoiled, CHANCE + 0.2)
    changed = dataclasses.replace(results, trials=trials.assign(final_val_accuracy_ema=ema))
    rows = rows_of(sensitivity_table(changed), "higher-learning-rate")
    assert rows["flips"].to_dict() == {choice: choice.startswith("moving-average") for choice in rows.index}
    primary, *_ = with_robustness(judge(changed), sensitivity_table(changed))
    averages = rows[rows["flips"]].iloc[0]
    assert primary.outcome == "SUPPORTED"
    assert primary.robustness.brief == "holds under 5 of 6 other choices; not by moving averages"
    low, high = (f"{10 ** averages[end]:.3g}" for end in ("low", "high"))
    assert primary.in_full.endswith(
        f". Holds under 5 of 6 other choices; not by moving averages ({averages['outcome']}: "
        f"{10 ** averages['effect']:.3g} times, {low} to {high} times)."
    )


def test_what_other_choices_would_settle_is_told_of_an_open_verdict():
    results = make_results(activations=("relu",), edges={"batch-relu": -0.3})
    table = sensitivity_table(results)
    of_primary = (table["claim"] == "higher-learning-rate") & (table["choice"] != "as the protocol says")
    told = table.copy()
    told.loc[of_primary, "outcome"] = "INCONCLUSIVE"
    told.loc[told.index[of_primary][0], ["outcome", "low"]] = ["SUPPORTED", 0.5]
    primary, *_ = with_robustness(judge(results), told)
    assert primary.outcome == "INCONCLUSIVE"
    assert primary.robustness.brief == "stays open under 5 of 6 other choices; but SUPPORTED at rho 0.5"


def test_the_gap_is_judged_at_multiples_of_the_matched_loss_too(results):
    rows = rows_of(sensitivity_table(results), "regularizes")
    assert rows.index.tolist() == [
        "as the protocol says",
        *(f"at {factor} times the matched training loss" for factor in (1.1, 1.25, 1.5)),
    ]
    gap = generalization_gap(results, "none-relu", "batch-relu", factor=1.25)
    row = rows.loc["at 1.25 times the matched training loss"]
    assert row["effect"] == pytest.approx(estimate(gap["low"], gap["high"]).effect)
    assert row["effect"] != rows["effect"].iloc[0]


def test_gradients_are_judged_in_a_unit_that_no_scale_changes_too():
    results = make_results(activations=("sigmoid",), with_probes=True)
    probes = results.probes
    # the same slopes of the norms, but weights that shrink by a decade per layer in the normalized net
    shrinks = (probes["probe"] == "gradient_times_weight") & (probes["variant"] == "batch-sigmoid")
    values = probes["value"].where(~shrinks, probes["value"] * 10.0 ** probes["index"])
    changed = dataclasses.replace(results, probes=probes.assign(value=values))
    rows = rows_of(sensitivity_table(changed), "no-vanishing-gradient")
    as_is, other = rows["effect"]
    assert other == pytest.approx(as_is - 1)
    assert rows["flips"].tolist() == [False, True]


def test_nothing_is_said_of_choices_where_nothing_was_judged():
    results = make_results(activations=("relu",), untrainable=("none-relu",))
    verdicts = with_robustness(judge(results), sensitivity_table(results))
    assert all(verdict.robustness is None for verdict in verdicts if verdict.outcome == "NOT EVALUABLE")
    assert verdicts[0].in_full == verdicts[0].sentence


def test_a_study_with_another_optimizer_is_a_row_of_the_primary_claim(results):
    same = dataclasses.replace(
        results, study=results.study | {"optimizer": {"name": "rmsprop", "rho": 0.9}}, study_hash="0000aaaa"
    )
    # with this one, normalization moves the edge by no more than the grid steps over
    level = make_results(activations=("relu",), edges={"none-relu": 0.0, "batch-relu": 0.0})
    heavier = dataclasses.replace(
        level,
        study=level.study | {"optimizer": level.study["optimizer"] | {"momentum": 0.99}},
        study_hash="0000bbbb",
    )
    table = sensitivity_table(dataclasses.replace(results, siblings=(same, heavier)))
    added = table[table["choice"].str.startswith("optimizer")].set_index("choice")
    rmsprop = "optimizer rmsprop instead of sgd (study hash 0000aaaa)"
    momentum = "optimizer sgd with momentum 0.99 instead of 0.9 (study hash 0000bbbb)"
    assert added.index.tolist() == [rmsprop, momentum]
    assert set(added["claim"]) == {"higher-learning-rate"}
    assert added["outcome"].to_dict() == {rmsprop: "SUPPORTED", momentum: "REFUTED"}
    assert added["flips"].to_dict() == {rmsprop: False, momentum: True}


def test_rho_moves_the_threshold_and_nothing_else(results):
    decided = results.decisions["variants"]["none-relu"]
    changed = alternatives.with_rho(results, 0.5).decisions["variants"]["none-relu"]
    expected = CHANCE + 0.5 * (decided["best_cell_accuracy"] - CHANCE)
    assert changed == decided | {"stability_threshold": pytest.approx(expected)}


def test_the_protocols_target_is_the_95_percent_of_the_median(results):
    unchanged = alternatives.with_target(results).decisions["targets"]["relu"]
    assert unchanged["accuracy"] == pytest.approx(results.decisions["targets"]["relu"]["accuracy"])
    levels = [
        alternatives.with_target(results, share=share).decisions["targets"]["relu"]["accuracy"]
        for share in (0.9, 0.95, 0.99)
    ]
    assert levels == sorted(levels)


def test_the_median_cell_ignores_one_bad_seed(results):
    trials = results.trials.copy()
    at_best = trials.query("variant == 'none-relu' and stage == 'sweep' and learning_rate == 0.1").index
    trials.loc[at_best[0], "final_val_accuracy"] = CHANCE
    changed = alternatives.with_median_cells(dataclasses.replace(results, trials=trials))
    median = trials.loc[at_best, "final_val_accuracy"].median()
    assert changed.decisions["variants"]["none-relu"]["best_cell_accuracy"] == pytest.approx(median)


def test_selection_shares_are_shares_and_a_clear_choice_is_always_picked(results):
    shares = selection_shares(results, np.random.default_rng(0))
    assert shares.groupby("variant")["share"].sum().tolist() == pytest.approx([1.0, 1.0])
    assert shares.loc[shares["selected"], "share"].tolist() == [1.0, 1.0]
    assert selection_flips(results, shares).empty


def test_two_rates_that_are_as_good_share_the_bootstraps(results):
    trials = results.trials.copy()
    own = (trials["variant"] == "batch-relu") & (trials["stage"] == "sweep")
    losses = {seed: (0.125, 0.25) if seed % 2 else (0.25, 0.125) for seed in range(8)}
    for position, rate in enumerate((0.1, 1.0)):
        at_rate = own & (trials["learning_rate"] == rate)
        trials.loc[at_rate, "final_val_loss"] = [
            losses[seed][position] for seed in trials.loc[at_rate, "seed"]
        ]
    changed = dataclasses.replace(results, trials=trials)
    shares = selection_shares(changed, np.random.default_rng(0)).set_index(["variant", "learning_rate"])[
        "share"
    ]
    # ties (as many even as odd seeds, 70 of 256 draws of 8) go to the lower rate
    assert shares[("batch-relu", 1.0)] == pytest.approx((1 - 70 / 256) / 2, abs=0.04)
    assert shares[("batch-relu", 0.1)] + shares[("batch-relu", 1.0)] == pytest.approx(1.0)


def test_a_rate_that_fewer_than_half_train_at_is_not_selected(results):
    trials = results.trials.copy()
    own = (
        (trials["variant"] == "batch-relu") & (trials["stage"] == "sweep") & (trials["learning_rate"] == 1.0)
    )
    trials.loc[own, "status"] = "stuck"
    shares = selection_shares(dataclasses.replace(results, trials=trials), np.random.default_rng(0))
    assert shares.set_index(["variant", "learning_rate"]).loc[("batch-relu", 1.0), "share"] == 0


def test_claims_at_another_rate_are_read_from_the_sweep(results):
    shares = selection_shares(results, np.random.default_rng(0))
    rival = (shares["variant"] == "batch-relu") & (shares["learning_rate"] == 0.01)
    shares.loc[rival, "share"] = 0.25
    flips = selection_flips(results, shares).set_index("claim")
    # the rate of the unnormalized net stays, so faster-at-same-rate is not asked again
    assert set(flips.index) == {"faster-at-best-rate", "regularizes", "worth-its-cost"}
    assert flips.loc["faster-at-best-rate", "protocol_outcome"] == "SUPPORTED"
    assert flips.loc["faster-at-best-rate", "outcome"] == "REFUTED"
    assert flips.loc["faster-at-best-rate", "flips"]


def test_at_sweep_rates_confirms_with_the_sweeps_own_curves(results):
    there = alternatives.at_sweep_rates(results, {"none-relu": 0.1, "batch-relu": 1.0})
    assert confirm_trials(there, "batch-relu", "x1")["learning_rate"].unique().tolist() == [0.1]
    assert confirm_trials(there, "batch-relu")["seed"].tolist() == list(range(1000, 1008))
    assert len(time_to_target(there, "batch-relu")) == 8
