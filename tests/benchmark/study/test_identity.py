"""What makes a trial, and a study run, the one it is; no key of a study is forgotten."""

from dataclasses import fields, replace

import pytest
import torch
from made_trials import make_study, make_trial

from benchmark import contract
from benchmark.base.section import Section
from benchmark.data.datasets import DataSpec, load
from benchmark.study import identity
from benchmark.study.identity import IN_TRIAL, NOT_IN_TRIAL, cell, study_hash, trial_of
from benchmark.study.spec import SearchSpec, StudySpec
from benchmark.training.trial import ROW_FIELDS, Trial
from benchmark.variants.variant import Variant

NONE, BATCH = Variant("none", "relu"), Variant("batch", "relu")


def changed(study, **sections):
    """The study with some keys of some sections replaced."""
    return study.model_copy(
        update={name: getattr(study, name).model_copy(update=keys) for name, keys in sections.items()}
    )


BASE_SECTIONS = {"data": {"augmentation": {}}, "optimizer": {"name": "rmsprop"}}
STUDY = make_study(**BASE_SECTIONS)
SCHEDULED = ({"name": "warmup"}, {"name": "warmup", "share": 0.1}, {"name": "warmup-cosine"})
FIXED = {"sampler": "fixed", "low": 0.1, "high": 0.1, "num_rates": 1}
AXIS = make_study(axis={"key": "network.width", "label": "width", "values": [3, 6]}).axis

# A changed value of every key that a trial reads; of a section that it holds whole, of some.
DETERMINES = {
    "network": [
        changed(STUDY, network={"blocks": 4}),
        changed(STUDY, network={"width": 4}),
        changed(STUDY, network={"dropout": 0.2}),
    ],
    "optimizer": [
        STUDY.model_copy(update={"optimizer": make_study().optimizer}),
        changed(STUDY, optimizer={"epsilon_inside": True}),
    ],
    "schedule": [make_study(**BASE_SECTIONS, schedule=own) for own in SCHEDULED],
    "loss": [changed(STUDY, loss={"label_smoothing": 0.1})],
    "probes": [changed(STUDY, probes={"enabled": ("gradients",)})],
    "data.augmentation": [changed(STUDY, data={"augmentation": None})],
    "budget.num_steps": [changed(STUDY, budget={"num_steps": 100})],
    "budget.batch_size": [changed(STUDY, budget={"batch_size": 8})],
    "budget.eval_every": [changed(STUDY, budget={"eval_every": 5})],
    "judge.statistics": [changed(STUDY, judge={"statistics": "moving-average"})],
    "search.sampler": [changed(STUDY, search=FIXED)],  # then the test split is read
    "precision": [STUDY.model_copy(update={"precision": precision}) for precision in ("tf32", "bf16")],
    "execution.threads": [changed(STUDY, execution={"threads": 2})],
    "execution.engine": [changed(STUDY, execution={"engine": name}) for name in ("channels-last", "fused")],
}
OF_CONFIRM = {"budget.confirm_eval_every": [changed(STUDY, budget={"confirm_eval_every": 5})]}
LEAVES = {
    "name": STUDY.model_copy(update={"name": "other"}),
    "description": STUDY.model_copy(update={"description": "other"}),
    "variants.normalizations": changed(STUDY, variants={"normalizations": ("none", "batch", "layer")}),
    "variants.activations": changed(STUDY, variants={"activations": ("relu", "tanh")}),
    "variants.reference": changed(STUDY, variants={"reference": "none-relu"}),
    "data.dataset": changed(STUDY, data={"dataset": "cifar10"}),
    "data.root": changed(STUDY, data={"root": "/elsewhere"}),
    "data.preprocessing": changed(STUDY, data={"preprocessing": "notebook"}),
    "data.validation": changed(STUDY, data={"validation": "test"}),
    "data.num_validation": changed(STUDY, data={"num_validation": 100}),
    "data.split_seed": changed(STUDY, data={"split_seed": 1}),
    "data.limit_train": changed(STUDY, data={"limit_train": 100}),
    "search.low": changed(STUDY, search={"low": 1e-4}),
    "search.high": changed(STUDY, search={"high": 1.0}),
    "search.num_rates": changed(STUDY, search={"num_rates": 7}),
    "search.num_bisections": changed(STUDY, search={"num_bisections": 2}),
    "search.num_extensions": changed(STUDY, search={"num_extensions": 1}),
    "search.pruning": changed(STUDY, search={"pruning": True}),
    "seeds.sweep": changed(STUDY, seeds={"sweep": 20}),
    "seeds.confirm": changed(STUDY, seeds={"confirm": 20}),
    "seeds.first": changed(STUDY, seeds={"first": 6}),
    "judge.rho": changed(STUDY, judge={"rho": 0.5}),
    "init.gains": changed(STUDY, init={"gains": (1.0, 2.0)}),
    "axis": STUDY.model_copy(update={"axis": AXIS}),
    "execution.executor": changed(STUDY, execution={"executor": "ray"}),
    "execution.address": changed(STUDY, execution={"address": "auto"}),
    "execution.workers": changed(STUDY, execution={"workers": 7}),
    "execution.checkpoint_every_s": changed(STUDY, execution={"checkpoint_every_s": 7.0}),
    "execution.retries": changed(STUDY, execution={"retries": 7}),
}
HOW_IT_IS_RUN = {
    "description",
    "data.root",
    "execution.executor",
    "execution.address",
    "execution.workers",
    "execution.checkpoint_every_s",
    "execution.retries",
}


def trial_hash(study, stage="sweep"):
    return make_trial(study, stage=stage).hash


BASE = make_trial(STUDY)


def keys_of(section, prefix=""):
    """The dotted keys of a section; a choice of sections (optimizer, network) is one key."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from keys_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def prefixes(key):
    parts = key.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def unaccounted(study):
    """Keys of a study's class that neither table accounts for; the trial may hold a section whole."""
    return [key for key in keys_of(study) if key not in NOT_IN_TRIAL and not prefixes(key) & {*IN_TRIAL}]


def unknown(study):
    """Entries of the tables for which a study's class has no key."""
    keys = {prefix for key in keys_of(study) for prefix in prefixes(key)}
    return [key for key in (*IN_TRIAL, *NOT_IN_TRIAL) if key not in keys]


def test_every_key_of_a_study_is_in_its_trials_or_said_to_change_no_number():
    assert unaccounted(StudySpec) == []
    assert unknown(StudySpec) == []
    assert set(IN_TRIAL.values()) <= {field.name for field in fields(Trial)}
    assert all(len(reason.split()) >= 1 for reason in NOT_IN_TRIAL.values())


def test_a_made_up_key_is_noticed():
    """At the top, and in a section; in one that the trial holds whole, it is in the trial."""

    class WiderSearch(SearchSpec):
        warmup: int = 0

    class WiderStudy(StudySpec):
        rounding: str = "nearest"
        search: WiderSearch

    assert unaccounted(WiderStudy) == ["search.warmup", "rounding"]

    class NarrowStudy(StudySpec):
        judge: str = ""

    assert set(unknown(NarrowStudy)) == {"judge.statistics", "judge.rho"}


@pytest.mark.parametrize("key", {**DETERMINES, **OF_CONFIRM})
def test_what_determines_the_numbers_identifies_the_trial(key):
    stage = "confirm" if key in OF_CONFIRM else "sweep"
    for study in {**DETERMINES, **OF_CONFIRM}[key]:
        assert trial_hash(study, stage) != trial_hash(STUDY, stage)


@pytest.mark.parametrize("key", LEAVES)
def test_what_leaves_the_numbers_does_not(key):
    assert trial_hash(LEAVES[key]) == trial_hash(STUDY)


def test_the_tables_above_forget_no_key():
    assert {*DETERMINES, *OF_CONFIRM} == {*IN_TRIAL}
    assert {*LEAVES} == {*NOT_IN_TRIAL}


@pytest.mark.parametrize(
    "keys",
    [{"preprocessing": "notebook"}, {"validation": "test"}, {"num_validation": 100}, {"limit_train": 500}],
    ids=str,
)
def test_what_is_trained_on_is_in_the_fingerprint(keys, tmp_path):
    """Which the trial holds in place of these keys. (Other images: see the tests of data.)"""
    prints = [load(DataSpec(**own), torch.device("cpu"), tmp_path).fingerprint for own in ({}, keys)]
    assert prints[0] != prints[1]


def other_values():
    """Every field of a trial, changed."""
    study = make_study(probes={"enabled": ["gradients"]}, loss={"name": "mse"})
    return {
        "variant": NONE,
        "learning_rate": 0.2,
        "seed": 1,
        "init_gain": 2.0,
        "walk_rate": 0.1,
        "num_steps": 7,
        "batch_size": 7,
        "eval_every": 7,
        "reads_test": True,
        "data_fingerprint": "another",
        "augmentation": None,
        "network": DETERMINES["network"][0].network,
        "optimizer": study.optimizer,
        "schedule": DETERMINES["schedule"][0].schedule,
        "loss": study.loss,
        "statistics": "moving-average",
        "probes": study.probes,
        "precision": "bf16",
        "threads": 2,
        "engine": "fused",
    }


def test_every_field_identifies_a_trial(monkeypatch):
    values = other_values()
    assert {*values} == {field.name for field in fields(Trial)}
    others = {name: replace(BASE, **{name: value}) for name, value in values.items()}
    hashes = {trial.hash for trial in others.values()} | {BASE.hash}
    assert len(hashes) == len(others) + 1
    assert {len(value) for value in hashes} == {16}
    assert replace(BASE).hash == BASE.hash
    assert {name for name, trial in others.items() if trial.shared_hash == BASE.shared_hash} == {*ROW_FIELDS}

    # Results compare within one Major.Minor of the protocol.
    monkeypatch.setattr(contract, "PROTOCOL", "0.9")
    assert replace(BASE).hash != BASE.hash


def test_a_trial_knows_its_engine_whoever_chose_it():
    """The study, or where it says `auto` what was found to be fastest; nothing found: the reference."""
    fused = changed(STUDY, execution={"engine": "fused"})
    assert make_trial(fused).engine == "fused"
    assert make_trial(fused, engine="channels-last").engine == "fused"
    assert make_trial(STUDY, engine="fused") == make_trial(fused)
    assert make_trial(STUDY).engine == "eager"
    assert trial_hash(changed(STUDY, execution={"engine": "eager"})) == BASE.hash
    (trial,) = cell(STUDY, BATCH, 0.1, [0], "sweep", "made", engine="fused")
    assert trial == make_trial(fused)


def test_each_stage_is_evaluated_at_its_own_interval():
    other = OF_CONFIRM["budget.confirm_eval_every"][0]
    assert trial_hash(other) == trial_hash(STUDY)
    (often,) = DETERMINES["budget.eval_every"]
    assert trial_hash(often, "confirm") == trial_hash(STUDY, "confirm")


def test_which_trials_read_the_test_split():
    reading = [make_trial(STUDY, stage=stage).reads_test for stage in contract.STAGES]
    assert reading == [False, False, False, True]
    assert make_trial(changed(STUDY, search=FIXED)).reads_test


def test_a_cell_has_a_trial_per_seed():
    trials = cell(make_study(), BATCH, 0.1, [0, 5], "sweep", "made")
    assert [(t.variant, t.learning_rate, t.seed) for t in trials] == [(BATCH, 0.1, 0), (BATCH, 0.1, 5)]
    assert trials[1].name == "batch-relu lr=0.1 seed=5"
    scaled = trial_of(make_study(), BATCH, 0.0316228, 5, "gains", "made", init_gain=10.0)
    assert scaled.name == "batch-relu lr=0.0316 gain=10 seed=5"
    assert scaled.num_evaluations == 5


@pytest.mark.parametrize("key", sorted(HOW_IT_IS_RUN))
def test_how_a_study_is_run_does_not_identify_it(key):
    assert study_hash(LEAVES[key], "made") == study_hash(STUDY, "made")


def test_what_a_study_asks_identifies_it():
    kept = (study for key, study in LEAVES.items() if key not in HOW_IT_IS_RUN)
    others = [
        *kept,
        *(study for table in (DETERMINES, OF_CONFIRM) for own in table.values() for study in own),
    ]
    hashes = {study_hash(study, "made") for study in others}
    assert len(hashes) == len(others)
    assert study_hash(STUDY, "made") not in hashes
    assert {len(value) for value in hashes} == {8}


def test_so_do_the_data_the_protocol_and_the_schema(monkeypatch):
    own = study_hash(STUDY, "made")
    assert study_hash(STUDY, "other images") != own
    for version in ("PROTOCOL", "SCHEMA_VERSION"):
        with monkeypatch.context() as changed_version:
            changed_version.setattr(identity.contract, version, "0.9")
            assert study_hash(STUDY, "made") != own
