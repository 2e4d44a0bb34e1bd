import dataclasses

import numpy as np
import pandas as pd
import pytest
from synthetic_results import CHANCE, LOSS_CAP, make_results

from analysis import measures
from analysis.measures import quality, rates


@pytest.fixture(scope="module")
def results():
    return make_results(activations=("relu",), with_probes=True)


def with_sweep(results, variant, outcomes, threshold=0.8, best=None):
    """Results whose only trials are one seed of one variant: {rate: (status, accuracy)}."""
    rows = [
        {
            "trial_hash": f"h{i}",
            "variant": variant,
            "stage": "sweep" if i % 2 == 0 else "refine",
            "seed": 0,
            "learning_rate": rate,
            "init_gain": 1.0,
            "status": status,
            "final_val_accuracy": accuracy,
            "final_val_loss": 1.0,
        }
        for i, (rate, (status, accuracy)) in enumerate(outcomes.items())
    ]
    decided = {"stability_threshold": threshold, "best_learning_rate": best, "best_cell_accuracy": 0.9}
    trials = pd.DataFrame(rows).reindex(columns=results.trials.columns)
    return dataclasses.replace(
        results, trials=trials, decisions=results.decisions | {"variants": {variant: decided}}
    )


GOOD, BAD, GONE = ("trained", 0.9), ("trained", 0.5), ("diverged", 0.1)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({0.01: GOOD, 0.1: GOOD, 0.316: GONE, 1.0: GONE}, (-1.0, np.log10(0.316))),
        ({0.01: GOOD, 0.1: GOOD}, (-1.0, np.inf)),
        ({0.01: BAD, 0.1: GONE}, (-np.inf, np.inf)),
        # A stable rate above an unstable one counts: the highest stable rate tried.
        ({0.01: GOOD, 0.1: GONE, 1.0: GOOD, 10.0: GONE}, (0.0, 1.0)),
        # A failed trial says nothing: the next rate that was really tried bounds the edge.
        ({0.01: GOOD, 0.1: ("failed", np.nan), 1.0: GONE}, (-2.0, 0.0)),
    ],
)
def test_max_stable_rate_is_bracketed_by_the_rates_tried(results, outcomes, expected):
    found = measures.max_stable_rate(with_sweep(results, "batch-relu", outcomes), "batch-relu")
    assert tuple(found.loc[0, ["low", "high"]]) == pytest.approx(expected)


def test_contiguous_max_stable_rate_stops_at_the_first_unstable_rate_above_the_best(results):
    outcomes = {0.001: GONE, 0.01: GOOD, 0.1: GOOD, 1.0: GONE, 10.0: GOOD, 100.0: GONE}
    changed = with_sweep(results, "batch-relu", outcomes, best=0.01)
    found = measures.max_stable_rate(changed, "batch-relu", contiguous=True)
    assert tuple(found.loc[0, ["low", "high"]]) == pytest.approx((-1.0, 0.0))
    no_best = with_sweep(results, "batch-relu", outcomes, best=None)
    found = measures.max_stable_rate(no_best, "batch-relu", contiguous=True)
    assert tuple(found.loc[0, ["low", "high"]]) == (-np.inf, np.inf)


def test_stability_needs_training_and_rho_of_the_best_accuracy(results):
    outcomes = {0.01: ("stuck", 0.9), 0.1: ("trained", 0.79), 1.0: ("trained", 0.81), 10.0: GONE}
    changed = with_sweep(results, "batch-relu", outcomes)
    assert measures.stability(changed).tolist() == [False, False, True, False]
    assert measures.stability(changed, rho=0.5).tolist() == [False, True, True, False]
    assert measures.stability(changed, rho="trained").tolist() == [False, True, True, False]
    # 1/K + rho (best - 1/K) with K = 10 and best = 0.9
    assert measures.stability_threshold(changed, "batch-relu", rho=0.5) == pytest.approx(0.5)


def test_nothing_is_known_to_be_stable_before_the_threshold_is_decided(results):
    undecided = dataclasses.replace(results, decisions={})
    assert not measures.stability(undecided).any()


def test_stable_band_has_both_edges_as_intervals(results):
    outcomes = {0.001: GONE, 0.01: GOOD, 0.1: GOOD, 1.0: GONE}
    band = measures.stable_band(with_sweep(results, "batch-relu", outcomes), "batch-relu").loc[0]
    assert (band["low"], band["high"]) == pytest.approx((1.0, 3.0))
    open_ended = {0.01: GOOD, 0.1: GOOD, 1.0: GONE}
    band = measures.stable_band(with_sweep(results, "batch-relu", open_ended), "batch-relu").loc[0]
    assert (band["low"], band["high"]) == (1.0, np.inf)
    never = measures.stable_band(with_sweep(results, "batch-relu", {0.1: GONE}), "batch-relu").loc[0]
    assert (never["low"], never["high"]) == (-np.inf, np.inf)


def test_failure_share_counts_stuck_and_diverged_rates_of_the_sweep(results):
    sweep_and_refine = {0.001: ("stuck", 0.1), 0.05: GONE, 0.01: BAD, 0.5: GONE, 0.1: GOOD, 5.0: GONE}
    changed = with_sweep(results, "batch-relu", sweep_and_refine)
    share = measures.failure_share(changed, "batch-relu").loc[0]
    assert share["value"] == pytest.approx(1 / 3)
    # Swept 0.001 (fails), 0.01, 0.1: the lower of the two gaps may fail in part, the upper does not.
    assert (share["low"], share["high"]) == pytest.approx((0.0, 0.5))


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ("yyyy", (1.0, 1.0)),
        ("nnnn", (0.0, 0.0)),
        ("yyny", (0.25, 1.0)),
        ("nnny", (0.0, 0.5)),
        ("y", (0.0, 1.0)),
    ],
)
def test_a_share_of_a_range_is_known_to_the_gaps_between_what_was_tried(counted, expected):
    levels = np.array([0.0, 1.0, 2.0, 4.0])[: len(counted)]
    found = rates.share_of_range(levels, np.array([mark == "y" for mark in counted]))
    assert found == pytest.approx(expected)


def test_learning_rate_sensitivity_caps_losses_and_subtracts_the_least_cell():
    results = make_results(activations=("relu",), seeds=2)
    losses = {1e-3: 5.0, 1e-2: 1.0, 1e-1: 0.5, 1.0: np.nan, 10.0: LOSS_CAP, 100.0: LOSS_CAP}
    trials = results.trials.assign(final_val_loss=results.trials["learning_rate"].map(losses))
    changed = dataclasses.replace(results, trials=trials)
    expected = (4 * LOSS_CAP + 1.0 + 0.5) / 6 - 0.5
    assert measures.learning_rate_sensitivity(changed, "none-relu") == pytest.approx(expected)


def curve_of(accuracies, every=10, **columns):
    steps = np.arange(len(accuracies)) * every
    return pd.DataFrame(
        {
            "step": steps,
            "examples": steps * 64,
            "val_accuracy": accuracies,
            "val_loss": 1.0,
            **columns,
        }
    )


def with_confirm_curve(results, variant, curve, status="trained"):
    """Results whose only confirm trial of a variant at its best rate has this curve."""
    trial = measures.confirm_trials(results, variant).iloc[[0]].assign(status=status)
    keys = {"trial_hash": trial["trial_hash"].iloc[0], "variant": variant, "seed": trial["seed"].iloc[0]}
    return dataclasses.replace(
        results,
        trials=trial,
        steps_s={variant: (0.5, 0.25)},
        curves=curve.assign(**keys).reindex(columns=results.curves.columns),
    )


@pytest.mark.parametrize(
    ("accuracies", "unit", "expected"),
    [
        ([0.1, 0.4, 0.6, 0.3, 0.7], "steps", (10, 20)),  # the first arrival, though it falls back later
        ([0.1, 0.4, 0.6, 0.3, 0.7], "examples", (640, 1280)),
        ([0.1, 0.4, 0.6, 0.3, 0.7], "seconds", (5, 10)),
        ([0.1, 0.5], "steps", (0, 10)),  # at the target counts as there
        ([0.1, 0.4, 0.4], "steps", (200, np.inf)),  # censored at the budget, though the curve stopped early
        ([0.1, 0.4, 0.4], "examples", (200 * 64, np.inf)),
        ([0.1, 0.4, 0.4], "seconds", (100, np.inf)),
    ],
)
def test_time_to_target_is_the_interval_of_the_first_arrival(results, accuracies, unit, expected):
    changed = with_confirm_curve(results, "batch-relu", curve_of(accuracies))
    found = measures.time_to_target(changed, "batch-relu", unit=unit, target=0.5)
    assert tuple(found.loc[0, ["low", "high"]]) == expected


def test_each_seeds_seconds_are_counted_by_a_round_of_its_own(results):
    rounds = tuple(0.001 * 2.0**number for number in range(8))
    timed = dataclasses.replace(results, steps_s={"batch-relu": rounds})
    steps = measures.time_to_target(timed, "batch-relu").set_index("seed")
    seconds = measures.time_to_target(timed, "batch-relu", unit="seconds").set_index("seed")
    factors = seconds["high"] / steps["high"]
    assert np.isfinite(factors).all()
    assert sorted(factors) == pytest.approx(rounds)


@pytest.mark.parametrize("seed", range(20))
def test_shifting_a_curve_later_never_shortens_its_time_to_target(results, seed):
    rng = np.random.default_rng(seed)
    accuracies = rng.uniform(0, 1, size=15).cumsum() / 10
    target = rng.uniform(0.1, 0.9)
    ends = []
    for shift in range(4):
        shifted = np.concatenate([np.full(shift, 0.0), accuracies])[: len(accuracies)]
        changed = with_confirm_curve(results, "batch-relu", curve_of(shifted))
        ends.append(measures.time_to_target(changed, "batch-relu", target=target).loc[0, ["low", "high"]])
    ends = np.array(ends, dtype=float)
    assert (np.diff(ends[:, 0]) >= 0).all()
    assert (ends[1:, 1] >= ends[:-1, 1]).all()


def test_log_speedup_spans_what_two_censored_times_allow():
    reference = pd.DataFrame(
        {"seed": [1, 2, 3, 4], "low": [90, 200, 200, 0], "high": [100, np.inf, np.inf, 10]}
    )
    times = pd.DataFrame({"seed": [1, 2, 3, 4], "low": [9, 9, 200, 0], "high": [10, 10, np.inf, 10]})
    found = measures.log_speedup(reference, times)
    assert found["low"].tolist() == pytest.approx([np.log10(9), np.log10(20), -np.inf, -np.inf])
    assert found["high"].tolist() == pytest.approx([np.log10(100 / 9), np.inf, np.inf, np.inf])


def test_anytime_accuracy_counts_chance_after_a_divergence(results):
    curve = curve_of([0.1, 0.9, 0.9], every=50, val_loss=[1.0, 1.0, np.nan])
    changed = with_confirm_curve(results, "batch-relu", curve, status="diverged")
    # trapezoids over T = 200: (0.1 + 0.9)/2 over 50, (0.9 + 0.1)/2 over 50, 0.1 over 100
    expected = (25 + 25 + 10) / 200
    assert measures.anytime_accuracy(changed, "batch-relu")["value"].tolist() == pytest.approx([expected])


def test_gap_is_read_at_the_first_crossing_by_linear_interpolation():
    curve = pd.DataFrame({"clean_train_loss": [2.0, 1.0, 0.5, 1.2], "val_loss": [2.2, 1.4, 1.1, 9.0]})
    assert measures.gap_at(curve, 0.75) == pytest.approx(1.25 - 0.75)
    assert measures.gap_at(curve, 2.5) == pytest.approx(0.2)  # met before the first step
    assert measures.gap_at(curve, 0.5) == pytest.approx(0.6)


def test_generalization_gap_matches_at_the_higher_of_the_two_minima(results):
    found = measures.generalization_gap(results, "none-relu", "batch-relu").iloc[0]
    minima = []
    for variant in ("none-relu", "batch-relu"):
        trials = measures.confirm_trials(results, variant)
        curves = measures.curves_of(results, trials)
        minima.append(curves.loc[curves["seed"] == found["seed"], "clean_train_loss"].min())
    assert found["training_loss"] == max(minima)
    assert found["low"] == found["high"] == found["gap_reference"] - found["gap_variant"]


def test_at_a_multiple_of_the_matched_loss_the_curves_are_read_earlier(results):
    at = {
        factor: measures.generalization_gap(results, "none-relu", "batch-relu", factor=factor)
        for factor in (1.0, 1.5, 1000.0)
    }
    assert at[1.5]["training_loss"].to_numpy() == pytest.approx(1.5 * at[1.0]["training_loss"].to_numpy())
    curves = {
        name: measures.curves_of(results, measures.confirm_trials(results, name)).groupby("seed")
        for name in ("none-relu", "batch-relu")
    }
    for row in at[1.5].to_dict("records"):
        gaps = [measures.gap_at(own.get_group(row["seed"]), row["training_loss"]) for own in curves.values()]
        assert row["low"] == row["high"] == pytest.approx(gaps[0] - gaps[1])
    # a loss above that of the untrained nets is crossed by none
    assert (at[1000.0]["low"] == -np.inf).all()
    assert (at[1000.0]["high"] == np.inf).all()


def test_a_pair_with_an_untrained_trial_says_nothing_about_the_gap(results):
    lost = measures.confirm_trials(results, "batch-relu")["trial_hash"].iloc[2]
    status = results.trials["status"].where(results.trials["trial_hash"] != lost, "stuck")
    changed = dataclasses.replace(results, trials=results.trials.assign(status=status))
    found = measures.generalization_gap(changed, "none-relu", "batch-relu")
    assert tuple(found.loc[2, ["low", "high"]]) == (-np.inf, np.inf)
    assert np.isfinite(found.drop(index=2)[["low", "high"]]).all(axis=None)


@pytest.mark.parametrize(
    ("last", "expected"),
    [(1.0, (0, 1)), (6.0, (0, 1)), (6.1, (1, 1))],
)
def test_a_spike_exceeds_the_last_ten_by_five_mads(last, expected):
    # median 1, and MAD 1: half of the distances are 0 or 2 around it
    before = np.array([0.0, 2.0] * 5)
    assert quality.count_spikes(np.append(before, last)) == expected
    assert quality.count_spikes(before) == (0, 0)


def test_expected_maximum_is_the_mean_of_all_draws_with_replacement():
    scores = [0.3, 0.9, 0.5]
    pairs = [max(a, b) for a in scores for b in scores]
    triples = [max(a, b, c) for a in scores for b in scores for c in scores]
    expected = [np.mean(scores), np.mean(pairs), np.mean(triples)]
    assert measures.expected_maximum(scores) == pytest.approx(expected)
    assert measures.expected_maximum([]).size == 0


def test_best_after_k_starts_at_the_mean_rate_and_grows(results):
    found = measures.best_after_k(results, "none-relu")
    sweep = results.trials.query("variant == 'none-relu' and stage == 'sweep'")
    cells = sweep.groupby("learning_rate")["final_val_accuracy"].mean()
    assert found["k"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["value"].iloc[0] == pytest.approx(cells.mean())
    assert (found["value"].diff().dropna() > 0).all()


def gradient_norms(norms, layers=("conv1", "conv2", "conv3", "dense")):
    return pd.DataFrame(
        {
            "trial_hash": "h",
            "variant": "none-sigmoid",
            "stage": "sweep",
            "trial_learning_rate": 0.1,
            "seed": 0,
            "step": 0,
            "probe": "gradient_norm",
            "layer": layers,
            "index": range(len(layers)),
            "value": norms,
        }
    )


def test_attenuation_slope_is_decades_per_convolution():
    found = measures.attenuation(gradient_norms([1e-4, 1e-2, 1.0, 1e9])).iloc[0]
    assert found["slope"] == pytest.approx(2.0)
    assert found["first_last_ratio"] == pytest.approx(1e-4)
    assert not found["floored"]
    noisy = np.array([3e-4, 2e-2, 5.0, 1.0])
    expected = np.polyfit([0, 1, 2], np.log10(noisy[:3]), 1)[0]
    assert measures.attenuation(gradient_norms(noisy))["slope"].iloc[0] == pytest.approx(expected)


def test_the_hidden_layers_of_an_mlp_count_and_its_classifier_and_the_whole_do_not():
    layers = ("all", "hidden1", "hidden2", "hidden3", "dense")
    probes = gradient_norms([1e7, 1e-4, 1e-2, 1.0, 1e9], layers).assign(index=range(-1, 4))
    found = measures.attenuation(probes).iloc[0]
    assert found["slope"] == pytest.approx(2.0)
    assert found["first_last_ratio"] == pytest.approx(1e-4)


def test_a_zero_gradient_is_floored_and_flagged():
    found = measures.attenuation(gradient_norms([0.0, 1e-15, 1.0, 1.0])).iloc[0]
    assert found["slope"] == pytest.approx(15.0)
    assert found["floored"]


@pytest.mark.parametrize(
    ("norms", "switched_off"),
    [
        ([0.0, 0.0, 1.0, 1.0], False),  # vanished on its way to the input
        ([0.0, 0.0, 0.0, 0.0], False),  # dead
        ([1.0, 0.0, 0.0, 1.0], True),  # as the branches of SkipInit are at first
        ([1.0, 1e-3, 1e-9, 1e-12], False),
    ],
)
def test_a_layer_without_gradient_behind_one_with_is_switched_off(norms, switched_off):
    assert measures.attenuation(gradient_norms(norms))["switched_off"].tolist() == [switched_off]


def test_attenuation_without_probes_is_empty(results):
    assert measures.attenuation(results.probes.iloc[:0]).empty


def test_seed_spread_has_no_deviation_at_one_seed():
    spread = measures.seed_spread(make_results(activations=("relu",), confirm_seeds=1)).set_index("variant")
    assert spread["std"].isna().all()
    assert (spread["n"] == 1).all()
    assert (spread["range"] == 0).all()


def test_what_a_curve_is_at_a_level_is_linear_between_its_evaluations():
    losses, values = [2.0, 2.2, 1.0, 1.5, 0.5], [10.0, 20.0, 50.0, 60.0, 100.0]
    found = measures.at_levels(losses, values, [2.5, 2.0, 1.6, 1.0, 0.75, 0.4])
    # Begins below 2.5; is at 2 at first; falls from 2.2 to 1 halfway at 1.6, and first to .75 after 1.5.
    np.testing.assert_allclose(found, [np.nan, 10.0, 35.0, 50.0, 90.0, np.nan])


def test_common_levels_are_those_that_both_pass():
    np.testing.assert_allclose(
        measures.common_levels([[2.0, 1.5, 1.0], [2.5, 0.1, 0.4]], 9), np.linspace(1.9, 1.1, 9)
    )
    assert measures.common_levels([[2.0, 1.5], [1.2, 0.1]]).size == 0
    assert measures.common_levels([[2.0, 1.5], []]).size == 0
    assert measures.common_levels([]).size == 0


def walked(results, curves_of):
    """A study whose relu nets' losses and smoothness at equal rates are `curves_of(variant)`, by step."""
    curves, probes = results.curves.copy(), []
    for variant in ("none-relu", "batch-relu"):
        steps, losses, values = curves_of(variant)
        trials = measures.confirm_trials(results, variant, "x1")
        for trial in trials.itertuples():
            own = (curves["trial_hash"] == trial.trial_hash) & curves["step"].isin(steps)
            curves.loc[own, "clean_train_loss"] = losses
            rows = pd.DataFrame({"step": steps, "value": values})
            probes.append(
                rows.assign(
                    probe="landscape_smoothness",
                    layer="all",
                    index=-1,
                    seed=trial.seed,
                    trial_hash=trial.trial_hash,
                    variant=variant,
                )
            )
    made = pd.concat(probes).reindex(columns=results.probes.columns)
    return dataclasses.replace(results, curves=curves, probes=made)


def test_smoothness_is_compared_at_equal_losses_whatever_a_plateau_lasts(results):
    """Smoothness that is one function of the loss, half as much for one net: the effect is log10 2."""
    steps = np.array([0, 40, 80, 120, 160, 200])
    losses = {
        "none-relu": np.array([2.3, 2.3, 2.3, 2.29, 1.3, 0.3]),
        "batch-relu": np.array([2.5, 1.0, 0.5, 0.2, 0.1, 0.05]),
    }
    factor = {"none-relu": 2.0, "batch-relu": 1.0}
    made = walked(results, lambda name: (steps, losses[name], factor[name] * 10 ** losses[name]))
    found = measures.smoothness_ratio(made, "none-relu", "batch-relu")
    np.testing.assert_allclose(found[["low", "high"]], np.log10(2.0))
    assert (found["num_levels"] == 9).all()
    assert len(found) == 8


def test_smoothness_of_nets_that_share_no_loss_is_unknown(results):
    steps = np.array([0, 40, 80])
    losses = {"none-relu": np.array([2.3, 2.2, 2.1]), "batch-relu": np.array([2.0, 1.0, 0.5])}
    made = walked(results, lambda name: (steps, losses[name], 1 + losses[name]))
    found = measures.smoothness_ratio(made, "none-relu", "batch-relu")
    assert (found["low"] == -np.inf).all()
    assert (found["high"] == np.inf).all()


def shuffled(results, rng):
    def mix(frame):
        return frame.sample(frac=1, random_state=rng).reset_index(drop=True)

    return dataclasses.replace(
        results, trials=mix(results.trials), curves=mix(results.curves), probes=mix(results.probes)
    )


@pytest.mark.parametrize(
    "table",
    [
        measures.cell_table,
        measures.variant_table,
        measures.rate_multiples_table,
        measures.seed_spread,
        lambda results: measures.time_table(results, np.random.default_rng(0)),
        lambda results: measures.attenuation_at_init(results, "none-relu").reset_index(drop=True),
    ],
)
def test_the_order_of_rows_changes_nothing(results, table):
    pd.testing.assert_frame_equal(table(shuffled(results, np.random.default_rng(1))), table(results))


def test_cell_table_counts_every_outcome_and_keeps_diverged_trials_in_the_mean(results):
    cells = measures.cell_table(results).set_index(["variant", "stage", "learning_rate"])
    gone = cells.loc[("none-relu", "sweep", 100.0)]
    assert (gone["n"], gone["share_diverged"], gone["accuracy_mean"]) == (8, 1.0, pytest.approx(CHANCE))
    assert gone["loss_mean"] == pytest.approx(LOSS_CAP)
    outcomes = ["share_trained", "share_stuck", "share_diverged"]
    assert cells[outcomes].sum(axis=1).tolist() == pytest.approx([1.0] * len(cells))


def test_a_failed_trial_has_a_share_and_no_numbers(results):
    failed = results.trials["status"].copy()
    failed.iloc[0] = "failed"
    changed = dataclasses.replace(results, trials=results.trials.assign(status=failed))
    first = results.trials.iloc[0]
    cells = measures.cell_table(changed).set_index(["variant", "stage", "learning_rate"])
    cell = cells.loc[(first["variant"], "sweep", first["learning_rate"])]
    assert (cell["n"], cell["n_failed"], cell["share_failed"]) == (7, 1, pytest.approx(1 / 8))


@pytest.mark.parametrize("position", range(8))
def test_one_more_diverged_seed_never_improves_a_cells_rank(results, position):
    best = measures.best_rate(results, "batch-relu")
    at_best = results.trials.query("variant == 'batch-relu' and stage == 'sweep' and learning_rate == @best")
    lost = at_best.index[position]
    trials = results.trials.copy()
    trials.loc[lost, ["status", "final_val_accuracy", "final_val_loss"]] = ["diverged", CHANCE, LOSS_CAP]
    changed = dataclasses.replace(results, trials=trials)

    def ranks(frame):
        cells = measures.cell_table(frame).query("stage == 'sweep'").set_index(["variant", "learning_rate"])
        return cells["accuracy_mean"].rank(ascending=False), cells["loss_mean"].rank()

    for before, after in zip(ranks(results), ranks(changed), strict=True):
        assert after[("batch-relu", best)] >= before[("batch-relu", best)]


def test_variant_table_takes_medians_that_are_values(results):
    table = measures.variant_table(results).set_index("variant")
    edges = measures.max_stable_rate(results, "none-relu")
    assert np.log10(table.loc["none-relu", "max_stable_rate_low"]) in set(edges["low"].round(9))
    assert (table["share_reached"] == 1).all()
    assert table.loc["none-relu", "steps_to_target"] > table.loc["batch-relu", "steps_to_target"]


def test_variant_table_of_an_unfinished_study_has_a_row_per_variant(results):
    unfinished = dataclasses.replace(
        results, decisions={}, trials=results.trials.iloc[:0], curves=results.curves.iloc[:0]
    )
    table = measures.variant_table(unfinished)
    assert table["variant"].tolist() == ["none-relu", "batch-relu"]
    assert table[["best_learning_rate", "accuracy_mean", "share_reached"]].isna().all(axis=None)
    assert measures.cell_table(unfinished).empty
    assert measures.rate_multiples_table(unfinished)["speedup"].isna().all()


def test_every_seed_of_the_unnormalized_net_reaches_its_own_best_accuracy(results):
    table = measures.rate_multiples_table(results).set_index(["normalization", "role"])
    assert table.loc[("none", "best"), "share_reached"] == 1.0
    assert table.index.tolist() == [("none", "best"), *(("batch", r) for r in ("x1", "x5", "x30", "best"))]
    rate = table.loc[("none", "best"), "learning_rate"]
    assert table.loc[("batch", "x30"), "learning_rate"] == pytest.approx(30 * rate)
    # Ioffe & Szegedy (1502.03167), steps in millions to 72.2%
    assert table["published_steps_millions"].tolist()[:4] == [31.0, 13.3, 2.1, 2.7]
    assert table["published_accuracy"].tolist()[:4] == [0.722, 0.727, 0.730, 0.748]  # and maximum accuracies


def test_probe_cost_sums_over_the_trials_with_an_outcome(results):
    trials = results.trials.assign(train_seconds=2.0, probe_seconds=0.05)
    trials.loc[0, "status"] = "failed"
    cost = measures.probe_cost(dataclasses.replace(results, trials=trials)).set_index("variant")
    assert cost.index.tolist() == results.variants
    counts = trials[1:].groupby("variant").size()
    assert cost["n"].to_dict() == counts.to_dict()
    assert cost["train_seconds"].to_dict() == (2.0 * counts).to_dict()
    assert cost["share"].to_numpy() == pytest.approx(0.025)


def test_an_eta_star_of_one_rate_serves_several_roles(results):
    same = dataclasses.replace(
        results,
        decisions=results.decisions
        | {"confirm": [{"variant": "batch-relu", "learning_rate": 0.1, "roles": ["best", "x1"]}]},
    )
    assert measures.confirm_rate(same, "batch-relu", "x1") == measures.confirm_rate(
        same, "batch-relu", "best"
    )
    assert measures.confirm_rate(same, "none-relu", "best") is None


def test_cell_losses_cap_what_exceeds_the_constant_predictor(results):
    sweep = results.trials.query("variant == 'none-relu' and stage == 'sweep'").assign(final_val_loss=np.inf)
    assert rates.cell_losses(results, sweep).tolist() == pytest.approx([LOSS_CAP] * 6)


def with_accuracies(results, accuracies):
    """The results with these final accuracies at the own best rate, by variant, by ascending confirm seed."""
    trials = results.trials.copy()
    for variant, values in accuracies.items():
        rows = measures.select.confirm_trials(results, variant).index
        trials.loc[rows, "final_val_accuracy"] = values
    return dataclasses.replace(results, trials=trials)


def test_ranking_orders_what_it_can_and_says_what_it_cannot():
    noise = np.array([0.01, -0.01, 0.02, -0.02, 0.03, -0.03, 0.015, -0.015])
    made = make_results(activations=("relu",), normalizations=("none", "batch", "layer"), num_bisections=0)
    results = with_accuracies(
        made, {"none-relu": 0.6 + noise / 2, "batch-relu": 0.9 + noise, "layer-relu": 0.9 - noise}
    )
    frame = measures.ranking(results, np.random.default_rng(0)).set_index("variant")
    assert frame.index[-1] == "none-relu"
    assert frame["best_rank"].to_dict() == {"batch-relu": 1, "layer-relu": 1, "none-relu": 3}
    assert frame["worst_rank"].to_dict() == {"batch-relu": 2, "layer-relu": 2, "none-relu": 3}
    assert frame.loc["batch-relu", "cannot_tell_from"] == "layer-relu"
    assert frame.loc["none-relu", "cannot_tell_from"] == ""
    assert frame.loc["batch-relu", "accuracy_iqm"] == pytest.approx(0.9 + noise[[0, 1, 6, 7]].mean())
    assert (frame["n"] == 8).all()
    (sentence,) = measures.ranking_words(results, frame.reset_index())
    assert sentence == "Of the relu nets, batch-relu, layer-relu may be the best; 1 of 3 are ruled out."


def test_hyphenated_names_are_ranked_with_their_own():
    results = make_results(
        activations=("tanh", "hard-tanh"), normalizations=("none", "batch"), num_bisections=0
    )
    frame = measures.ranking(results, np.random.default_rng(0)).set_index("variant")
    assert frame.loc["batch-hard-tanh", ["normalization", "activation"]].tolist() == ["batch", "hard-tanh"]
    assert (frame["num_ranked"] == 2).all()
    assert measures.reference_of(results, "batch-hard-tanh") == "none-hard-tanh"
    assert measures.reference_of(results, "batch-tanh", "batch-hard") == "batch-hard-tanh"


def test_ranking_says_when_seeds_are_too_few_and_who_is_not_ranked():
    results = make_results(confirm_seeds=4, untrainable={"none-sigmoid"}, num_bisections=0)
    frame = measures.ranking(results, np.random.default_rng(0))
    assert (frame["best_rank"] == 1).all()
    assert frame.set_index("variant")["worst_rank"].to_dict() == {
        "batch-sigmoid": 1,  # the only one of its activation
        "none-relu": 2,
        "batch-relu": 2,
    }
    words = " ".join(measures.ranking_words(results, frame))
    assert "Of the relu nets, the 2 variants cannot be told apart" in words
    assert "sigmoid nets" not in words
    assert "No result of 4 seeds could tell any two variants apart; it takes 6." in words
    assert "Not ranked, without trials at a best rate of their own: none-sigmoid." in words


def test_ranking_of_a_study_without_trials_is_empty(results):
    nothing = dataclasses.replace(results, trials=results.trials.iloc[:0], decisions={})
    frame = measures.ranking(nothing, np.random.default_rng(0))
    assert frame.empty
    assert measures.ranking_words(nothing, frame)[0].startswith("Not ranked")
