"""From a study to trials: grids, cells, sizes, and what identifies a trial and a study."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from made_trials import make_study, make_trial

from benchmark import contract
from benchmark.study import plan
from benchmark.study.files import load_study
from benchmark.variants.variant import Variant

NONE, BATCH = Variant("none", "relu"), Variant("batch", "relu")


def test_the_grid_is_equispaced_in_decades():
    grid = plan.grid(load_study("quick"))
    assert grid == (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
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


def test_a_cell_has_a_trial_per_seed():
    study = make_study()
    trials = plan.cell(study, BATCH, 0.1, [0, 5], "sweep", "made")
    assert [(t.variant, t.learning_rate, t.seed, t.stage) for t in trials] == [
        (BATCH, 0.1, 0, "sweep"),
        (BATCH, 0.1, 5, "sweep"),
    ]
    assert trials[1].name == "batch-relu lr=0.1 seed=5"
    assert (
        replace(trials[1], init_gain=10.0, learning_rate=0.0316228).name
        == "batch-relu lr=0.0316 gain=10 seed=5"
    )


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
    assert sizes["sweep"] == (24, 24 * 8, False)  # 4 variants x 6 rates x 8 seeds
    assert sizes["refine"] == (96, 96, True)  # 4 variants x 8 seeds x 3 bisections
    assert sizes["confirm"] == (10, 80, True)  # 4 bests and 2 x 3 multiples, x 8 seeds


def test_sizes_are_those_of_what_the_stages_make():
    study = make_study(search={"num_bisections": 2}, init={"gains": [0.1, 1.0, 10.0]})
    sizes = {size.stage: size for size in plan.stage_sizes(study)}
    assert tuple(sizes) == contract.STAGES
    variants = study.variants.product()
    cells = list(itertools.product(variants, plan.grid(study)))
    assert sizes["sweep"].num_cells == len(cells)
    assert sizes["sweep"].num_trials == len(cells) * len(plan.sweep_seeds(study))
    assert sizes["refine"].num_trials == len(variants) * len(plan.sweep_seeds(study)) * 2
    assert sizes["gains"].num_trials == len(variants) * 2 * len(plan.sweep_seeds(study))
    confirm = plan.confirm_cells(study, dict(zip(variants, (0.1, 0.7), strict=True)))
    assert sizes["confirm"].num_cells == len(confirm)


def test_a_fixed_rate_is_swept_alone():
    (sweep,) = plan.stage_sizes(load_study("notebook"))
    assert (sweep.stage, sweep.num_cells, sweep.num_trials) == ("sweep", 4, 24)


def changed(study, **sections):
    """The study with some keys of some sections replaced."""
    return study.model_copy(
        update={name: getattr(study, name).model_copy(update=keys) for name, keys in sections.items()}
    )


STUDY = make_study(data={"augmentation": {}}, optimizer={"name": "rmsprop"})
FIXED = {"sampler": "fixed", "low": 0.1, "high": 0.1, "num_rates": 1}

DETERMINES = {
    "blocks": changed(STUDY, network={"blocks": 4}),
    "width": changed(STUDY, network={"width": 4}),
    "dropout": changed(STUDY, network={"dropout": 0.2}),
    "optimizer": STUDY.model_copy(update={"optimizer": make_study().optimizer}),
    "its hyperparameters": changed(STUDY, optimizer={"epsilon_inside": True}),
    "dataset": changed(STUDY, data={"dataset": "cifar10"}),
    "preprocessing": changed(STUDY, data={"preprocessing": "notebook"}),
    "validation": changed(STUDY, data={"validation": "test"}),
    "num_validation": changed(STUDY, data={"num_validation": 100}),
    "limit_train": changed(STUDY, data={"limit_train": 100}),
    "augmentation": changed(STUDY, data={"augmentation": None}),
    "num_steps": changed(STUDY, budget={"num_steps": 100}),
    "batch_size": changed(STUDY, budget={"batch_size": 8}),
    "eval_every": changed(STUDY, budget={"eval_every": 5}),
    "statistics": changed(STUDY, judge={"statistics": "moving-average"}),
    "probes": changed(STUDY, probes={"enabled": ("gradients",)}),
    "whether the test split is read": changed(STUDY, search=FIXED),
}
LEAVES = {
    "name": STUDY.model_copy(update={"name": "other"}),
    "description": STUDY.model_copy(update={"description": "other"}),
    "workers": changed(STUDY, execution={"workers": 7}),
    "checkpoints": changed(STUDY, execution={"checkpoint_every_s": 7.0}),
    "retries": changed(STUDY, execution={"retries": 7}),
    "root": changed(STUDY, data={"root": "/elsewhere"}),
    "rho": changed(STUDY, judge={"rho": 0.5}),
    "other variants": changed(STUDY, variants={"activations": ("relu", "tanh")}),
    "other rates": changed(STUDY, search={"high": 1.0}),
    "more seeds": changed(STUDY, seeds={"sweep": 20}),
    "confirm's interval": changed(STUDY, budget={"confirm_eval_every": 10}),
    "gains": changed(STUDY, init={"gains": (1.0, 2.0)}),
}
BASE = make_trial(STUDY)


@pytest.mark.parametrize("what", DETERMINES)
def test_what_determines_the_numbers_identifies_the_trial(what):
    assert replace(BASE, study=DETERMINES[what]).hash != BASE.hash


@pytest.mark.parametrize("what", LEAVES)
def test_what_leaves_the_numbers_does_not(what):
    assert replace(BASE, study=LEAVES[what]).hash == BASE.hash


def test_the_trials_own_fields_identify_it(monkeypatch):
    others = [
        replace(BASE, variant=NONE),
        replace(BASE, variant=Variant("batch", "tanh")),
        replace(BASE, learning_rate=0.2),
        replace(BASE, seed=1),
        replace(BASE, stage="refine"),
        replace(BASE, stage="confirm"),
        replace(BASE, fingerprint="another"),
        replace(BASE, init_gain=2.0),
        replace(BASE, walk_rate=0.1),
        *(replace(BASE, study=study) for study in DETERMINES.values()),
    ]
    hashes = {trial.hash for trial in others} | {BASE.hash}
    assert len(hashes) == len(others) + 1
    assert {len(value) for value in hashes} == {16}
    assert replace(BASE).hash == BASE.hash

    # Results compare within one Major.Minor of the protocol.
    monkeypatch.setattr(contract, "PROTOCOL", "0.9")
    assert replace(BASE).hash != BASE.hash


def test_confirms_interval_identifies_its_trials():
    trial = replace(BASE, stage="confirm")
    assert replace(trial, study=LEAVES["confirm's interval"]).hash != trial.hash
    assert replace(trial, study=DETERMINES["eval_every"]).hash == trial.hash


def test_which_trials_read_the_test_split():
    assert [replace(BASE, stage=stage).reads_test for stage in contract.STAGES] == [False, False, False, True]
    assert replace(BASE, study=changed(STUDY, search=FIXED)).reads_test


@pytest.mark.parametrize("what", ["description", "workers", "checkpoints", "retries", "root"])
def test_how_a_study_is_run_does_not_identify_it(what):
    assert plan.study_hash(LEAVES[what]) == plan.study_hash(STUDY)


def test_what_a_study_asks_identifies_it():
    kept = {"description", "workers", "checkpoints", "retries", "root"}
    others = [*DETERMINES.values(), *(study for what, study in LEAVES.items() if what not in kept)]
    hashes = {plan.study_hash(study) for study in others}
    assert len(hashes) == len(others)
    assert plan.study_hash(STUDY) not in hashes
    assert {len(value) for value in hashes} == {8}
