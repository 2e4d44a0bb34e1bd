"""Studies with an axis: which runs belong together, what stands side by side, and the head report."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from scipy import stats
from synthetic_results import make_results

import analysis.report
from analysis.claims import CLAIMS, judge
from analysis.family import Family, of_one_family
from analysis.figures import AXIS_FIGURES, styled
from analysis.matrix import LETTERS, by_normalizer, by_value
from analysis.measures import (
    axis_errors,
    axis_places,
    axis_table,
    axis_trends,
    confirm_trials,
    max_stable_rate,
)
from analysis.report import write_family
from analysis.stats import estimate, signed_rank_pvalue

AXIS = {"key": "budget.batch_size", "label": "batch size", "values": [2, 16, 256], "names": []}


def member(position, axis=AXIS, **options):
    small = {"activations": ("relu",), "seeds": 5, "confirm_seeds": 5, "num_bisections": 0, "rng": position}
    made = make_results(**small | options)
    budget = made.study["budget"] | {"batch_size": axis["values"][position]}
    study = made.study | {"axis": axis | {"position": position}, "budget": budget}
    return dataclasses.replace(made, study=study, run_id=str(position) * 32, study_hash=f"{position}abc")


@pytest.fixture(scope="module")
def family():
    """Two of three values; batch normalization fails at the first."""
    members = (member(0, untrainable={"batch-relu"}), member(2))
    return Family(members, members[1])


def test_members_differ_in_their_value_alone():
    first, second = member(0).study, member(1).study
    assert of_one_family(first, second)
    assert of_one_family(first, second | {"description": "other words"})
    assert not of_one_family(first, second | {"seeds": {"sweep": 6, "confirm": 6}})
    assert not of_one_family(first, second | {"axis": second["axis"] | {"values": [2, 16]}})
    assert not of_one_family(first, make_results(activations=("relu",), seeds=1, confirm_seeds=1).study)
    assert second["axis"]["position"] == 1  # comparing takes nothing away


@pytest.mark.parametrize(
    ("values", "names", "places"),
    [
        ([2, 4, 10], [], [2, 4, 10]),
        ([2, 20, 200], ["a", "b", "c"], np.log10([2, 20, 200])),
        ([{"batch_size": 2}, {"batch_size": 200}], ["2", "200"], np.log10([2, 200])),
        ([{"name": "mse"}, {"name": "focal"}], ["a", "b"], [0, 1]),
        (["before", "after"], [], [0, 1]),
        ([1, {"batch_size": 2}], [], [0, 1]),
        ([{"name": "a"}, {"name": "b"}], ["nan", "1"], [0, 1]),
    ],
)
def test_where_values_stand(values, names, places):
    """Numbers at themselves, or at their logarithms; of tables, the names that are numbers."""
    axis = {"key": "x", "label": "x", "values": values, "names": names}
    study = make_results(activations=("relu",), seeds=1, confirm_seeds=1).study
    made = dataclasses.replace(make_results(), study=study | {"axis": axis | {"position": 0}})
    assert axis_places(Family((made,), made)) == pytest.approx(places)


def test_a_section_may_be_the_value():
    axis = {
        "key": "loss",
        "label": "loss",
        "values": [{"name": "mse"}, {"name": "focal"}],
        "names": ["a", "b"],
    }
    studies = [{"loss": v, "axis": axis | {"position": i}, "name": "x"} for i, v in enumerate(axis["values"])]
    assert of_one_family(*studies)


def test_values_have_names_folders_and_places(family):
    assert family.names == ["2", "16", "256"]
    assert family.missing == ["16"]
    assert [family.folder_of(one) for one in family.members] == ["0-2", "2-256"]
    assert axis_places(family) == pytest.approx(np.log10([2, 16, 256]))  # more than a decade
    narrow = member(0, AXIS | {"values": [2, 4, 8]})
    assert axis_places(Family((narrow,), narrow)) == [2, 4, 8]
    named = member(1, AXIS | {"values": ["a", "b"], "names": ["Label smoothing 0.1", "../B"]})
    assert axis_places(Family((named,), named)) == [0, 1]
    assert Family((named,), named).folder_of(named) == "1-..-b"


def test_errors_are_of_fresh_seeds_at_the_own_best_rate(family):
    errors = axis_errors(family)
    assert set(errors.loc[errors["value"] == "2", "variant"]) == {"none-relu"}  # no best rate of batch
    last = family.members[1]
    rate = last.decisions["variants"]["batch-relu"]["best_learning_rate"]
    own = last.trials[(last.trials["variant"] == "batch-relu") & (last.trials["stage"] == "confirm")]
    own = own[np.isclose(own["learning_rate"], rate)]
    shown = errors[(errors["value"] == "256") & (errors["variant"] == "batch-relu")]
    np.testing.assert_allclose(np.sort(shown["error"]), np.sort(1 - own["final_val_accuracy"]))
    table = axis_table(family, np.random.default_rng(0)).set_index(["value", "variant"])
    row = table.loc[("256", "batch-relu")]
    assert row["error_mean"] == pytest.approx(1 - own["final_val_accuracy"].mean())
    assert row["error_ema_mean"] == pytest.approx(1 - own["final_val_accuracy_ema"].mean())
    assert row["n"] == 5
    assert (row["stable_low"], row["stable_high"]) == pytest.approx((1.0, 10.0))  # its edge is 10^0.6
    untrained = table.loc[("2", "batch-relu")]
    assert untrained["n"] == 0
    assert np.isnan(untrained["error_mean"])
    assert untrained["stable_low"] == 0


SEEDS = {"seeds": 8, "confirm_seeds": 8, "num_bisections": 3}


def falling(axis=AXIS, **last):
    """The unnormalized net's edge falls by 0.5 decades from value to value; batch normalization's stays."""
    edges = [{"none-relu": edge} for edge in (0.2, -0.3, -0.8)]
    options = [{"edges": edge, "edge_spread": 0.02} | SEEDS for edge in edges]
    options[-1] |= last
    members = tuple(member(position, axis, **own) for position, own in enumerate(options))
    return Family(members, members[0])


def test_a_trend_is_each_seeds_slope():
    family = falling()
    trends = axis_trends(family).set_index(["measure", "variant"])
    stable = trends.loc["highest stable rate"]
    assert (stable["per"] == "doubling").all()
    # 0.5 decades per step; the steps are log2 of 8 and of 16. The bisected edges are known to 0.125 decades.
    truth = np.polyfit(np.log2([2, 16, 256]), [0.2, -0.3, -0.8], 1)[0]
    assert stable.loc["none-relu", "slope"] == pytest.approx(truth, abs=0.02)
    assert stable.loc["none-relu", "slope_low"] < truth < stable.loc["none-relu", "slope_high"] < 0
    assert stable.loc["none-relu", "p_falls"] == pytest.approx(2 * 2**-8)  # Holm over two variants
    assert stable.loc["none-relu", "p_rises"] == 1
    assert min(stable.loc["batch-relu", ["p_falls", "p_rises"]]) > 0.05

    errors = [1 - confirm_trials(one, "none-relu")["final_val_accuracy"].to_numpy() for one in family.members]
    slopes = np.polyfit(np.log2([2, 16, 256]), np.stack(errors), 1)[0]
    found = trends.loc[("final error", "none-relu")]
    walsh = [(a + b) / 2 for i, a in enumerate(slopes) for b in slopes[i:]]
    assert found["slope"] == pytest.approx(np.median(walsh), abs=1e-9)
    assert found["n"] == 8


def test_a_trend_takes_the_least_and_the_greatest_that_intervals_allow():
    """By brute force over the ends; along an axis with distances."""
    family = falling(AXIS | {"values": [2, 4, 8]})
    edges = [max_stable_rate(one, "batch-relu") for one in family.members]
    least, greatest = [], []
    for seed in range(8):
        ends = [one.loc[seed, ["low", "high"]].astype(float) for one in edges]
        slopes = [np.polyfit([2, 4, 8], chosen, 1)[0] for chosen in itertools.product(*ends)]
        least.append(min(slopes))
        greatest.append(max(slopes))
    expected = estimate(least, greatest)
    trends = axis_trends(family).set_index(["measure", "variant"])
    found = trends.loc[("highest stable rate", "batch-relu")]
    assert found["per"] == "unit"
    assert found["slope"] == pytest.approx(expected.effect, abs=1e-9)
    assert (found["slope_low"], found["slope_high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def sign_flips(effects):
    """Exact one-sided p of effects above 0: the share of sign patterns with at least this sum of ranks."""
    ranks = stats.rankdata(np.abs(np.round(effects, 9)))
    sums = [np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return np.mean(np.array(sums) >= ranks[np.round(effects, 9) > 0].sum())


def test_the_lead_on_the_unnormalized_net_has_a_trend_of_its_own():
    """The difference of log10 rates and of errors, seed by seed, by brute force over the intervals' ends."""
    values = [2, 7, 300]
    family = falling(AXIS | {"values": values})
    trends = axis_trends(family).set_index(["measure", "variant"])
    assert list(trends.index.get_level_values("measure").unique()) == [
        "highest stable rate",
        "highest stable rate, against none",
        "final error",
        "final error, against none",
    ]
    against = trends.loc["highest stable rate, against none"]
    assert list(against.index) == ["batch-relu"]  # the unnormalized net is not compared with itself
    found = against.loc["batch-relu"]

    places = np.log2(values)
    edges = {v: [max_stable_rate(one, v) for one in family.members] for v in ("none-relu", "batch-relu")}
    least, greatest = [], []
    for seed in range(8):
        ends = [
            [
                own.loc[seed, "low"] - other.loc[seed, "high"],
                own.loc[seed, "high"] - other.loc[seed, "low"],
            ]
            for own, other in zip(edges["batch-relu"], edges["none-relu"], strict=True)
        ]
        slopes = [stats.linregress(places, chosen).slope for chosen in itertools.product(*ends)]
        least.append(min(slopes))
        greatest.append(max(slopes))
    assert np.isfinite(least + greatest).all()
    # The unnormalized net's edge falls by 0.5 decades per step, batch normalization's stays: the lead rises.
    assert found["slope_low"] < -stats.linregress(places, [0.2, -0.3, -0.8]).slope < found["slope_high"]
    assert found["p_rises"] == pytest.approx(sign_flips(np.array(least)))
    assert found["p_rises"] == 2**-8  # one test in its family
    assert found["p_falls"] == pytest.approx(sign_flips(-np.array(greatest)))
    expected = estimate(least, greatest)
    assert (found["slope_low"], found["slope"], found["slope_high"]) == pytest.approx(
        (expected.low, expected.effect, expected.high), abs=1e-9
    )

    errors = {
        v: np.stack([1 - confirm_trials(one, v)["final_val_accuracy"].to_numpy() for one in family.members])
        for v in edges
    }
    slopes = [stats.linregress(places, seed).slope for seed in (errors["batch-relu"] - errors["none-relu"]).T]
    slopes = np.round(slopes, 9)
    found = trends.loc[("final error, against none", "batch-relu")]
    for column, alternative, against in (("p_rises", "greater", -1e-12), ("p_falls", "less", 1e-12)):
        every_sign = stats.PermutationMethod(n_resamples=2**8)  # which is exact with ties too
        counted = np.where(slopes == 0, against, slopes)  # SciPy would drop a zero
        oracle = stats.wilcoxon(counted, alternative=alternative, method=every_sign).pvalue
        assert found[column] == pytest.approx(oracle)
    assert (found["n"], found["family_size"]) == (8, 1)


def test_leads_are_adjusted_over_what_is_compared_with_none():
    normalizations = ("none", "batch", "layer", "none-he")
    members = tuple(
        member(position, normalizations=normalizations, edges={"none-relu": edge}, **SEEDS)
        for position, edge in enumerate((0.2, -0.3, -0.8))
    )
    trends = axis_trends(Family(members, members[0])).set_index(["measure", "variant"])
    against = trends.loc["highest stable rate, against none"]
    assert list(against.index) == ["batch-relu", "layer-relu", "none-he-relu"]
    assert (against["family_size"] == 3).all()
    assert (trends.loc["highest stable rate", "family_size"] == 4).all()

    without = tuple(member(position, normalizations=("batch", "layer"), **SEEDS) for position in range(3))
    measures = axis_trends(Family(without, without[0]))["measure"]
    assert set(measures) == {"highest stable rate", "final error"}  # nothing to compare with


def test_a_lead_is_open_where_either_net_has_no_stable_rate():
    for untrainable in ("none-relu", "batch-relu"):
        trends = axis_trends(falling(untrainable={untrainable})).set_index(["measure", "variant"])
        found = trends.loc[("highest stable rate, against none", "batch-relu")]
        assert (found["slope_low"], found["slope_high"]) == (-np.inf, np.inf)
        assert found["p_falls"] == found["p_rises"] == 1
        assert ("final error, against none", "batch-relu") not in trends.index


def test_a_value_without_a_stable_rate_leaves_a_trend_open():
    trends = axis_trends(falling(untrainable={"none-relu"})).set_index(["measure", "variant"])
    found = trends.loc[("highest stable rate", "none-relu")]
    assert (found["slope_low"], found["slope_high"]) == (-np.inf, np.inf)
    assert found["p_falls"] == found["p_rises"] == 1
    assert ("final error", "none-relu") not in trends.index  # no best rate, no confirm trials


def test_what_has_no_trend_counts_in_the_family():
    """Holm over the planned variants: a p does not shrink because the other variant never trained."""
    family = falling(untrainable={"batch-relu"})
    trends = axis_trends(family).set_index(["measure", "variant"])
    assert ("final error", "batch-relu") not in trends.index
    errors = [1 - confirm_trials(one, "none-relu")["final_val_accuracy"].to_numpy() for one in family.members]
    slopes = np.polyfit(np.log2([2, 16, 256]), np.stack(errors), 1)[0]
    found = trends.loc[("final error", "none-relu")]
    assert found["p_rises"] == min(1, 2 * signed_rank_pvalue(slopes))
    assert found["p_falls"] == min(1, 2 * signed_rank_pvalue(-slopes))


def test_a_middle_value_without_a_stable_rate_takes_nothing():
    """Its weight is zero, but for rounding, on an axis of equal distances."""
    axis = AXIS | {"values": [16, 64, 256]}
    members = tuple(
        member(position, axis, **SEEDS, edge_spread=0.02, untrainable={"none-relu"} if position == 1 else ())
        for position in range(3)
    )
    trends = axis_trends(Family(members, members[0])).set_index(["measure", "variant"])
    assert np.isfinite(
        trends.loc[("highest stable rate", "none-relu"), ["slope_low", "slope_high"]].astype(float)
    ).all()


def test_trends_need_every_value_and_numbers(family):
    assert axis_trends(family).empty  # 16 is missing
    assert axis_trends(falling(AXIS | {"values": ["sgd", "rmsprop", "adam"]})).empty
    begun = [dataclasses.replace(one, trials=one.trials.iloc[:0], decisions={}) for one in falling().members]
    assert axis_trends(Family(tuple(begun), begun[0])).empty


def test_the_head_report_says_when_no_trend_can_be_told(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis.report, "draw_all", lambda *_: list)
    members = tuple(member(position) for position in range(3))  # five seeds: 2 * 2^-5 is above 5%
    write_family(Family(members, members[0]), tmp_path / "study")
    for page in ("report.html", "report.md"):
        text = (tmp_path / "study" / page).read_text(encoding="utf-8")
        for measure in ("Highest stable rate", "Final error"):
            assert f"{measure}: no result of these seeds could tell a trend, it takes 6." in text
        assert "against none: no result" not in text  # a family of one: 2^-5 is below 5%


def test_the_head_report_says_what_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis.report, "draw_all", lambda *_: list)
    write_family(falling(), tmp_path / "study")
    for page in ("report.html", "report.md"):
        text = (tmp_path / "study" / page).read_text(encoding="utf-8")
        row = text[text.index("highest stable rate", text.index("rise or fall")) :]
        assert row.index("none-relu") < row.index("falls") < row.index("decades per doubling")
        row = text[text.index("highest stable rate, against none") :]
        assert row.index("batch-relu") < row.index("rises") < row.index("decades per doubling")
        assert "one-sided at 5%" in text


@pytest.mark.parametrize("name", AXIS_FIGURES)
@pytest.mark.parametrize("values", [[2, 16, 256], ["sgd", "rmsprop", "adam"]])
def test_axis_figures_draw_what_they_prepare(name, values):
    members = tuple(member(position, AXIS | {"values": values}) for position in (0, 2))
    drawing = AXIS_FIGURES[name]
    frame = drawing.prepare(Family(members, members[0]))
    with styled():
        figure = drawing.draw(frame)
        figure.draw_without_rendering()
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == [str(values[0]), str(values[2])]
    assert figure.axes[0].get_xlabel() == "batch size"
    assert "5 " in drawing.describe(frame)


def test_figures_of_a_family_without_trials_say_why_not(family):
    first = family.members[0]
    nothing = dataclasses.replace(first, trials=first.trials.iloc[:0], decisions={})
    empty = Family((nothing,), nothing)
    assert all(drawing.applies(empty) for drawing in AXIS_FIGURES.values())


def test_matrices_hold_every_verdict_once():
    results = make_results(
        normalizations=("none", "batch", "layer"), seeds=5, confirm_seeds=5, num_bisections=0
    )
    verdicts = judge(results)
    matrices = by_normalizer(verdicts)
    assert [matrix.title for matrix in matrices] == ["sigmoid nets", "relu nets"]
    cells = [
        (f"{name}-{matrix.title.split()[0]}", claim, cell.letters)
        for matrix in matrices
        for name, _, row in matrix.rows
        for claim, cell in zip(matrix.columns, row, strict=True)
        if cell
    ]
    expected = [(f"{v.normalizer}-{v.activation}", v.claim, LETTERS[v.outcome]) for v in verdicts]
    assert sorted(cells) == sorted(expected)
    assert [marked for _, marked, _ in matrices[0].rows] == [False, True]  # layer is exploratory
    assert by_normalizer([v for v in verdicts if v.normalizer == "batch"]) == []


def test_along_the_axis_a_column_is_a_value(family):
    judged = [
        (family.name_of(one), f"{family.folder_of(one)}/report.html", judge(one)) for one in family.members
    ]
    (matrix,) = by_value(judged)
    assert matrix.columns == ["2", "256"]
    rows = {claim: cells for claim, _, cells in matrix.rows}
    assert list(rows) == [claim for claim in CLAIMS if claim != "no-vanishing-gradient"]  # not of relu
    assert rows["higher-learning-rate"][0].letters == "n/e"
    assert rows["higher-learning-rate"][1].link == "2-256/report.html#claim-higher-learning-rate"


def test_the_head_report_stands_above_its_members(family, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis.report, "draw_all", lambda *_: list)
    out = tmp_path / "study"
    assert write_family(family, out) == out / "report.html"
    page = (out / "report.html").read_text(encoding="utf-8")
    for folder in ("0-2", "2-256"):
        assert f'href="{folder}/report.html"' in page
        assert (out / folder / "report.html").is_file()
    assert "batch size = 16: not run yet" in page
    assert "rise or fall" not in page  # a value is missing
    own = (out / "2-256" / "report.html").read_text(encoding="utf-8")
    assert "One value of this study&#39;s axis: batch size = 256." in own
    document = json.loads((out / "verdicts.json").read_text(encoding="utf-8"))
    assert document["missing"] == ["16"]
    assert [one["value"] for one in document["members"]] == ["2", "256"]
    for one in document["members"]:
        assert one["verdicts"] == json.loads((out / one["report"]).with_name("verdicts.json").read_text())
    assert {path.name for path in (out / "tables").iterdir()} == {"axis.csv", "matrix.csv", "trends.csv"}
    assert "| higher-learning-rate | n/e |" in (out / "report.md").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["study"]  # nothing left behind
