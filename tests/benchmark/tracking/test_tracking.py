"""What MLflow holds after a study run, as its own client reads it: the contract with `analysis`."""

import contextlib
import dataclasses
import io
import json
import math
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import pandas as pd
import pytest
from made_tracking import ENVIRONMENT, evaluation, outcome
from made_trials import make_data, make_study, make_trial

import benchmark
from benchmark.base.environment import Environment
from benchmark.base.errors import InputError
from benchmark.contract import (
    CURVE_METRICS,
    FINAL_METRICS,
    PROTOCOL_VERSION,
    SCHEMA_VERSION,
    local_artifacts,
)
from benchmark.contract.files import unsealed
from benchmark.study.identity import study_hash
from benchmark.tracking.mlflow.count import count_trials
from benchmark.tracking.mlflow.store import connect, default_uri
from benchmark.tracking.mlflow.study_log import MlflowStudyLog, _key
from benchmark.training.events import Failure

DATA = make_data()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tracking") / "mlruns"


@pytest.fixture(scope="module")
def uri(folder):
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(uri):
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # this module imports it without `benchmark`'s help
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def open_tracker(folder, uri, request):
    """A function that opens a run of the test's study, as each session of it does."""
    name = request.node.name.replace("_", "-").replace("[", "-").strip("]").lower()

    def opened(environment=ENVIRONMENT, folder=folder, data=DATA, **sections):
        study = make_study(**({"name": name} | sections))
        return study, MlflowStudyLog(uri, folder, study, data, environment, "python -m benchmark run made")

    return opened


def run_trial(tracker, trial, steps=(0, 10)):
    log = tracker.start_trial("sweep", trial)
    for step in steps:
        log.log(evaluation(step))
    log.finish(outcome(steps[-1]))
    tracker.flush()  # what the clock does every few seconds
    return log


def runs_of(client, study, kind):
    experiment = client.get_experiment_by_name(study.name)
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


def artifact(client, run_id, name):
    """Of a store in a file artifacts lie beside it, by the experiment's name and the run's id."""
    experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    return (local_artifacts(client.tracking_uri, experiment.name, run_id) / name).read_bytes()


def points(client, run_id, name):
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def test_a_study_run_is_what_the_contract_says(open_tracker, client, folder, tmp_path):
    study, tracker = open_tracker()
    trial = make_trial(study, learning_rate=0.0310001, seed=3)
    log = run_trial(tracker, trial)
    tracker.log_json("decisions.json", {"num_classes": 4})
    tracker.close(complete=True)

    (study_run,) = runs_of(client, study, "study")
    of_variants = {run.data.tags["variant"]: run for run in runs_of(client, study, "variant")}
    assert of_variants.keys() == {str(variant) for variant in study.variants.product()}
    variant_run = of_variants["batch-relu"]
    (trial_run,) = runs_of(client, study, "trial")
    assert (study_run.info.run_id, trial_run.info.run_id) == (tracker.run_id, log.run_id)
    assert {run.info.status for run in (study_run, variant_run, trial_run)} == {"FINISHED"}
    common = {"protocol_version": PROTOCOL_VERSION, "git_commit": "c0ffee", "device": "a processor"} | {
        "numerics": "a library",
        "git_dirty": "false",
        "schema_version": str(SCHEMA_VERSION),
    }
    variant = {"variant": "batch-relu", "normalization": "batch", "activation": "relu"}
    for run, expected in (
        (
            study_run,
            {
                "study": study.name,
                "study_hash": study_hash(study, "made"),
                "schema_version": str(SCHEMA_VERSION),
                "data_fingerprint": "made",
                "status": "complete",
            },
        ),
        (variant_run, variant | {"mlflow.parentRunId": study_run.info.run_id}),
        (
            trial_run,
            variant
            | {
                "mlflow.parentRunId": variant_run.info.run_id,
                "stage": "sweep",
                "seed": "3",
                "learning_rate": "0.0310001",
                "status": "trained",
                "status_ema": "stuck",
                "trial_hash": trial.hash,
                f"in_study.{study_hash(study, 'made')}": "true",
            },
        ),
    ):
        assert (common | expected).items() <= run.data.tags.items()
    assert trial_run.info.run_name == "batch-relu lr=0.031 seed=3"
    assert variant_run.info.run_name == "batch-relu"
    assert {
        "learning_rate": "0.0310001",
        "seed": "3",
        "variant": "batch-relu",
        "network.width": "3",
        "optimizer.momentum": "0.9",
        "num_steps": "50",
    }.items() <= trial_run.data.params.items()

    # Metrics by step, and as a column each.
    assert FINAL_METRICS.keys() | CURVE_METRICS.keys() - {"step"} == trial_run.data.metrics.keys()
    assert points(client, log.run_id, "val_loss") == [(0, 0.5), (10, 0.5)]
    assert points(client, log.run_id, "train_loss") == [(10, 0.5)]  # nothing was trained before step 0
    assert points(client, log.run_id, "train_seconds") == [(0, 0.0), (10, 1.0)]
    assert points(client, log.run_id, "final_val_loss") == [(10, 0.25)]
    curves = pd.read_parquet(io.BytesIO(artifact(client, log.run_id, "curves.parquet")))
    pd.testing.assert_frame_equal(curves, pd.DataFrame([evaluation(0).row, evaluation(10).row]))
    probes = pd.read_parquet(io.BytesIO(artifact(client, log.run_id, "probes.parquet")))
    assert list(probes.columns) == ["step", "probe", "layer", "index", "value"]

    documents = {
        name: unsealed(json.loads(artifact(client, tracker.run_id, f"{name}.json")))
        for name in ("schema", "study", "decisions", "environment")
    }
    assert documents["schema"]["schema_version"] == SCHEMA_VERSION
    assert documents["schema"]["metrics"].keys() == FINAL_METRICS.keys() | CURVE_METRICS.keys()
    assert documents["schema"]["metrics"]["val_loss"].keys() == {"unit", "direction", "description"}
    assert "gradient_norm" in documents["schema"]["probes"]
    assert documents["study"] == study.model_dump(mode="json")
    assert documents["decisions"] == {"num_classes": 4}
    assert {"python", "torch", "mlflow", "num_cores", "git_commit"} <= documents["environment"].keys()

    for run in (study_run, trial_run):
        (dataset,) = run.inputs.dataset_inputs
        assert (dataset.dataset.name, dataset.dataset.digest) == ("made", "made")
        assert json.loads(dataset.dataset.profile) == {"num_train": 96, "num_validation": 64}
    experiment = client.get_experiment_by_name(study.name)
    assert "for tests" in experiment.tags["mlflow.note.content"]
    assert experiment.artifact_location == f"mlflow-artifacts:/{study.name}"  # no path of this machine


def test_an_interrupted_trial_goes_on_in_its_run(open_tracker, client):
    study, tracker = open_tracker()
    trial = make_trial(study)
    log = tracker.start_trial("sweep", trial)
    log.log(evaluation(0))
    log.log(evaluation(10, val_loss=math.nan, val_loss_ema=math.inf))
    tracker.flush()  # what the clock does every few seconds; then: kill -9

    study, tracker = open_tracker()
    assert {run.info.status for run in runs_of(client, study, "trial")} == {"KILLED"}
    assert tracker.finished("sweep", trial) is None
    assert count_trials(tracker._client.tracking_uri, study, lambda: "made") == {"sweep": {"interrupted": 1}}
    log = run_trial(tracker, trial, (0, 10, 20))
    tracker.close(complete=True)
    (run,) = runs_of(client, study, "trial")
    assert (run.info.run_id, run.info.status) == (log.run_id, "FINISHED")
    for name in CURVE_METRICS.keys() - {"step", "train_loss", "val_loss"}:
        assert [step for step, _ in points(client, log.run_id, name)] == [0, 10, 20]
    assert {run.info.status for run in runs_of(client, study, "variant")} == {"FINISHED"}


def test_a_trial_killed_while_it_ends_is_not_recorded_twice(open_tracker, client):
    study, tracker = open_tracker()
    trial = make_trial(study)
    run_id = run_trial(tracker, trial).run_id
    client.update_run(run_id, status="RUNNING")  # as if killed just before its last call

    _, tracker = open_tracker()
    assert run_trial(tracker, trial).run_id == run_id
    for name in FINAL_METRICS.keys() - CURVE_METRICS.keys():
        assert points(client, run_id, name) == [(10, 10.0 if name == "num_steps_done" else 0.25)]


def test_a_failed_trial_is_tried_again_in_its_run(open_tracker, client, tmp_path):
    study, tracker = open_tracker()
    trial = make_trial(study)
    log = tracker.start_trial("sweep", trial)
    log.log(evaluation(0))
    log.fail(Failure("ValueError: no", "Traceback ..."))
    (failed,) = runs_of(client, study, "trial")
    assert failed.info.status == "FAILED"
    assert (failed.data.tags["status"], failed.data.tags["failure"]) == ("failed", "ValueError: no")
    assert artifact(client, failed.info.run_id, "failure.txt") == b"Traceback ..."
    assert tracker.finished("sweep", trial) is None

    run_trial(tracker, trial)  # in the same session
    (run,) = runs_of(client, study, "trial")
    assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "trained")
    assert "failure" not in run.data.tags
    assert [step for step, _ in points(client, run.info.run_id, "val_loss")] == [0, 10]


def test_what_a_killed_run_left_running_is_released(open_tracker, client):
    study, tracker = open_tracker()
    tracker.start_trial("sweep", make_trial(study))
    tracker.flush()
    other_study, other = open_tracker(seeds={"sweep": 8})  # its settings changed: another study run
    assert study_hash(study, "made") != study_hash(other_study, "made")
    other.close(complete=True)
    by_id = {run.info.run_id: run for run in runs_of(client, study, "study")}
    assert by_id[tracker.run_id].info.status == "KILLED"
    assert by_id[tracker.run_id].data.tags["status"] == "incomplete"
    assert by_id[other.run_id].data.tags["status"] == "complete"
    assert not client.search_runs([run.info.experiment_id for run in by_id.values()], "status = 'RUNNING'")


def test_what_another_folder_runs_on_a_shared_store_is_left_alone(open_tracker, client, tmp_path):
    study, tracker = open_tracker()
    _, other = open_tracker(folder=tmp_path, seeds={"sweep": 8})
    other.close(complete=True)
    by_id = {run.info.run_id: run for run in runs_of(client, study, "study")}
    assert by_id[tracker.run_id].info.status == "RUNNING"
    tracker.close(complete=True)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        # Another version of the library, or other kernels of it, round otherwise.
        ("numerics", "was begun on a library, found another: its trials' numbers would not compare"),
        ("device_name", "was begun on a processor, found another: its trials' times would not compare"),
    ],
    ids=["numerics", "device"],
)
def test_devices_and_arithmetics_do_not_mix(open_tracker, client, field, words):
    study, tracker = open_tracker()
    run_trial(tracker, make_trial(study))
    tracker.close(complete=False)
    other = dataclasses.replace(ENVIRONMENT, **{field: "another"})
    with pytest.raises(InputError, match=words):
        open_tracker(environment=other)
    larger, tracker = open_tracker(environment=other, seeds={"sweep": 8})
    assert tracker.finished("sweep", make_trial(larger)) is None
    tracker.close(complete=True)


def test_data_do_not_mix(open_tracker, client):
    """Other images under the same name and settings are another study run, and other trials."""
    study, tracker = open_tracker()
    run_trial(tracker, make_trial(study))
    tracker.close(complete=True)
    others = dataclasses.replace(DATA, fingerprint="other")
    _, other = open_tracker(data=others)
    assert other.run_id != tracker.run_id
    trial = dataclasses.replace(make_trial(study), data_fingerprint="other")
    assert other.finished("sweep", trial) is None
    uri = tracker._client.tracking_uri
    assert count_trials(uri, study, lambda: "other") == {}
    run_trial(other, trial)
    other.close(complete=True)
    for fingerprint in ("made", "other"):
        assert count_trials(uri, study, lambda own=fingerprint: own) == {"sweep": {"trained": 1}}


def test_stages_do_not_mix(open_tracker, client):
    """What a claim reads of a trial depends on its stage, which is a tag of its run."""
    study, tracker = open_tracker()
    trial = make_trial(study)
    run_trial(tracker, trial)
    _, again = open_tracker()
    assert again.finished("sweep", trial) is not None
    assert again.finished("refine", trial) is None


@pytest.mark.parametrize(
    ("status", "refused"), [("incomplete", True), ("running", True), ("complete", False)]
)
def test_what_was_begun_by_another_schema_is_not_begun_anew_unasked(open_tracker, client, status, refused):
    _, tracker = open_tracker()
    tracker.close(complete=True)
    client.set_tag(tracker.run_id, "schema_version", "1")
    client.set_tag(tracker.run_id, "status", status)
    if refused:
        words = (
            rf"was begun by commit c0ffee, which logs by schema 1, this one by {SCHEMA_VERSION}: .*--set name"
        )
        with pytest.raises(InputError, match=words) as raised:
            open_tracker()
        assert "\n" not in str(raised.value)
    else:
        open_tracker()[1].close(complete=True)


def test_a_store_that_is_moved_or_copied_goes_on_where_it_is(new_folder, tmp_path):
    """And leaves the original alone."""
    first = new_folder("first") / "mlruns"
    study = make_study(name="moving")
    trial = make_trial(study)

    def opened(folder):
        store = f"sqlite:///{folder / 'mlflow.db'}"
        return MlflowStudyLog(store, folder, study, DATA, ENVIRONMENT, "")

    tracker = opened(first)
    tracker.log_json("progress.json", {"wall_time_s": 5.0})
    tracker.start_trial("sweep", make_trial(study, seed=1))  # still running when the folder is moved
    run_trial(tracker, trial)

    copy = Path(shutil.copytree(first, tmp_path / "copy"))
    before = {path: path.read_bytes() for path in sorted(first.rglob("*")) if path.is_file()}
    there = opened(copy)
    assert there.run_id == tracker.run_id
    assert there.read_json("progress.json") == {"wall_time_s": 5.0}
    assert there.finished("sweep", trial).status == "trained"
    stale = there._earlier[_key("sweep", make_trial(study, seed=1).hash)].info.run_id
    assert there._client.get_run(stale).info.status == "KILLED"
    log = run_trial(there, make_trial(study, seed=2))
    there.close(complete=True)
    assert {path: path.read_bytes() for path in sorted(first.rglob("*")) if path.is_file()} == before
    assert (copy / "artifacts" / "moving" / log.run_id / "artifacts" / "curves.parquet").is_file()

    moved = first.rename(tmp_path / "moved")
    assert opened(moved).read_json("progress.json") == {"wall_time_s": 5.0}
    assert not first.exists()


def test_finished_trials_serve_another_study(open_tracker, client):
    """More seeds are another study, but the trials that it shares with the first are the same."""
    study, tracker = open_tracker()
    run_trial(tracker, make_trial(study))
    tracker.close(complete=True)
    larger, tracker = open_tracker(seeds={"sweep": 8})
    again = tracker.finished("sweep", make_trial(larger))
    expected = outcome(10)
    assert (again.status, again.status_ema) == (expected.status, expected.status_ema)
    assert again.metrics.items() >= expected.metrics.items()
    tracker.flush()
    (run,) = runs_of(client, study, "trial")
    for spec in (study, larger):
        assert run.data.tags[f"in_study.{study_hash(spec, 'made')}"] == "true"
        assert count_trials(tracker._client.tracking_uri, spec, lambda: "made") == {"sweep": {"trained": 1}}
    # Its own numbers would be others.
    assert tracker.finished("sweep", make_trial(make_study(network={"width": 4}))) is None


def test_a_study_that_goes_on_has_one_run(open_tracker, client):
    study, tracker = open_tracker()
    assert tracker.read_json("progress.json") is None
    tracker.log_json("progress.json", {"wall_time_s": 5.0})
    run_trial(tracker, make_trial(study))
    tracker.close(complete=False, interrupted=True)
    assert {run.info.status for run in runs_of(client, study, "variant")} == {"KILLED"}
    _, again = open_tracker()
    assert again.run_id == tracker.run_id
    assert again.read_json("progress.json") == {"wall_time_s": 5.0}
    again.close(complete=True)  # though it had nothing left to train
    assert {run.info.status for run in runs_of(client, study, "study")} == {"FINISHED"}
    assert {run.info.status for run in runs_of(client, study, "variant")} == {"FINISHED"}


def test_every_sessions_environment_is_kept(open_tracker, client):
    """A study gone on with under other versions says so; gone on with under the same, nothing more."""
    versions = iter(["1.0", "1.0", "2.0", "1.0"])

    class Versioned(Environment):
        def document(self):
            return {"numpy": next(versions)}

    environment = Versioned(**vars(ENVIRONMENT))
    found = []
    for _ in range(4):
        _, tracker = open_tracker(environment=environment)
        found.append(tracker.read_json("environment.json"))
        tracker.close(complete=False)
    one, two = {"numpy": "1.0"}, {"numpy": "2.0"}
    assert found == [
        one | {"earlier": []},
        one | {"earlier": []},
        two | {"earlier": [one]},
        one | {"earlier": [two]},
    ]


def test_infinite_metrics_do_not_break(open_tracker, client, tmp_path):
    study, tracker = open_tracker()
    trial = make_trial(study)
    log = tracker.start_trial("sweep", trial)
    log.log(evaluation(0))
    log.log(evaluation(10, train_loss=math.inf, val_loss=math.nan, gradient_norm=-math.inf))
    log.finish(outcome(10, "diverged", best_val_loss=math.inf, test_loss=math.nan))
    tracker.flush()
    curves = pd.read_parquet(io.BytesIO(artifact(client, log.run_id, "curves.parquet")))
    assert math.isinf(curves.train_loss[1])
    assert math.isnan(curves.val_loss[1])
    _, tracker = open_tracker()
    assert tracker.finished("sweep", trial).status == "diverged"


def test_a_long_curve_takes_several_calls(open_tracker, client):
    study, tracker = open_tracker()
    steps = range(0, 2000, 10)
    run_id = run_trial(tracker, make_trial(study), steps).run_id
    for name in ("epoch", "val_loss", "clean_train_accuracy_ema"):
        assert [step for step, _ in points(client, run_id, name)] == list(steps)


def test_a_deleted_experiment_is_restored(open_tracker, client):
    study, tracker = open_tracker()
    trial = make_trial(study)
    run_trial(tracker, trial)
    tracker.close(complete=True)
    client.delete_experiment(client.get_experiment_by_name(study.name).experiment_id)
    _, again = open_tracker()
    assert client.get_experiment_by_name(study.name).lifecycle_stage == "active"
    assert again.finished("sweep", trial) is not None


def test_counting_makes_no_store(tmp_path):
    assert count_trials(f"sqlite:///{tmp_path}/none/mlflow.db", make_study(), lambda: "made") == {}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "uri", ["nonsense://somewhere", "sqlite:///{}/damaged.db", "sqlite:///{}/damaged.db/x.db"]
)
def test_an_unusable_store_is_the_users_to_mend(uri, tmp_path):
    (tmp_path / "damaged.db").write_text("not a database")
    with pytest.raises(InputError, match="--tracking-uri: expected a usable MLflow store, found") as raised:
        MlflowStudyLog(uri.format(tmp_path), tmp_path, make_study(), DATA, ENVIRONMENT, "")
    assert "\n" not in str(raised.value)


def test_a_store_that_was_left_half_made_is_made_anew(new_folder, caplog):
    """Killed while MLflow made it, it once ended every later run: "table ... already exists"."""
    store = new_folder("half") / "mlruns" / "mlflow.db"
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("DROP TABLE model_versions")
        connection.commit()
    assert connect(f"sqlite:///{store}").get_experiment_by_name("Default") is not None
    assert "was left half made" in caplog.text
    assert {path.name for path in store.parent.iterdir() if path.suffix != ".lock"} == {
        "mlflow.db",
        "mlflow.db.half-made",
    }


def test_the_environment_names_the_store(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert default_uri(tmp_path) == "http://elsewhere"


def test_telemetry_is_off_before_mlflow_is_imported():
    """In a process of its own, what MLflow finds in its environment at the moment it is imported."""
    import subprocess

    code = """
import sys, os
import benchmark.cli.commands
assert "mlflow" not in sys.modules, "MLflow must be imported lazily"
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "mlflow":
            print(os.environ.get("MLFLOW_DISABLE_TELEMETRY"), os.environ.get("DO_NOT_TRACK"))
            os._exit(0)
sys.meta_path.insert(0, Watch())
from benchmark.tracking.mlflow.store import connect
connect("sqlite:///never.db")
"""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(benchmark.__file__).parents[1],
    )
    assert done.stdout.split() == ["true", "true"]
