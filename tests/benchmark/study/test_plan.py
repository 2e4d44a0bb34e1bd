"""From a study to trials: grids, cells, sizes, and what identifies a trial and a study."""

import itertools

import numpy as np
import pytest
from made_trials import make_study

from benchmark import contract
from benchmark.study import plan
from benchmark.study.files import load_study
from benchmark.variants.variant import Variant

NONE, BATCH = Variant("none", "relu"), Variant("batch", "relu")


def test_the_grid_is_equispaced_in_decades():
    grid = plan.grid(load_study("quick"))
    assert grid == (0.000316228, 0.001, 0.00316228, 0.01, 0.0316228, 0.1, 0.316228, 1.0)
    grid = plan.grid(load_study("cifar100"))
    assert (len(grid), grid[0], grid[-1]) == (12, 1e-4, 10.0)
    np.testing.assert_allclose(np.diff(np.log10(grid)), 5 / 11, atol=1e-5)


def test_extensions_go_on_at_the_grids_own_spacing():
    assert plan.extend_grid((0.01, 0.1, 1.0), upwards=True) == (0.01, 0.1, 1.0, 10.0, 100.0)
    assert plan.extend_grid((0.01, 0.1, 1.0), upwards=False) == (0.0001, 0.001, 0.01, 0.1, 1.0)
    both = plan.extend_grid(plan.extend_grid((0.01, 0.1, 1.0), upwards=False), upwards=True)
    assert both == (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
    grid = plan.grid(load_study("cifar100"))
    longer = plan.extend_grid(plan.extend_grid(grid, upwards=True), upwards=True)
    assert longer[:12] == grid
    np.testing.assert_allclose(np.diff(np.log10(longer)), 5 / 11, atol=1e-5)


def test_bisections_halve_the_gap_in_decades():
    stable, unstable = 0.1, 1.0
    for _ in range(3):
        middle = plan.bisect_rate(stable, unstable)
        assert np.log10(middle) == pytest.approx((np.log10(stable) + np.log10(unstable)) / 2, abs=1e-5)
        stable = middle
    assert np.log10(unstable / stable) == pytest.approx(0.125, abs=1e-5)  # under 0.15, as section 4 asks


def test_rates_have_six_digits():
    assert plan.round_rate(0.1234567) == 0.123457
    assert plan.round_rate(plan.round_rate(2 / 3)) == plan.round_rate(2 / 3)


def test_seeds_of_the_stages_are_disjoint():
    study = make_study(seeds={"sweep": 7, "confirm": 9})
    assert list(plan.sweep_seeds(study)) == [0, 1, 2, 3, 4, 5, 6]
    assert list(plan.confirm_seeds(study)) == list(range(1000, 1009))
    later = make_study(seeds={"sweep": 7, "confirm": 9, "first": 200})
    assert list(plan.sweep_seeds(later)) == list(range(200, 207))
    assert list(plan.confirm_seeds(later)) == list(range(1200, 1209))


def test_confirm_has_each_best_and_multiples_of_the_unnormalized_ones():
    cells = plan.confirm_cells(make_study(), {NONE: 0.1, BATCH: 2.0})
    assert [(c.variant, c.learning_rate, c.roles) for c in cells] == [
        (NONE, 0.1, ("best",)),
        (BATCH, 2.0, ("best",)),
        (BATCH, 0.1, ("x1",)),
        (BATCH, 0.5, ("x5",)),
        (BATCH, 3.0, ("x30",)),
    ]


@pytest.mark.parametrize(("rate", "role"), [(0.1, "x1"), (0.5, "x5"), (3.0, "x30")])
def test_a_cell_with_two_roles_is_trained_once(rate, role):
    cells = plan.confirm_cells(make_study(), {NONE: 0.1, BATCH: rate})
    assert len(cells) == 4
    assert (BATCH, rate, ("best", role)) in [(c.variant, c.learning_rate, c.roles) for c in cells]


def test_what_never_trained_is_not_confirmed():
    cells = plan.confirm_cells(make_study(), {NONE: None, BATCH: 2.0})
    assert [(c.variant, c.roles) for c in cells] == [(BATCH, ("best",))]
    cells = plan.confirm_cells(make_study(), {NONE: 0.1, BATCH: None})
    assert [(c.variant, c.roles) for c in cells] == [
        (NONE, ("best",)),
        (BATCH, ("x1",)),
        (BATCH, ("x5",)),
        (BATCH, ("x30",)),
    ]
    assert plan.confirm_cells(make_study(), {NONE: None, BATCH: None}) == []


def test_multiples_are_of_the_same_activations_rate():
    best = {NONE: 0.1, Variant("none", "tanh"): 1.0, BATCH: 7.0, Variant("batch", "tanh"): 7.0}
    rates = {
        (str(c.variant), role): c.learning_rate
        for c in plan.confirm_cells(make_study(), best)
        for role in c.roles
    }
    assert rates["batch-relu", "x5"] == 0.5
    assert rates["batch-tanh", "x5"] == 5.0


def test_sizes_of_the_shipped_quick_study():
    sizes = {s.stage: (s.num_cells, s.num_trials, s.is_bound) for s in plan.stage_sizes(load_study("quick"))}
    assert sizes["sweep"] == (48, 48 * 10, False)  # 6 variants x 8 rates x 10 seeds
    assert sizes["refine"] == (240, 240, True)  # 6 variants x 10 seeds x 2 edges x 2 bisections
    assert sizes["gains"] == (24, 240, True)  # 6 variants x 4 gains beside 1, x 10 seeds
    assert sizes["confirm"] == (15, 150, True)  # 6 bests and 3 x 3 multiples, x 10 seeds


def test_sizes_are_those_of_what_the_stages_make():
    study = make_study(search={"num_bisections": 2}, init={"gains": [0.1, 1.0, 10.0]})
    sizes = {size.stage: size for size in plan.stage_sizes(study)}
    assert tuple(sizes) == contract.STAGES
    variants = study.variants.product()
    cells = list(itertools.product(variants, plan.grid(study)))
    assert sizes["sweep"].num_cells == len(cells)
    assert sizes["sweep"].num_trials == len(cells) * len(plan.sweep_seeds(study))
    assert sizes["refine"].num_trials == len(variants) * len(plan.sweep_seeds(study)) * 2 * 2
    assert sizes["gains"].num_trials == len(variants) * 2 * len(plan.sweep_seeds(study))
    confirm = plan.confirm_cells(study, dict(zip(variants, (0.1, 0.7), strict=True)))
    assert sizes["confirm"].num_cells == len(confirm)


def test_a_fixed_rate_is_swept_alone():
    (sweep,) = plan.stage_sizes(load_study("notebook"))
    assert (sweep.stage, sweep.num_cells, sweep.num_trials) == ("sweep", 4, 24)
