"""What a study decides, on hand-made results: every number below can be checked by hand."""

import json
import math

import pytest
from made_trials import make_study

from benchmark.stages.decisions import Decisions, Result
from benchmark.study.plan import confirm_cells
from benchmark.variants.variant import Variant

K = 10
CAP = math.log(K)
NONE, BATCH = Variant("none", "relu"), Variant("batch", "relu")
GRID = (0.01, 0.1, 1.0)


def trained(loss, accuracy=0.9):
    return Result("trained", loss, accuracy)


STUCK = Result("stuck", CAP + 0.01, 0.1)
DIVERGED = Result("diverged", CAP, 0.1)


def by_seed(*results):
    return dict(enumerate(results))


def decide(sweep, *, grid=GRID, study=None, rho=0.9):
    decisions = Decisions(K, rho, grid)
    decisions.select(study or make_study(), sweep)
    return decisions


def one(cells, grid=GRID):
    """Decisions on BATCH, beside an unnormalized variant that is of no interest."""
    other = {rate: by_seed(trained(0.5)) for rate in grid}
    return decide({NONE: other, BATCH: dict(zip(grid, cells, strict=True))}, grid=grid)


def test_the_best_rate_has_the_least_mean_loss():
    decisions = one(
        [by_seed(trained(0.5), trained(0.5)), by_seed(trained(0.1), trained(0.7)), by_seed(trained(0.6))]
    )
    assert decisions.best[BATCH] == 0.1  # mean 0.4


def test_losses_count_as_the_cap_at_most():
    # Uncapped, the mean at 0.1 were (0.1 + 0.1 + 900) / 3; capped it is (0.2 + ln 10) / 3 = 0.83.
    wild = by_seed(trained(0.1), trained(0.1), Result("stuck", 900.0, 0.1))
    decisions = one([by_seed(trained(0.9), trained(0.9)), wild, by_seed(DIVERGED)])
    assert decisions.best[BATCH] == 0.1


def test_half_the_seeds_must_have_trained():
    half = by_seed(trained(0.1), DIVERGED)
    fewer = by_seed(trained(0.0), DIVERGED, STUCK)
    assert one([by_seed(trained(2.0), trained(2.0)), half, by_seed(STUCK)]).best[BATCH] == 0.1  # 1.2 < 2.0
    assert one([by_seed(trained(2.0), trained(2.0)), fewer, by_seed(STUCK)]).best[BATCH] == 0.01


def test_no_rate_is_best_where_none_trains():
    decisions = one([by_seed(STUCK, STUCK), by_seed(trained(0.1), STUCK, STUCK), by_seed(DIVERGED, DIVERGED)])
    assert decisions.best[BATCH] is None
    assert not decisions.at_edge[BATCH]


def test_a_cell_that_failed_whole_is_passed_over():
    assert one([{}, by_seed(trained(1.0)), by_seed(trained(2.0))]).best[BATCH] == 0.1


@pytest.mark.parametrize(("best", "at_edge"), [(0, True), (1, False), (2, True)])
def test_a_best_rate_on_the_grids_edge_is_flagged(best, at_edge):
    cells = [by_seed(trained(0.1 if i == best else 0.5)) for i in range(3)]
    decisions = one(cells)
    assert decisions.best[BATCH] == GRID[best]
    assert decisions.at_edge[BATCH] == at_edge


def test_a_longer_grid_may_take_a_rate_off_the_edge():
    sweep = {NONE: {r: by_seed(trained(0.5)) for r in GRID}, BATCH: {}}
    sweep[BATCH] = {0.01: by_seed(trained(0.9)), 0.1: by_seed(trained(0.5)), 1.0: by_seed(trained(0.2))}
    decisions = decide(sweep)
    assert decisions.at_edge[BATCH]
    for variant in sweep:
        sweep[variant] |= {10.0: by_seed(trained(0.3)), 100.0: by_seed(DIVERGED)}
    decisions.grid = (*GRID, 10.0, 100.0)
    decisions.select(make_study(), sweep)
    assert decisions.best[BATCH] == 1.0
    assert not decisions.at_edge[BATCH]


def test_a_single_rate_has_no_edge():
    assert not one([by_seed(trained(0.5))], grid=(0.1,)).at_edge[BATCH]


def test_best_cell_accuracy_counts_the_diverged_at_chance():
    cells = [
        by_seed(trained(0.5, 0.7), trained(0.5, 0.7)),
        by_seed(trained(0.1, 0.9), DIVERGED),
        by_seed(STUCK),
    ]
    assert one(cells).best_accuracy[BATCH] == pytest.approx(0.7)  # not (0.9 + 0.1) / 2


@pytest.mark.parametrize(
    ("rho", "result", "stable"),
    [
        (0.9, trained(0.2, 0.83), True),  # the threshold: 0.1 + 0.9 (0.9 - 0.1) = 0.82
        (0.9, trained(0.2, 0.81), False),
        (0.5, trained(0.2, 0.51), True),  # 0.1 + 0.5 x 0.8 = 0.5
        (0.5, trained(0.2, 0.49), False),
        (0.9, Result("stuck", 0.2, 0.95), False),
        (0.9, DIVERGED, False),
    ],
)
def test_stable_is_trained_and_near_the_variants_best(rho, result, stable):
    cells = {rate: by_seed(trained(0.5, 0.9)) for rate in GRID}
    decisions = decide({NONE: cells, BATCH: cells}, rho=rho)
    assert decisions.threshold(BATCH) == pytest.approx(0.1 + rho * 0.8)
    assert decisions.is_stable(BATCH, result) == stable


S, U = trained(0.2, 0.9), trained(0.2, 0.5)


T = trained(0.2, 0.81)  # trained, and just not stable: the threshold is 0.82


@pytest.mark.parametrize(
    ("results", "gaps"),
    [
        ({0.01: S, 0.1: S, 1.0: U}, [(0.1, 1.0)]),  # unbounded below
        ({0.01: S, 0.1: S, 1.0: S}, []),
        ({0.01: DIVERGED, 0.1: S, 1.0: S}, [(0.01, 0.1)]),
        ({0.01: U, 0.1: S, 1.0: DIVERGED}, [(0.1, 1.0), (0.01, 0.1)]),  # both edges
        ({0.01: S, 0.1: U, 1.0: S}, []),  # the outermost stable rates, gaps or not
        ({1.0: DIVERGED, 0.316: U, 0.01: S, 0.1: S}, [(0.1, 0.316)]),  # whatever the order; next rate tried
    ],
)
def test_both_edges_of_the_stable_rates_are_refined(results, gaps):
    cells = {rate: by_seed(S) for rate in GRID}
    assert decide({NONE: cells, BATCH: cells}).gaps(BATCH, results) == (gaps, False)


@pytest.mark.parametrize(
    ("results", "gaps"),
    [
        ({0.01: U, 0.1: T, 1.0: DIVERGED}, [(0.1, 1.0), (0.01, 0.1)]),  # one image short of stable
        ({0.01: T, 0.1: U, 1.0: U}, [(0.01, 0.1)]),
        (
            {0.01: trained(0.9, 0.81), 0.1: T, 1.0: STUCK},
            [(0.1, 1.0), (0.01, 0.1)],
        ),  # of equals, the least loss
    ],
)
def test_a_seed_that_is_stable_nowhere_is_searched_beside_its_best_trained_rate(results, gaps):
    cells = {rate: by_seed(S) for rate in GRID}
    assert decide({NONE: cells, BATCH: cells}).gaps(BATCH, results) == (gaps, True)


def test_a_seed_that_never_trained_is_not_searched():
    cells = {rate: by_seed(S) for rate in GRID}
    results = {0.01: STUCK, 0.1: STUCK, 1.0: DIVERGED}
    assert decide({NONE: cells, BATCH: cells}).gaps(BATCH, results) == ([], False)


def accuracies(*values):
    return {0.1: by_seed(*(trained(0.5, value) for value in values))}


def test_the_target_is_the_unnormalized_variants():
    sweep = {NONE: accuracies(0.6, 0.7, 0.95), BATCH: accuracies(0.9, 0.9, 0.9)}
    accuracy, setter = decide(sweep, grid=(0.1,)).targets["relu"]
    assert setter == NONE
    assert accuracy == pytest.approx(0.1 + 0.95 * (0.7 - 0.1))  # of the median


def test_the_target_is_set_at_the_best_rate():
    sweep = {
        NONE: {0.1: by_seed(trained(0.9, 0.8)), 1.0: by_seed(trained(0.3, 0.6))},
        BATCH: {0.1: by_seed(trained(0.5, 0.9)), 1.0: by_seed(trained(0.6, 0.9))},
    }
    assert decide(sweep, grid=(0.1, 1.0)).targets["relu"][0] == pytest.approx(0.1 + 0.95 * 0.5)


def test_an_unusable_variants_target_is_the_references():
    """Usable: at least a tenth of the study's best accuracy above chance."""
    barely = accuracies(0.185, 0.185)  # 0.085 above chance, of 0.8
    decisions = decide({NONE: accuracies(0.175, 0.175), BATCH: accuracies(0.9, 0.9)}, grid=(0.1,))
    assert not decisions.is_usable(NONE)  # 0.075 < 0.08
    assert decisions.is_usable(BATCH)
    assert decisions.targets["relu"] == (pytest.approx(0.1 + 0.95 * 0.8), BATCH)
    decisions = decide({NONE: barely, BATCH: accuracies(0.9, 0.9)}, grid=(0.1,))
    assert decisions.is_usable(NONE)
    assert decisions.targets["relu"][1] == NONE


def test_no_target_where_neither_trains():
    nothing = {0.1: by_seed(STUCK, DIVERGED)}
    decisions = decide({NONE: nothing, BATCH: nothing}, grid=(0.1,))
    assert decisions.targets == {}
    assert not decisions.is_usable(NONE)
    assert not decisions.is_usable(BATCH)


def test_a_target_per_activation():
    study = make_study(variants={"activations": ["relu", "sigmoid"]})
    variants = study.variants.product()
    sweep = {variant: accuracies(0.9) for variant in variants}
    sweep[Variant("none", "sigmoid")] = {0.1: by_seed(STUCK)}
    sweep[Variant("none", "relu")] = accuracies(0.8)
    decisions = decide(sweep, grid=(0.1,), study=study)
    assert decisions.targets["relu"] == (pytest.approx(0.1 + 0.95 * 0.7), NONE)
    assert decisions.targets["sigmoid"] == (pytest.approx(0.1 + 0.95 * 0.8), BATCH)  # the reference


def test_a_study_without_the_unnormalized_variant_has_its_references_target():
    study = make_study(variants={"normalizations": ["batch"]})
    decisions = decide({BATCH: accuracies(0.9)}, grid=(0.1,), study=study)
    assert decisions.targets["relu"][1] == BATCH


def test_the_document_has_what_analysis_reads():
    sweep = {
        NONE: {0.1: by_seed(trained(0.5, 0.8)), 1.0: by_seed(DIVERGED), 10.0: by_seed(DIVERGED)},
        BATCH: {0.1: by_seed(trained(0.5, 0.8)), 1.0: by_seed(trained(0.3, 0.9)), 10.0: by_seed(STUCK)},
    }
    decisions = decide(sweep, grid=(0.1, 1.0, 10.0))
    decisions.num_extensions = 1
    for seed in (3, 0, 3):
        decisions.note_searched(BATCH, seed)
    decisions.confirm = confirm_cells(make_study(), decisions.best)
    document = decisions.document()
    assert json.loads(json.dumps(document)) == document
    assert document == {
        "num_classes": 10,
        "loss_cap": pytest.approx(2.302585),
        "grid": [0.1, 1.0, 10.0],
        "num_extensions": 1,
        "variants": {
            "none-relu": {
                "best_learning_rate": 0.1,
                "at_edge": True,
                "best_cell_accuracy": pytest.approx(0.8),
                "stability_threshold": pytest.approx(0.73),
                "usable": True,
                "searched_seeds": [],
            },
            "batch-relu": {
                "best_learning_rate": 1.0,
                "at_edge": False,
                "best_cell_accuracy": pytest.approx(0.9),
                "stability_threshold": pytest.approx(0.82),
                "usable": True,
                "searched_seeds": [0, 3],
            },
        },
        "targets": {"relu": {"accuracy": pytest.approx(0.1 + 0.95 * 0.7), "variant": "none-relu"}},
        "confirm": [
            {"variant": "none-relu", "learning_rate": 0.1, "roles": ["best"]},
            {"variant": "batch-relu", "learning_rate": 1.0, "roles": ["best"]},
            {"variant": "batch-relu", "learning_rate": 0.1, "roles": ["x1"]},
            {"variant": "batch-relu", "learning_rate": 0.5, "roles": ["x5"]},
            {"variant": "batch-relu", "learning_rate": 3.0, "roles": ["x30"]},
        ],
    }


def test_before_the_sweep_there_is_nothing_to_tell():
    document = Decisions(K, 0.9, GRID).document()
    assert (document["variants"], document["targets"], document["confirm"]) == ({}, {}, [])
