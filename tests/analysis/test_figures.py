"""Figures are tested on the frame they show, against plain pandas; drawing is tested to happen at all."""

import dataclasses
import itertools

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_results import CHANCE, LOSS_CAP, make_results

from analysis.figures import FIGURES, _style, save, styled
from analysis.figures._style import ACTIVATION_SHADES, NORMALIZATION_DASHES, NORMALIZATION_HUES, style_of
from analysis.results import Results
from analysis.stats import descriptive

# Linear-RGB simulation of full deuteranopia: Machado, Oliveira & Fernandes 2009, table 1 (severity 1.0).
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)


@pytest.fixture(scope="module")
def complete() -> Results:
    return make_results(seeds=4, confirm_seeds=4, num_bisections=1, with_probes=True, with_landscape=True)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands are tested with the statistics; here they need only be drawn."""
    monkeypatch.setattr(descriptive, "NUM_RESAMPLES", 50)


def only(results: Results, keep: pd.Series) -> Results:
    """The results with these trials alone."""
    hashes = results.trials.loc[keep, "trial_hash"]
    return dataclasses.replace(
        results,
        trials=results.trials[keep],
        curves=results.curves[results.curves["trial_hash"].isin(hashes)],
        probes=results.probes[results.probes["trial_hash"].isin(hashes)],
    )


def undecided(results: Results) -> Results:
    known = {key: results.decisions[key] for key in ("num_classes", "loss_cap")}
    return dataclasses.replace(results, decisions=known)


RELU = {"activations": ("relu",)}
CASES = {
    "complete": lambda full: full,
    "empty": lambda full: dataclasses.replace(only(full, full.trials["seed"] < 0), decisions={}, steps_s={}),
    "half a sweep": lambda full: undecided(
        only(full, (full.trials["variant"] == "none-sigmoid") & (full.trials["stage"] == "sweep"))
    ),
    "sweep only": lambda full: only(full, full.trials["stage"] == "sweep"),
    "still running": lambda full: dataclasses.replace(full, trials=full.trials.assign(status="running")),
    "all diverged": lambda full: make_results(seeds=2, **RELU, edges=dict.fromkeys(full.variants, -9.0)),
    "one seed": lambda full: make_results(seeds=1, confirm_seeds=1, with_probes=True, num_bisections=1),
    "never trained": lambda full: make_results(seeds=2, confirm_seeds=2, untrainable={"none-sigmoid"}),
    "one rate": lambda full: make_results(seeds=2, **RELU, sampler="fixed"),
    "no baseline": lambda full: make_results(
        seeds=2, confirm_seeds=2, **RELU, normalizations=("batch", "other")
    ),
}


# Layout takes most of the time, and warns of what doesn't fit; the report's tests draw the complete case.
RENDERED = {"half a sweep", "one seed"}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, complete: Results) -> tuple[str, Results]:
    return request.param, CASES[request.param](complete)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_or_says_why_not(case: tuple[str, Results], name: str) -> None:
    title, results = case
    drawing = FIGURES[name]
    reason = drawing.applies(results)
    if title == "complete":
        assert reason is None
    if title in ("empty", "still running") and name != "training-time":  # which is measured beforehand
        assert reason
    frame = drawing.prepare(results)  # must not fail, whatever the study holds
    if reason is not None:
        assert reason.strip()
        return
    if title == "complete":
        return
    with styled():
        figure = drawing.draw(frame)
        if title in RENDERED:
            figure.draw_without_rendering()
    assert isinstance(figure, Figure)
    assert any(panel.has_data() for panel in figure.axes)
    assert not set("{}") & set(drawing.describe(frame))


def of_best(results: Results, rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Curves or probes of a variant's confirm trials at its own best rate."""
    best = results.decisions["variants"][variant]["best_learning_rate"]
    at_best = np.isclose(rows["trial_learning_rate"], best)
    return rows[(rows["variant"] == variant) & (rows["stage"] == "confirm") & at_best]


@pytest.mark.parametrize("name", ["outcome-map", "max-stable-rate"])
def test_files_are_the_same_each_time(complete: Results, name: str, tmp_path) -> None:
    drawing = FIGURES[name]
    frame = drawing.prepare(complete)
    contents = []
    for attempt in ("a", "b"):
        with styled():
            figure = drawing.draw(frame)
        contents.append([path.read_bytes() for path in save(figure, tmp_path / attempt)])
    assert contents[0] == contents[1]


def test_learning_curves_are_means_over_fresh_seeds_at_the_own_best_rate(complete: Results) -> None:
    frame = FIGURES["learning-curves"].prepare(complete)
    own = of_best(complete, complete.curves, "batch-relu")
    expected = own.groupby("step")["val_accuracy"].mean()
    shown = frame[
        (frame["variant"] == "batch-relu")
        & (frame["split"] == "validation")
        & (frame["metric"] == "accuracy")
    ].set_index("step")
    np.testing.assert_allclose(shown["mean"], expected)
    assert (shown["n"] == 4).all()
    assert (shown["low"] <= shown["mean"] + 1e-12).all()
    assert (shown["high"] >= shown["mean"] - 1e-12).all()


def test_a_diverged_trial_counts_as_the_constant_predictor_to_the_end() -> None:
    results = make_results(seeds=2, sampler="fixed", edges={"none-relu": -9.0})
    frame = FIGURES["learning-curves"].prepare(results)
    own = frame[(frame["variant"] == "none-relu") & (frame["split"] == "validation")]
    last = own[own["step"] == results.study["budget"]["num_steps"]].set_index("metric")["mean"]
    assert last["loss"] == pytest.approx(LOSS_CAP)
    assert last["accuracy"] == pytest.approx(CHANCE)


def test_losses_carry_the_unit_of_the_studys_loss(complete: Results) -> None:
    loss = complete.schema["metrics"]["val_loss"] | {"unit": "1"}
    schema = complete.schema | {"metrics": complete.schema["metrics"] | {"val_loss": loss}}
    unitless = dataclasses.replace(complete, schema=schema)
    for name in ("learning-curves", "all-variants", "rate-response", "generalization-gap", "landscape"):
        for results, shown in ((complete, True), (unitless, False)):
            with styled():
                figure = FIGURES[name].draw(FIGURES[name].prepare(results))
            labels = " ".join(panel.get_ylabel() + panel.get_xlabel() for panel in figure.axes)
            assert ("(nats)" in labels) is shown


def test_one_seed_has_no_band() -> None:
    results = make_results(seeds=1, sampler="fixed")
    assert FIGURES["learning-curves"].prepare(results)[["low", "high"]].isna().all(axis=None)
    assert FIGURES["seed-spread"].prepare(results)[["low", "high"]].isna().all(axis=None)


def test_outcome_map_is_the_cross_table_of_the_sweep(complete: Results) -> None:
    frame = FIGURES["outcome-map"].prepare(complete)
    sweep = complete.trials[complete.trials["stage"] == "sweep"]
    expected = pd.crosstab([sweep["variant"], sweep["learning_rate"]], sweep["status"], normalize="index")
    shown = frame.set_index(["variant", "learning_rate"])
    for outcome in expected:
        pd.testing.assert_series_equal(
            shown[outcome].sort_index(), expected[outcome].sort_index(), check_names=False
        )
    np.testing.assert_allclose(frame[["trained", "stuck", "diverged"]].sum(axis=1), 1)


def test_rate_response_caps_losses_and_keeps_every_trial(complete: Results) -> None:
    trials = complete.trials.assign(final_val_loss=1e6)
    frame = FIGURES["rate-response"].prepare(dataclasses.replace(complete, trials=trials))
    assert len(frame) == (complete.trials["stage"] == "sweep").sum()
    assert (frame["loss"] == LOSS_CAP).all()


def test_time_to_target_without_censoring_is_the_empirical_distribution(complete: Results) -> None:
    frame = FIGURES["time-to-target"].prepare(complete)
    curve = frame[(frame["variant"] == "batch-relu") & (frame["comparison"].str.startswith("each"))]
    target = complete.decisions["targets"]["relu"]["accuracy"]
    own = of_best(complete, complete.curves, "batch-relu")
    arrivals = own[own["val_accuracy"] >= target].groupby("seed")["step"].min()
    assert len(arrivals) == 4
    assert len(curve) > 1
    for row in curve.itertuples():
        assert row.share == pytest.approx((arrivals <= row.step).mean())


def test_time_to_target_never_reached_stays_below_one(complete: Results) -> None:
    targets = {a: {"accuracy": 1.5, "variant": f"none-{a}"} for a in complete.activations}
    unreachable = dataclasses.replace(complete, decisions=complete.decisions | {"targets": targets})
    frame = FIGURES["time-to-target"].prepare(unreachable)
    assert len(frame)
    assert (frame["share"] == 0).all()


def test_training_time_is_per_step(complete: Results) -> None:
    frame = FIGURES["training-time"].prepare(complete)
    seconds = frame.groupby("variant")["seconds_per_100_steps"].mean()
    assert seconds["none-relu"] == pytest.approx(1.0)  # made with 10 ms and 12 ms per step
    assert seconds["batch-relu"] == pytest.approx(1.2)


def test_max_stable_rate_shows_open_ends(complete: Results) -> None:
    results = make_results(seeds=2, edges={"batch-relu": 9.0}, num_bisections=0)
    frame = FIGURES["max-stable-rate"].prepare(results).set_index("variant")
    assert np.isposinf(frame.loc["none-relu", "high"]).sum() == 0
    diverging = make_results(seeds=2, untrainable={"none-relu"}, num_bisections=0)
    never = FIGURES["max-stable-rate"].prepare(diverging).set_index("variant").loc["none-relu"]
    assert np.isneginf(never["low"]).all()
    assert np.isposinf(never["high"]).all()


def test_probability_of_improvement_counts_pairs(complete: Results) -> None:
    best = {v: d["best_learning_rate"] for v, d in complete.decisions["variants"].items()}
    accuracy = {"none-relu": [0.5, 0.5, 0.5, 0.5], "batch-relu": [0.6, 0.6, 0.5, 0.4]}
    trials = complete.trials.copy()
    for variant, values in accuracy.items():
        rows = (trials["variant"] == variant) & (trials["stage"] == "confirm")
        rows &= np.isclose(trials["learning_rate"], best[variant])
        trials.loc[rows, "final_val_accuracy"] = values
    frame = FIGURES["probability-of-improvement"].prepare(dataclasses.replace(complete, trials=trials))
    assert frame.set_index("variant").loc["batch-relu", "probability"] == pytest.approx(2.5 / 4)


def test_performance_profile_falls_from_one_to_zero(complete: Results) -> None:
    frame = FIGURES["performance-profile"].prepare(complete)
    assert set(frame["variant"]) == set(complete.variants)
    for _, curve in frame.groupby("variant"):
        assert curve["share"].iloc[0] == 1
        assert curve["share"].iloc[-1] == 0
        assert (np.diff(curve["share"]) <= 0).all()


def test_gradient_depth_takes_the_median_over_seeds(complete: Results) -> None:
    frame = FIGURES["gradient-depth"].prepare(complete)
    best = complete.decisions["variants"]["none-sigmoid"]["best_learning_rate"]
    probes = complete.probes
    own = probes[
        (probes["variant"] == "none-sigmoid")
        & (probes["stage"] == "confirm")
        & np.isclose(probes["trial_learning_rate"], best)
        & (probes["probe"] == "gradient_norm")
        & (probes["step"] == 0)
    ]
    shown = frame[(frame["variant"] == "none-sigmoid") & (frame["moment"] == "at initialization")]
    np.testing.assert_allclose(
        shown.set_index("layer")["median"].sort_index(), own.groupby("layer")["value"].median()
    )


def test_saturation_follows_one_unit_of_one_seed(complete: Results) -> None:
    frame = FIGURES["saturation"].prepare(complete)
    unit = frame[(frame["variant"] == "batch-relu") & (frame["kind"] == "percentile")]
    assert set(unit["layer"]) == {"conv6"}  # the last convolution, not the dense layer after it
    assert not unit.duplicated(["step", "percentile"]).any()
    assert set(frame.loc[frame["variant"] == "none-relu", "kind"]) == {"dead", "percentile"}
    assert set(frame.loc[frame["variant"] == "none-sigmoid", "kind"]) == {"saturated", "percentile"}


def test_the_fixed_unit_of_an_mlp_is_in_its_last_hidden_layer(complete: Results) -> None:
    renamed = complete.probes["layer"].str.replace("conv", "hidden")
    mlp = dataclasses.replace(complete, probes=complete.probes.assign(layer=renamed))
    frame = FIGURES["saturation"].prepare(mlp)
    assert set(frame.loc[frame["kind"] == "percentile", "layer"]) == {"hidden6"}


def test_landscape_shows_every_seed_between_its_ends(complete: Results) -> None:
    frame = FIGURES["landscape"].prepare(complete)
    own = of_best(complete, complete.probes, "batch-relu")
    own = own[own["probe"] == "landscape_smoothness"].groupby("step")["value"]
    frame = frame[(frame["panel"] == "landscape_smoothness") & (frame["walk"] == "same steps")]
    shown = frame[frame["variant"] == "batch-relu"].set_index("step")
    np.testing.assert_allclose(shown["low"], own.min())
    np.testing.assert_allclose(shown["median"], own.median())
    np.testing.assert_allclose(shown["high"], own.max())
    assert (shown["n"] == 4).all()


@pytest.mark.parametrize(("walk", "suffix"), [("same steps", ""), ("own steps", "_own_rate")])
@pytest.mark.parametrize("quantity", ["loss", "gradient_change"])
def test_landscape_bands_run_between_the_medians_of_the_walks_ends(
    complete: Results, quantity: str, walk: str, suffix: str
) -> None:
    own = of_best(complete, complete.probes, "none-relu")
    frame = FIGURES["landscape"].prepare(complete)
    of_walk = frame[(frame["variant"] == "none-relu") & (frame["walk"] == walk)]
    shown = of_walk[of_walk["panel"] == quantity].set_index("step")
    for column, end in (("low", "min"), ("high", "max")):
        values = own[own["probe"] == f"landscape_{quantity}_{end}{suffix}"]
        wide = values.pivot_table(index="step", columns="seed", values="value")
        np.testing.assert_allclose(shown[column], np.median(wide, axis=1))
    assert (shown["n"] == 4).all()
    with styled():
        figure = FIGURES["landscape"].draw(frame)
    assert len(figure.axes) == 6
    assert all(len(panel.collections) == len(complete.variants) for panel in figure.axes)


def test_a_walk_that_leaves_the_finite_counts_at_neither_end(complete: Results) -> None:
    probes = complete.probes.copy()
    lost = (probes["probe"] == "landscape_loss_max") & (probes["seed"] == probes["seed"].max())
    probes.loc[lost, "value"] = np.inf
    frame = FIGURES["landscape"].prepare(dataclasses.replace(complete, probes=probes))
    without = complete.probes[complete.probes["seed"] < probes["seed"].max()]
    expected = FIGURES["landscape"].prepare(dataclasses.replace(complete, probes=without))
    shown, rest = (
        f[(f["panel"] == "loss") & (f["walk"] == "same steps")].reset_index(drop=True)
        for f in (frame, expected)
    )
    pd.testing.assert_frame_equal(shown, rest)
    assert (shown["n"] == 3).all()


def test_landscape_of_many_variants_has_no_bands() -> None:
    names = ("none", *(f"group{n}" for n in range(6)))
    many = make_results(
        seeds=2, confirm_seeds=2, **RELU, normalizations=names, num_bisections=0, with_landscape=True
    )
    with styled():
        figure = FIGURES["landscape"].draw(FIGURES["landscape"].prepare(many))
    assert [len(panel.collections) for panel in figure.axes] == [0] * 6
    assert [len(panel.get_lines()) for panel in figure.axes] == [7] * 6


@pytest.mark.parametrize("name", ["landscape", "equal-loss-smoothness"])
def test_no_walk_is_drawn_of_an_optimizer_that_does_not_follow_the_gradient(
    complete: Results, name: str
) -> None:
    study = complete.study | {"optimizer": {"name": "adam"}}
    reason = FIGURES[name].applies(dataclasses.replace(complete, study=study))
    assert "adam, whose steps do not follow the gradient" in reason


def at_equal_rates(results: Results, probe: str, variant: str) -> pd.DataFrame:
    """A probe's rows in confirm trials at the unnormalized net's best rate."""
    activation = variant.rpartition("-")[2]
    rate = results.decisions["variants"][f"none-{activation}"]["best_learning_rate"]
    rows = results.probes[(results.probes["probe"] == probe) & (results.probes["stage"] == "confirm")]
    return rows[(rows["variant"] == variant) & np.isclose(rows["trial_learning_rate"], rate)]


@pytest.mark.parametrize(
    ("name", "probe"),
    [("equal-loss-smoothness", "landscape_smoothness"), ("covariate-shift", "covariate_shift_relative")],
)
def test_nets_are_compared_at_equal_rates_and_training_losses(
    complete: Results, name: str, probe: str
) -> None:
    """What is a function of the training loss is drawn as it; trials at other rates count for nothing."""
    own = at_equal_rates(complete, probe, "batch-relu")
    curves = complete.curves.set_index(["trial_hash", "step"])["clean_train_loss"]
    values = curves.loc[list(zip(own["trial_hash"], own["step"], strict=True))].to_numpy()
    made = own.assign(value=3 * values)
    others = complete.probes[(complete.probes["probe"] == probe) & ~complete.probes.index.isin(own.index)]
    probes = pd.concat([made, others.assign(value=-1.0)])
    frame = FIGURES[name].prepare(dataclasses.replace(complete, probes=probes))
    shown = frame[frame["variant"] == "batch-relu"]
    assert len(shown) > 5
    np.testing.assert_allclose(shown["median"], 3 * shown["level"])
    assert (frame.loc[frame["variant"] == "none-relu", "median"] == -1.0).all()
    assert shown["n"].max() == 4
    assert not (frame["level"] < 0).any()


def test_covariate_shift_leaves_out_the_layer_with_none_below_it(complete: Results) -> None:
    frame = FIGURES["covariate-shift"].prepare(complete)
    assert set(frame["layer"]) == {"conv2", "conv3", "conv4", "conv5", "conv6", "dense"}
    shift = frame[frame["probe"] == "covariate_shift_relative"]
    np.testing.assert_allclose(shift["median"].astype(float), 0.1 * shift["index"].astype(float))


def test_ranking_draws_a_bar_per_ranked_variant(complete: Results) -> None:
    drawing = FIGURES["ranking"]
    frame = drawing.prepare(complete)
    assert set(frame["variant"]) == set(complete.variants)
    assert "sign flips of 4 whole seeds" in drawing.describe(frame)


def test_statistics_difference_leaves_out_nets_without_running_statistics(complete: Results) -> None:
    curves = complete.curves.copy()
    plain = curves["normalization"] == "none"
    curves.loc[plain, "val_accuracy_ema"] = curves.loc[plain, "val_accuracy"]
    frame = FIGURES["statistics-difference"].prepare(dataclasses.replace(complete, curves=curves))
    assert set(frame["variant"]) == {"batch-sigmoid", "batch-relu"}


def test_known_variants_all_look_different() -> None:
    styles = [style_of(norm, act) for norm in NORMALIZATION_HUES for act in ACTIVATION_SHADES]
    assert len({style.colour for style in styles}) == len(styles)
    neighbours = list(NORMALIZATION_DASHES.values())
    assert all(one != other for one, other in itertools.pairwise(neighbours))


def test_a_legend_fits_and_takes_its_height_from_no_panel() -> None:
    for num_variants in (2, 30):
        with styled():
            figure, _ = _style.panels(1, 1, 3.0)
            before = figure.get_figheight()
            styles = {
                f"some-normalization{number}-sigmoid": style_of(f"some-normalization{number}", "sigmoid")
                for number in range(num_variants)
            }
            _style.legend_above(figure, _style.variant_handles(styles))
            extent = figure.legends[0].get_window_extent()
        assert extent.width <= figure.bbox.width
        assert len(figure.legends) == 1
        assert (figure.get_figheight() > before) == (num_variants > 2)
        assert figure.get_figheight() - before <= extent.height / figure.dpi


def test_many_variants_have_a_panel_per_activation() -> None:
    few = pd.DataFrame({"variant": ["none-relu", "batch-relu", "none-relu"], "activation": "relu"})
    assert _style.grouped(few) == [("", ["none-relu", "batch-relu"])]
    many = [(f"group{number}-{act}", act) for act in ("relu", "hard-tanh") for number in range(5)]
    names = [name for name, _ in many]
    groups = _style.grouped(pd.DataFrame(many + many, columns=["variant", "activation"]))
    assert groups == [("relu", names[:5]), ("hard-tanh", names[5:])]


def test_marks_of_one_rate_stay_nearer_to_it_than_to_the_next() -> None:
    many = make_results(
        activations=("relu",), normalizations=("none", *(f"group{n}" for n in range(12))), num_bisections=0
    )
    drawing = FIGURES["rate-response"]
    with styled():
        figure = drawing.draw(drawing.prepare(many))
    rates = np.log10(sorted(many.trials.loc[many.trials["stage"] == "sweep", "learning_rate"].unique()))
    lines = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "None"]
    assert len(lines) >= len(many.variants)
    for line in lines:
        marks = np.log10(np.asarray(line.get_xdata(), dtype=float))
        assert np.abs(marks[:, None] - rates).min(axis=1).max() < 0.3 * np.diff(rates).min()


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
def test_the_main_pair_differs_to_a_colour_blind_eye_and_in_grey(activation: str) -> None:
    pair = [style_of(norm, activation) for norm in ("none", "batch")]
    linear = [np.asarray(matplotlib.colors.to_rgb(style.colour)) ** 2.2 for style in pair]
    seen = [np.clip(DEUTERANOPIA @ colour, 0, 1) ** (1 / 2.2) for colour in linear]
    assert np.linalg.norm(seen[0] - seen[1]) > 0.3
    assert pair[0].dashes != pair[1].dashes


def test_an_unknown_name_keeps_its_look_from_run_to_run() -> None:
    # Pinned: a colour that moved would repaint every report. Python's own hash() changes per process.
    assert style_of("brand-new", "relu").colour == PINNED_COLOUR
    assert style_of("brand-new", "relu").marker == style_of("batch", "relu").marker


PINNED_COLOUR = "#2660ae"
