import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import CHANCE, LOSS_CAP
from synthetic_results import make_results as make_fresh_results

from analysis import claims
from analysis.claims import CLAIMS, judge
from analysis.measures import max_stable_rate

RELU = {"activations": ("relu",)}
SIGMOID = {"activations": ("sigmoid",)}
SAME_EDGE = {"edges": {"batch-relu": -0.6}}
NEVER = {"untrainable": ("none-relu",)}

SCENARIOS = {
    "higher-learning-rate": {
        "SUPPORTED": RELU,
        "REFUTED": RELU | SAME_EDGE,
        "INCONCLUSIVE": RELU | {"edges": {"batch-relu": -0.3}},
        "NOT EVALUABLE": RELU | NEVER,
    },
    "faster-at-best-rate": {
        "SUPPORTED": RELU,
        "REFUTED": RELU | SAME_EDGE | {"time_constants": {"batch": 30.0}},
        "INCONCLUSIVE": RELU | SAME_EDGE | {"time_constants": {"batch": 25.0}},
        "NOT EVALUABLE": RELU | NEVER,
    },
    "faster-at-same-rate": {
        "SUPPORTED": RELU | SAME_EDGE,
        "REFUTED": RELU,
        "INCONCLUSIVE": RELU | SAME_EDGE | {"time_constants": {"batch": 25.0}},
        "NOT EVALUABLE": RELU | NEVER,
    },
    "wider-stable-band": {
        "SUPPORTED": RELU | {"time_constants": {"batch": 2.0, "none": 60.0}, "edges": {"batch-relu": 1.4}},
        "REFUTED": RELU | {"time_constants": {"batch": 60.0, "none": 2.0}},
        "INCONCLUSIVE": RELU | {"time_constants": {"batch": 20.0}},
        "NOT EVALUABLE": RELU | NEVER,
    },
    "fewer-failures": {
        "SUPPORTED": RELU | NEVER,
        # Shares are known to a gap of the grid only, so no more than a clear loss refutes a gain.
        "REFUTED": RELU | {"untrainable": ("batch-relu",)},
        "INCONCLUSIVE": RELU,
        "NOT EVALUABLE": RELU | {"sampler": "fixed"},
    },
    "no-vanishing-gradient": {
        "SUPPORTED": SIGMOID | {"with_probes": True},
        "REFUTED": SIGMOID | {"with_probes": True, "attenuation": {"none-sigmoid": 0.02}},
        "INCONCLUSIVE": SIGMOID | {"with_probes": True, "attenuation": {"none-sigmoid": 0.12}},
        "NOT EVALUABLE": SIGMOID,
    },
    "regularizes": {
        "SUPPORTED": RELU,
        "REFUTED": RELU | {"gaps": {"batch": 0.3}},
        "INCONCLUSIVE": RELU | {"edge_spread": 0.3},
        "NOT EVALUABLE": RELU | NEVER,
    },
    "parameter-scale": {
        "SUPPORTED": RELU | {"with_gains": True},
        "REFUTED": RELU | {"with_gains": True, "gain_cost": 0.0},
        "INCONCLUSIVE": RELU | {"with_gains": True, "gain_cost": 0.4},
        "NOT EVALUABLE": RELU,
    },
    "smoother-landscape": {
        "SUPPORTED": RELU | {"with_landscape": True},
        "REFUTED": RELU | {"with_landscape": True, "smoothness": {"none": 2.0}},
        "INCONCLUSIVE": RELU | {"with_landscape": True, "smoothness": {"none": 2.0 * 10**0.3}},
        "NOT EVALUABLE": RELU,
    },
    "worth-its-cost": {
        "SUPPORTED": RELU,
        "REFUTED": RELU | {"seconds_per_step": {"batch": 0.05}},
        "INCONCLUSIVE": RELU | {"seconds_per_step": {"batch": 0.023}},
        "NOT EVALUABLE": RELU | NEVER,
    },
}
CASES = [(claim, outcome) for claim, scenarios in SCENARIOS.items() for outcome in scenarios]


MADE = {}


def make_results(**options):
    """Made once for all tests that ask for the same; nobody writes into results."""
    key = repr(options)
    if key not in MADE:
        MADE[key] = make_fresh_results(**options)
    return MADE[key]


def only(results, claim):
    """The verdicts of one claim, without the slow simulation of seeds needed."""
    return claims._judge.judge(results, [CLAIMS[claim]], rng=None)


def test_every_claim_of_the_protocol_has_every_outcome_tested():
    assert list(SCENARIOS) == list(CLAIMS)
    assert all(set(scenarios) == set(claims.OUTCOMES) for scenarios in SCENARIOS.values())


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_outcome(claim, outcome):
    results = make_results(**SCENARIOS[claim][outcome])
    (verdict,) = only(results, claim)
    assert verdict.outcome == outcome, verdict
    assert verdict.sentence.endswith(".")
    assert not set("{}") & set(verdict.sentence)
    assert not re.search(r"\b(nan|inf)\b", verdict.sentence)
    said = verdict.sentence.lower()
    assert results.words(verdict.normalizer) in said
    assert f"the {verdict.activation} net" in said
    if outcome == "NOT EVALUABLE":
        assert verdict.reason in verdict.sentence
        assert (verdict.n, verdict.p_supported, verdict.p_refuted) == (0, 1.0, 1.0)
    else:
        assert verdict.n == 8
        assert verdict.low <= verdict.effect <= verdict.high
        assert verdict.effect_low <= verdict.effect_high
        assert ("is not settled; the best guess is" in verdict.sentence) == (outcome == "INCONCLUSIVE")


def test_the_primary_effect_is_the_ratio_that_was_put_in():
    results = make_results(
        activations=("relu",), edges={"none-relu": -0.6, "batch-relu": 0.9}, edge_spread=0.0
    )
    (verdict,) = only(results, "higher-learning-rate")
    # one bisected interval is 0.125 decades wide, so the difference of two midpoints is off by at most that
    assert verdict.effect == pytest.approx(1.5, abs=0.125)
    assert verdict.low <= 1.5 <= verdict.high


def test_an_unnormalized_net_that_never_trains_is_said_in_plain_words():
    (verdict,) = only(make_results(activations=("relu",), untrainable=("none-relu",)), "higher-learning-rate")
    assert "none-relu never trained at any rate within 200 steps" in verdict.sentence


def test_of_an_unusable_net_that_trained_in_some_trials_these_are_counted():
    results = make_results(**RELU, **NEVER)
    own = (results.trials["variant"] == "none-relu") & (results.trials["stage"] == "sweep")
    some = results.trials.index[own][:3]
    trials = results.trials.copy()
    trials.loc[some, "status"] = "trained"
    trials.loc[some, "final_val_accuracy"] = [0.2, 0.31, 0.25]
    (verdict,) = only(dataclasses.replace(results, trials=trials), "higher-learning-rate")
    assert "never trained" not in verdict.sentence
    assert "none-relu hardly trained within 200 steps: 3 of its 48 trials on the grid did" in verdict.sentence
    best = results.decisions["variants"]["batch-relu"]["best_cell_accuracy"]
    needed = CHANCE + (best - CHANCE) / 10
    assert "the best to an accuracy of 0.310, but no rate's mean over seeds is above 0.1" in verdict.sentence
    assert f"where {needed:.3f} would make it usable" in verdict.sentence


@pytest.mark.parametrize("claim", list(CLAIMS))
def test_every_claim_says_what_all_seeds_share(claim):
    options = SCENARIOS[claim]["INCONCLUSIVE"]
    (verdict,) = only(make_results(**options), claim)
    shared = "probe batch" if claim == "no-vanishing-gradient" else "validation set"
    assert f"Conditional on this split: all seeds share one {shared}." in verdict.reason


def test_claims_on_time_name_the_target_and_who_set_it():
    (own,) = only(make_results(**RELU), "faster-at-best-rate")
    target = make_results(**RELU).decisions["targets"]["relu"]["accuracy"]
    assert f"The target, a validation accuracy of {target:.3f}, was set by none-relu." in own.reason
    results = make_results(**RELU)
    other = {"relu": {"accuracy": 0.9, "variant": "batch-relu"}}
    changed = dataclasses.replace(results, decisions=results.decisions | {"targets": other})
    assert "0.900, was set by batch-relu, as the unnormalized net of this activation is not usable." in (
        only(changed, "faster-at-same-rate")[0].reason
    )


def test_claims_that_rest_on_the_same_trials_say_so():
    apart, together = make_results(**RELU), make_results(**RELU, **SAME_EDGE)
    best = {name: of["best_learning_rate"] for name, of in together.decisions["variants"].items()}
    assert best["none-relu"] == best["batch-relu"]
    for claim, other in (("best", "same"), ("same", "best")):
        said = f"Both nets have the same best rate, so faster-at-{other}-rate rests on these same trials"
        assert said in only(together, f"faster-at-{claim}-rate")[0].reason
        assert said not in only(apart, f"faster-at-{claim}-rate")[0].reason
    assert "These are the trials of faster-at-best-rate" in only(apart, "worth-its-cost")[0].reason


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c != "no-vanishing-gradient"])
def test_a_study_at_one_rate_says_why_it_cannot_judge(claim):
    results = make_results(sampler="fixed", with_probes=True, with_landscape=True)
    verdicts = only(results, claim)
    assert len(verdicts) == len(CLAIMS[claim].planned_activations(results)) == 2
    for verdict in verdicts:
        assert verdict.outcome == "NOT EVALUABLE"
        expected = {"parameter-scale": "set init.gains"}
        assert expected.get(claim, "single learning rate") in verdict.reason


def test_gradients_at_init_need_no_search():
    (verdict,) = only(make_results(sampler="fixed", with_probes=True), "no-vanishing-gradient")
    assert verdict.outcome == "SUPPORTED"
    assert "test split" in verdict.reason


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("no-vanishing-gradient", '"gradients" in probes.enabled'),
        ("smoother-landscape", '"landscape" in probes.enabled'),
        ("parameter-scale", "set init.gains"),
    ],
)
def test_what_was_not_logged_names_its_switch(claim, words):
    assert words in only(make_results(), claim)[0].reason


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_study_that_just_began_is_not_evaluable_yet(claim):
    results = make_results(activations=("sigmoid",), with_probes=True, with_landscape=True, with_gains=True)
    trials = results.trials[results.trials["stage"] == "sweep"].head(5)
    began = dataclasses.replace(
        results,
        status="running",
        decisions={"num_classes": 10, "loss_cap": LOSS_CAP},
        trials=trials,
        curves=results.curves[results.curves["trial_hash"].isin(trials["trial_hash"])],
        probes=results.probes[results.probes["trial_hash"].isin(trials["trial_hash"])],
    )
    (verdict,) = only(began, claim)
    assert verdict.outcome == "NOT EVALUABLE"
    assert verdict.reason


def without(results, mask, status=None):
    """Results without some trials, or with another status for them."""
    if status is None:
        kept = results.trials[~mask]
        return dataclasses.replace(
            results,
            trials=kept,
            curves=results.curves[results.curves["trial_hash"].isin(kept["trial_hash"])],
        )
    return dataclasses.replace(
        results, trials=results.trials.assign(status=results.trials["status"].where(~mask, status))
    )


@pytest.mark.parametrize("claim", ["higher-learning-rate", "wider-stable-band", "fewer-failures"])
def test_a_failed_sweep_trial_is_named(claim):
    results = make_results(activations=("relu",))
    trials = results.trials
    lost = (trials["variant"] == "none-relu") & (trials["learning_rate"] == 1.0) & (trials["seed"] == 3)
    (verdict,) = only(without(results, lost, "failed"), claim)
    assert verdict.reason == "the sweep cell none-relu at learning rate 1 is missing seed 3 (failed)"


@pytest.mark.parametrize("claim", ["faster-at-best-rate", "regularizes", "worth-its-cost"])
def test_a_missing_confirm_trial_is_named(claim):
    results = make_results(activations=("relu",))
    lost = (results.trials["variant"] == "batch-relu") & (results.trials["seed"] == 1002)
    (verdict,) = only(without(results, lost), claim)
    assert (
        verdict.reason
        == "the confirm cell batch-relu at learning rate 1 is missing seed 1002 (not trained yet)"
    )


def test_a_loss_on_another_scale_has_no_gap_in_nats():
    results = make_results(activations=("relu",))
    assert only(results, "regularizes")[0].outcome == "SUPPORTED"
    for name, outcome in (
        ("mse", "NOT EVALUABLE"),
        ("focal", "NOT EVALUABLE"),
        ("cross-entropy", "SUPPORTED"),
    ):
        changed = dataclasses.replace(results, study=results.study | {"loss": {"name": name}})
        (verdict,) = only(changed, "regularizes")
        assert verdict.outcome == outcome
        assert (f"this study's loss, {name}, has another scale" in verdict.reason) is (
            name != "cross-entropy"
        )


def test_smoothed_labels_have_no_gap_in_the_right_classs_probability():
    results = make_results(activations=("relu",))
    for smoothing, outcome in ((0.0, "SUPPORTED"), (0.1, "NOT EVALUABLE")):
        loss = {"name": "cross-entropy", "label_smoothing": smoothing}
        changed = dataclasses.replace(results, study=results.study | {"loss": loss})
        (verdict,) = only(changed, "regularizes")
        assert verdict.outcome == outcome
        said = "the probability given to the right class, which cross-entropy against labels smoothed by 0.1"
        assert (said in verdict.reason) is (smoothing > 0)


def test_coarse_edges_wait_for_refinement_and_are_a_caveat_once_the_study_is_complete():
    results = make_results(activations=("relu",))
    coarse = without(results, results.trials["stage"] == "refine")
    (running,) = only(dataclasses.replace(coarse, status="running"), "higher-learning-rate")
    assert "refine stage is unfinished" in running.reason
    (complete,) = only(coarse, "higher-learning-rate")
    assert complete.n == 8
    assert "16 stability edges" in complete.reason
    (band,) = only(coarse, "wider-stable-band")
    assert "32 stability edges" in band.reason  # it reads the lower ones too


def one_image_short(results, variant, seed):
    """The results, had the seed stayed one image below the stability threshold at every rate of the grid."""
    trials = results.trials
    least = results.decisions["variants"][variant]["stability_threshold"]
    own = (trials["variant"] == variant) & (trials["seed"] == seed)
    kept = trials[~(own & (trials["stage"] == "refine"))].copy()
    of_seed = (kept["variant"] == variant) & (kept["seed"] == seed) & (kept["stage"] == "sweep")
    short = kept.loc[of_seed, "final_val_accuracy"].clip(upper=least - 1 / 360)
    kept.loc[of_seed, "final_val_accuracy"] = short
    decided = results.decisions["variants"]
    searched = decided | {variant: decided[variant] | {"searched_seeds": [seed]}}
    return dataclasses.replace(
        results, trials=kept, decisions=results.decisions | {"variants": searched}
    ), kept[of_seed]


@pytest.mark.parametrize("claim", ["higher-learning-rate", "wider-stable-band"])
def test_seeds_that_were_searched_for_a_stable_rate_are_named(claim):
    results, _ = one_image_short(make_results(activations=("relu",)), "none-relu", 3)
    (verdict,) = only(results, claim)
    assert "none-relu trained under seed 3, but stably at no rate of the grid" in verdict.reason
    assert "hold a stable one for 0 of 1" in verdict.reason


def test_a_stable_rate_found_beside_the_grid_counts():
    results, of_seed = one_image_short(make_results(activations=("relu",)), "none-relu", 3)
    found = (
        of_seed[of_seed["status"] == "trained"]
        .iloc[:1]
        .assign(stage="refine", learning_rate=10**-1.5, final_val_accuracy=0.97, trial_hash="found")
    )
    results = dataclasses.replace(results, trials=pd.concat([results.trials, found], ignore_index=True))
    (verdict,) = only(results, "higher-learning-rate")
    assert "hold a stable one for 1 of 1" in verdict.reason
    assert np.isfinite(verdict.sample.low).all()


def test_an_open_verdict_says_whether_more_rates_or_more_seeds_would_settle_it():
    """Six seeds that agree decide (2^-6), not so if of one of them nothing is known."""
    clear = make_results(activations=("relu",), seeds=6)
    assert only(clear, "higher-learning-rate")[0].outcome == "SUPPORTED"
    vetoed, _ = one_image_short(clear, "none-relu", 3)
    (verdict,) = only(vetoed, "higher-learning-rate")
    assert verdict.outcome == "INCONCLUSIVE"
    assert "More rates between those tried would likely settle it, with the same seeds." in verdict.sentence
    at_delta = make_results(
        activations=("relu",), edges={"none-relu": 0.3, "batch-relu": 0.6}, edge_spread=0.3
    )
    (verdict,) = only(at_delta, "higher-learning-rate")
    assert verdict.outcome == "INCONCLUSIVE"
    assert "More rates between those tried would not likely settle it. " in verdict.sentence


def test_nothing_that_is_searched_would_narrow_a_time():
    slow = make_results(activations=("relu",), time_constants={"batch": 27.0})
    (verdict,) = only(slow, "faster-at-best-rate")
    assert verdict.outcome == "INCONCLUSIVE"
    assert "between those tried" not in verdict.sentence


@pytest.mark.parametrize(
    ("claim", "variant", "blocked"),
    [
        ("faster-at-best-rate", "batch-relu", True),
        ("faster-at-best-rate", "none-relu", True),
        ("faster-at-same-rate", "batch-relu", False),
        ("faster-at-same-rate", "none-relu", True),
        ("regularizes", "batch-relu", True),
        ("higher-learning-rate", "batch-relu", False),
    ],
)
def test_a_best_rate_on_the_grids_edge_blocks_claims_at_the_best(claim, variant, blocked):
    results = make_results(activations=("relu",))
    chosen = results.decisions["variants"]
    at_edge = chosen | {variant: chosen[variant] | {"at_edge": True}}
    for num_extensions, words in (
        (0, "is the grid's last: "),
        (2, "is still the grid's last after extending it"),
    ):
        decided = {"variants": at_edge, "num_extensions": num_extensions}
        changed = dataclasses.replace(results, decisions=results.decisions | decided)
        (verdict,) = only(changed, claim)
        assert (verdict.outcome == "NOT EVALUABLE") is blocked
        assert (words in verdict.reason) is blocked


def test_a_family_is_one_claim_and_one_normalizer_over_the_planned_activations():
    one = only(make_results(activations=("relu",)), "higher-learning-rate")[0]
    two = only(make_results(untrainable=("none-sigmoid",)), "higher-learning-rate")
    assert (one.num_tests, one.p_supported) == (1, 2**-8)
    # the sigmoid net is not evaluable and still counts
    assert [v.num_tests for v in two] == [2, 2]
    assert [v.p_supported for v in two] == [1.0, 2 * 2**-8]


def test_only_saturating_activations_are_asked_about_vanishing_gradients():
    assert only(make_results(activations=("relu",), with_probes=True), "no-vanishing-gradient") == []
    verdicts = only(make_results(activations=("relu", "tanh"), with_probes=True), "no-vanishing-gradient")
    assert [(v.activation, v.num_tests) for v in verdicts] == [("tanh", 1)]


def test_other_normalizers_are_exploratory():
    results = make_results(activations=("relu",), normalizations=("none", "batch", "layer"))
    verdicts = only(results, "fewer-failures")
    assert [(v.normalizer, v.exploratory) for v in verdicts] == [("batch", False), ("layer", True)]
    assert "layer normalization" in verdicts[1].sentence.lower()


def test_sentences_speak_of_what_competes():
    results = make_results(activations=("relu",), normalizations=("none", "batch", "none-he"))
    sentences = [v.sentence for v in judge(results) if v.normalizer == "none-he"]
    assert sentences
    assert all("He initialization" in text and "normalization" not in text for text in sentences)


COMPETITOR = {"activations": ("relu",), "normalizations": ("none", "batch", "none-he")}


def test_against_a_competitor_it_stands_in_the_plain_nets_place():
    """A competitor with the plain net's edge, and one with batch normalization's."""
    for edge, outcome in ((-0.6, "SUPPORTED"), (0.6, "REFUTED")):
        results = make_results(**COMPETITOR, edges={"none-he-relu": edge})
        against = claims.judge_against_competitors(results)
        assert list(against) == ["none-he"]
        by_claim = {verdict.claim: verdict for verdict in against["none-he"]}
        assert list(by_claim) == [claim for claim in CLAIMS if claim != "no-vanishing-gradient"]
        primary = by_claim["higher-learning-rate"]
        assert primary.outcome == outcome
        assert primary.normalizer == "batch"
        assert primary.exploratory
        assert primary.sentence.startswith(f"batch against none-he, relu net: {outcome}, ")
        assert "90% interval" in primary.sentence
        stable = {
            name: max_stable_rate(results, name).set_index("seed") for name in ("batch-relu", "none-he-relu")
        }
        expected = stable["batch-relu"]["low"] - stable["none-he-relu"]["high"]
        assert primary.samples["low"].tolist() == pytest.approx(expected.tolist())
        # Batch normalization was trained at the competitor's best rate only where that is a rate of its own.
        same = results.decisions["variants"]["none-he-relu"]["best_learning_rate"]
        confirmed = [c["learning_rate"] for c in results.decisions["confirm"] if c["variant"] == "batch-relu"]
        assert (by_claim["faster-at-same-rate"].outcome == "NOT EVALUABLE") == (same not in confirmed)


def test_the_plain_net_against_itself_is_the_study():
    """A competitor that is the plain net under another name gives the claims' own verdicts."""
    results = make_results(activations=("relu",))
    names = {"none-relu": "none-same-relu"}

    def twice(frame):
        own = frame[frame["variant"] == "none-relu"].replace({"variant": names})
        own = own.assign(trial_hash="same-" + own["trial_hash"], normalization="none-same")
        return pd.concat([frame, own], ignore_index=True)

    copies = {name: twice(getattr(results, name)) for name in ("trials", "curves", "probes")}
    variants = results.decisions["variants"]
    confirm = results.decisions["confirm"]
    plain = results.schema["normalizations"]["none"]
    named = results.schema["normalizations"] | {"none-same": plain | {"is_competitor": True}}
    twin = dataclasses.replace(
        results,
        **copies,
        steps_s=results.steps_s | {"none-same-relu": results.steps_s["none-relu"]},
        schema=results.schema | {"normalizations": named},
        study=results.study
        | {"variants": results.study["variants"] | {"normalizations": ["none", "batch", "none-same"]}},
        decisions=results.decisions
        | {
            "variants": variants | {"none-same-relu": variants["none-relu"]},
            "confirm": [
                *confirm,
                *(cell | {"variant": names[cell["variant"]]} for cell in confirm if cell["variant"] in names),
            ],
        },
    )
    (against,) = claims.judge_against_competitors(twin).values()
    for own, other in zip(judge(results), against, strict=True):
        assert (own.claim, own.outcome, own.p_supported) == (other.claim, other.outcome, other.p_supported)
        assert own.effect == pytest.approx(other.effect, nan_ok=True)


def test_verdicts_against_competitors_are_those_of_before_pairs_named_their_reference():
    """Stored from commit e690484, which put each competitor's trials in the plain net's place by renaming.

    (Of `wider-stable-band` and `smoother-landscape` anew: their measures are others since.)
    """
    stored = json.loads(Path(__file__).with_name("against_competitors.json").read_text())
    judged = claims.judge_against_competitors(make_results(**stored["study"]))
    assert list(judged) == list(stored["verdicts"]) == ["none-he", "none-lsuv"]
    renamed = {"family_size": "num_tests"}
    for name, verdicts in judged.items():
        for verdict, before in zip(verdicts, stored["verdicts"][name], strict=True):
            pairs = before.pop("samples")
            for field, expected in before.items():
                if field in ("sentence", "reason") and verdict.n:
                    continue  # words, which change; the numbers in them do not
                value = getattr(verdict, renamed.get(field, field))
                if isinstance(value, float):
                    assert value == pytest.approx(float(expected), nan_ok=True), (name, verdict, field)
                else:
                    assert value == expected, (name, verdict.claim, field)
            found = verdict.samples[["seed", "low", "high"]].to_numpy(dtype=float)
            assert found == pytest.approx(np.array(pairs, dtype=float).reshape(-1, 3))
            assert verdict.pair == claims.Pair("batch", verdict.activation, name)


def test_a_reason_names_the_competitor():
    results = make_results(**COMPETITOR, untrainable=("none-he-relu",))
    (verdict,) = [v for v in claims.judge_against_competitors(results)["none-he"] if v.claim == "regularizes"]
    assert verdict.reason.startswith("none-he-relu never trained")
    assert verdict.sentence == f"batch against none-he, relu net: NOT EVALUABLE. {verdict.reason}."


def test_a_claim_is_evaluated_only_where_all_it_requires_is_met():
    asked = []

    def require(name, reason):
        def requirement(results, pair):
            asked.append((name, pair.both))
            return reason

        return requirement

    requires = require("a", None), require("b", "no b"), require("c", "no c")
    claim = dataclasses.replace(CLAIMS["higher-learning-rate"], requires=requires)
    (verdict,) = claims._judge.judge(make_results(**RELU), [claim], rng=None)
    both = ("none-relu", "batch-relu")
    assert (verdict.outcome, verdict.reason, asked) == ("NOT EVALUABLE", "no b", [("a", both), ("b", both)])
    met = dataclasses.replace(claim, requires=requires[:1])
    assert claims._judge.judge(make_results(**RELU), [met], rng=None)[0].outcome == "SUPPORTED"


def test_without_batch_or_competitors_there_is_nothing_against():
    assert claims.judge_against_competitors(make_results(**RELU)) == {}
    results = make_results(activations=("relu",), normalizations=("none", "layer", "none-he"))
    assert claims.judge_against_competitors(results) == {}


def test_a_study_without_the_unnormalized_net_has_nothing_to_compare_with():
    results = make_results(activations=("relu",), normalizations=("batch",))
    assert {v.reason for v in judge(results)} == {"this study has no variant none-relu to compare with"}


def test_survival_over_all_planned_tests_is_holm_over_them():
    results = make_results(activations=("relu",), seeds=8, confirm_seeds=8)
    asked = [CLAIMS["higher-learning-rate"], CLAIMS["faster-at-best-rate"], CLAIMS["worth-its-cost"]]
    assert [v.survives_holm_over_all for v in judge(results, asked)] == [True, True, True]
    # 9 planned tests of relu; 2^-8 passes Holm's first step among at most 12 (0.05 x 2^8 = 12.8)
    assert {v.survives_holm_over_all for v in judge(results)} == {True, None}
    small = make_results(activations=("relu",), seeds=6, confirm_seeds=6)
    decided = [v for v in judge(small) if v.outcome in ("SUPPORTED", "REFUTED")]
    assert decided
    assert not any(v.survives_holm_over_all for v in decided)


def test_too_few_seeds_decide_nothing_and_say_so():
    (verdict, _) = only(make_results(seeds=5), "higher-learning-rate")
    assert verdict.outcome == "INCONCLUSIVE"
    assert "5 seeds can decide nothing here, whatever they show: it takes 6." in verdict.reason


def test_an_inconclusive_verdict_says_how_many_seeds_would_likely_settle_it():
    results = make_results(activations=("relu",), seeds=4, confirm_seeds=4)
    (verdict,) = judge(results, [CLAIMS["higher-learning-rate"]])
    assert verdict.seeds_needed is not None
    assert verdict.seeds_needed >= 5
    assert f"About {verdict.seeds_needed} seeds" in verdict.sentence


def test_pairs_of_which_nothing_is_known_are_counted():
    results = make_results(activations=("relu",))
    trials = results.trials
    lost = (trials["variant"] == "none-relu") & (trials["stage"] == "confirm") & (trials["seed"] < 1003)
    (verdict,) = only(without(results, lost, "diverged"), "regularizes")
    assert "3 of 8 pairs say nothing" in verdict.reason
    assert verdict.samples["low"].tolist()[:3] == [-np.inf] * 3
    (blank,) = only(without(results, trials["stage"] == "confirm", "diverged"), "regularizes")
    assert blank.outcome == "INCONCLUSIVE"
    words = "is not settled; the effect is not measurable here (no bounded 90% interval, 8 seeds)"
    assert words in blank.sentence


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_order_of_seeds_changes_nothing(claim):
    results = make_results(activations=("sigmoid",), with_probes=True, with_landscape=True, with_gains=True)
    rng = np.random.default_rng(3)
    mixed = dataclasses.replace(
        results,
        trials=results.trials.sample(frac=1, random_state=rng),
        curves=results.curves.sample(frac=1, random_state=rng),
        probes=results.probes.sample(frac=1, random_state=rng),
    )
    for before, after in zip(only(results, claim), only(mixed, claim), strict=True):
        assert after.sentence == before.sentence
        assert after.p_supported == before.p_supported
        pd.testing.assert_frame_equal(after.samples, before.samples)


@pytest.mark.parametrize("claim", ["higher-learning-rate", "fewer-failures", "faster-at-best-rate"])
@pytest.mark.parametrize("seed", range(0, 8, 2))
def test_one_more_diverged_seed_never_speaks_for_a_normalizer(claim, seed):
    results = make_results(activations=("relu",), edge_spread=0.3, rng=1)
    trials = results.trials
    lost = (trials["variant"] == "batch-relu") & (trials["seed"] % 1000 == seed)
    diverged = {"status": "diverged", "final_val_accuracy": CHANCE, "final_val_loss": LOSS_CAP}
    worse = trials.assign(**{name: trials[name].where(~lost, value) for name, value in diverged.items()})
    curves = results.curves
    hashes = curves["trial_hash"].isin(trials.loc[lost, "trial_hash"])
    changed = dataclasses.replace(
        results,
        trials=worse,
        curves=curves.assign(val_accuracy=curves["val_accuracy"].where(~hashes, CHANCE)),
    )
    before, after = only(results, claim)[0], only(changed, claim)[0]
    assert after.p_supported >= before.p_supported
    assert after.low <= before.low


def test_exactly_zero_gradients_are_flagged():
    results = make_results(activations=("sigmoid",), with_probes=True)
    probes = results.probes
    dead = (probes["probe"] == "gradient_norm") & (probes["layer"] == "conv1") & (probes["seed"] == 2)
    dead &= probes["variant"] == "none-sigmoid"
    changed = dataclasses.replace(results, probes=probes.assign(value=probes["value"].where(~dead, 0.0)))
    (verdict,) = only(changed, "no-vanishing-gradient")
    assert "1 networks have a layer with no gradient at all" in verdict.reason


def test_a_net_with_layers_that_are_switched_off_at_first_has_no_slope():
    """As SkipInit's: the branches get no gradient, the stem does; a floored slope would call that a gain."""
    results = make_results(**SIGMOID, with_probes=True)
    probes = results.probes.copy()
    branch = (
        (probes["variant"] == "batch-sigmoid")
        & (probes["probe"] == "gradient_norm")
        & (probes["step"] == 0)
        & probes["layer"].isin(["conv2", "conv3"])
    )
    assert branch.any()
    probes.loc[branch, "value"] = 0.0
    (verdict,) = only(dataclasses.replace(results, probes=probes), "no-vanishing-gradient")
    assert verdict.outcome == "NOT EVALUABLE"
    assert "layers of batch-sigmoid get no gradient at initialization" in verdict.reason


def test_a_net_that_did_not_train_says_nothing_about_smoothness():
    results = make_results(activations=("relu",), with_landscape=True)
    trials = results.trials
    lost = (trials["stage"] == "confirm") & (trials["variant"] == "none-relu") & (trials["seed"] == 1000)
    (verdict,) = only(without(results, lost, "stuck"), "smoother-landscape")
    assert tuple(verdict.samples.loc[0, ["low", "high"]]) == (-np.inf, np.inf)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw"])
def test_smoothness_is_not_judged_where_steps_do_not_follow_the_gradient(name):
    results = make_results(activations=("relu",), with_landscape=True)
    study = results.study | {"optimizer": {"name": name}}
    (verdict,) = only(dataclasses.replace(results, study=study), "smoother-landscape")
    assert verdict.outcome == "NOT EVALUABLE"
    assert f"trains with {name}, whose steps do not follow the gradient" in verdict.reason


def test_gains_missing_at_a_seed_are_named():
    results = make_results(activations=("relu",), with_gains=True)
    trials = results.trials
    lost = (trials["stage"] == "gains") & (trials["seed"] == 4) & (trials["init_gain"] == 10)
    (verdict,) = only(without(results, lost), "parameter-scale")
    assert verdict.reason == "none-relu was not trained with all 5 init gains at seed 4"


def test_a_gains_stage_that_is_half_done_is_not_judged_on_the_gains_there_are():
    results = make_results(activations=("relu",), with_gains=True)
    half = without(results, (results.trials["stage"] == "gains") & (results.trials["init_gain"] > 1))
    (verdict,) = only(half, "parameter-scale")
    assert verdict.outcome == "NOT EVALUABLE"
    assert "all 5 init gains" in verdict.reason


def test_trials_with_another_init_gain_count_for_no_other_claim():
    plain, varied = (make_results(activations=("relu",), with_gains=gains) for gains in (False, True))
    for claim in ("higher-learning-rate", "wider-stable-band", "fewer-failures"):
        pd.testing.assert_frame_equal(only(plain, claim)[0].samples, only(varied, claim)[0].samples)


SCHEMA = json.loads(Path(claims.__file__).parents[1].joinpath("verdicts.schema.json").read_text())


def check(value, schema):
    """Check a value against the part of JSON Schema that the document uses."""
    if "$ref" in schema:
        return check(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]])
    if "const" in schema:
        assert value == schema["const"]
    if "enum" in schema:
        assert value in schema["enum"]
    if "anyOf" in schema:
        assert sum(_passes(value, option) for option in schema["anyOf"]) >= 1, value
    if "type" in schema:
        types = {
            "object": dict,
            "array": list,
            "string": str,
            "boolean": bool,
            "integer": int,
            "number": (int, float),
            "null": type(None),
        }
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        assert any(
            isinstance(value, types[name]) and (name == "boolean" or not isinstance(value, bool))
            for name in names
        ), (value, names)
    if isinstance(value, dict) and "properties" in schema:
        assert set(value) == set(schema["properties"]) == set(schema["required"])
        for key, item in value.items():
            check(item, schema["properties"][key])
    elif isinstance(value, dict):
        for item in value.values():
            check(item, schema["additionalProperties"])
    if isinstance(value, list):
        for item in value:
            check(item, schema["items"])
    return None


def _passes(value, schema):
    try:
        check(value, schema)
    except AssertionError:
        return False
    return True


def test_verdicts_json_follows_its_schema():
    results = make_results(with_probes=True, untrainable=("none-sigmoid",), edge_spread=0.3)
    verdicts = judge(results)
    document = json.loads(json.dumps(claims.verdicts_document(results, verdicts), allow_nan=False))
    check(document, SCHEMA)
    assert len(document["verdicts"]) == len(verdicts) == 19
    assert list(document["claims"]) == list(CLAIMS)
    ends = [end for verdict in document["verdicts"] for end in (verdict["low"], verdict["high"])]
    assert {"inf", "-inf", None} <= {end for end in ends if not isinstance(end, float)}


def test_a_document_of_another_shape_fails_the_check():
    results = make_results(activations=("relu",))
    document = claims.verdicts_document(results, judge(results))
    for broken in (document | {"alpha": "5%"}, document | {"more": 1}, document | {"schema_version": 1}):
        with pytest.raises(AssertionError):
            check(broken, SCHEMA)


@pytest.mark.parametrize(
    ("claim", "low", "high", "words"),
    [
        ("fewer-failures", 1 / 6, 1 / 3, "+17% to +33% of the range"),
        ("higher-learning-rate", 0.0, 0.5, "1 to 3.16 times"),
        ("regularizes", -0.02, np.inf, "at least -0.020 nats"),
        ("wider-stable-band", -np.inf, 0.5, "at most +0.50 decades"),
        ("no-vanishing-gradient", -np.inf, np.inf, "unbounded"),
    ],
)
def test_an_interval_has_its_unit_once_and_open_ends_in_words(claim, low, high, words):
    assert claims.show_interval(CLAIMS[claim].show, low, high) == words


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.3, 0.1, 0.5), "+0.30 decades"),
        ((np.inf, 0.1, np.inf), "at least +0.10 decades"),
        ((-np.inf, -np.inf, 0.5), "at most +0.50 decades"),
        ((np.nan, -np.inf, np.inf), "not measurable here"),
    ],
)
def test_an_effect_without_a_size_is_its_bound(ends, words):
    assert claims.show_effect(CLAIMS["wider-stable-band"].show, *ends) == words


def test_an_effect_that_is_known_no_better_than_delta_is_the_middle_of_what_is_known():
    show = CLAIMS["fewer-failures"].show
    assert claims.show_middle(show, 0.2, 0.6, delta=0.1) == "the middle of +20% to +60%"
    assert claims.show_middle(show, 0.2, 0.6, delta=0.4) == ""
    assert claims.show_middle(show, 0.2, np.inf, delta=0.1) == ""
    results = make_results(activations=("relu",), untrainable=("none-relu",))
    verdict = only(results, "fewer-failures")[0]
    assert verdict.effect_high - verdict.effect_low > verdict.delta
    assert " of the range (the middle of +" in verdict.sentence
    assert "; 90% interval: " in verdict.sentence
