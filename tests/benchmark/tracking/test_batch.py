"""Trials that end together are written together: what is written, how often, when, and by what."""

import contextlib
import math
import sqlite3
import time
from collections import Counter

import pytest
from made_tracking import ENVIRONMENT, evaluation, outcome
from made_trials import make_data, make_study, make_trial

from benchmark.contract import CURVE_METRICS
from benchmark.tracking.mlflow import batch, sqlite, trial_log
from benchmark.tracking.mlflow.batch import Batch
from benchmark.tracking.mlflow.changes import Change, Point
from benchmark.tracking.mlflow.client import ClientWriter
from benchmark.tracking.mlflow.count import count_trials
from benchmark.tracking.mlflow.spool import Spool
from benchmark.tracking.mlflow.sqlite import SqliteWriter, is_known
from benchmark.tracking.mlflow.study_log import MlflowStudyLog

OWN = {"runs": "run_uuid", "inputs": "destination_id"}
"""The column that says whose a row is; `run_uuid` of the other tables too."""


@pytest.fixture
def folder(new_folder):
    return new_folder("batch") / "mlruns"


@pytest.fixture
def tracker(folder):
    """Of a study in a store of its own; its clock never rings."""
    return open_tracker(folder)


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch):
    monkeypatch.setattr(batch, "DELAY_S", 3600.0)


def open_tracker(folder, name="made"):
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowStudyLog(uri, folder, make_study(name=name), make_data(), ENVIRONMENT, "")


def query(folder, words, *values):
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return connection.execute(words, values).fetchall()


def statuses(folder):
    words = "select r.status, t.value from runs r join tags t using (run_uuid) where t.key = 'status'"
    return Counter(
        query(folder, f"{words} and run_uuid in (select run_uuid from tags where value = 'trial')")
    )


def rows_of(folder, run_id):
    """Everything that the tables have of a run, but its id and those of its inputs."""
    found = {}
    for table, columns in sqlite._COLUMNS.items():
        if table == "input_tags":
            continue
        names = sorted(set(columns) - {"run_uuid", "destination_id", "input_uuid"})
        words = f"select {', '.join(names)} from {table} where {OWN.get(table, 'run_uuid')} = ?"
        found[table] = sorted(map(repr, query(folder, words, run_id)))
    words = "select name, value from input_tags join inputs using (input_uuid) where destination_id = ?"
    found["input_tags"] = query(folder, words, run_id)
    (place,) = query(folder, "select artifact_uri from runs where run_uuid = ?", run_id)[0]
    assert place.endswith(f"/{run_id}/artifacts")
    found["runs"] = [row.replace(run_id, "ID") for row in found["runs"]]
    return found


def test_both_writers_write_the_same_rows(tracker, folder):
    """The contract with MLflow's tables, whatever its version: what its own client makes of the same."""
    direct = tracker._batch._writer
    assert isinstance(direct, SqliteWriter)
    client = ClientWriter(tracker._client, tracker._experiment_id, tracker._artifacts, tracker._dataset)
    curve = [Point("val_loss", 1 / (1 + step), 1_000_000 + step, step) for step in range(1200)]
    odd = [
        Point("best", math.inf, 5, 3),
        Point("worst", -math.inf, 5, 3),
        Point("none", math.nan, 5, 3),
        Point("same_step", 1.0, 7, 3),
        Point("same_step", 2.0, 7, 3),
        Point("earlier", 1.0, 7, 3),
        Point("earlier", 9.0, 8, 2),
    ]
    later = [Point("val_loss", 0.0, 2_000_000, 1200), Point("earlier", 4.0, 1, 1), curve[-1]]
    found = []
    for writer in (client, direct):
        own_id = writer.new_id()
        tags = {"kind": "trial", "status": "running", "failure": "of an earlier try"}
        begun = Change(own_id, ("a run", 1_700_000_000_000), {"seed": "3"}, curve + odd, tags)
        ended = Change(own_id, points=later, tags={"status": "trained"}, untagged=["failure", "never had"])
        ended.status = "FINISHED", 1_700_000_001_000
        for changes in ([begun], [begun], [ended], [begun, ended]):  # what may have been written already
            writer.write(changes)
        run_id = client._id(own_id) if writer is client else own_id
        rows = rows_of(folder, run_id)
        rows["tags"] = [row for row in rows["tags"] if own_id not in row]  # by which the client finds it
        found.append(rows)
    assert found[0]["metrics"]
    for table, rows in found[0].items():
        assert rows == found[1][table], table
    assert all(found[0].values())


def test_trials_that_end_together_are_one_transaction_and_no_call_of_the_client(tracker, folder, monkeypatch):
    study = make_study()
    trials = [make_trial(study, seed=seed) for seed in range(16)]
    tracker.start_trial("sweep", make_trial(study, seed=99))  # the variant's run is there
    tracker.flush()
    monkeypatch.setattr(tracker, "_client", None)
    transactions = []
    connect = sqlite3.connect

    def counting(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(
            lambda sql: transactions.append(sql) if sql.startswith("COMMIT") else None
        )
        return connection

    monkeypatch.setattr(sqlite.sqlite3, "connect", counting)
    logs = [tracker.start_trial("sweep", trial) for trial in trials]
    for step in (0, 10):
        for log in logs:
            log.log(evaluation(step))
    for log in logs:
        log.finish(outcome(10))
    assert transactions == []
    tracker.flush()
    assert len(transactions) == 1
    tracker.flush()  # nothing is new
    assert len(transactions) == 1
    assert statuses(folder) == {("FINISHED", "trained"): 16, ("RUNNING", "running"): 1}
    (count,) = query(folder, "select count(*) from metrics where key = 'val_loss'")[0]
    assert count == 2 * 16


def test_the_clock_writes_what_waits(tracker, folder, monkeypatch):
    monkeypatch.setattr(batch, "DELAY_S", 0.05)
    log = tracker.start_trial("sweep", make_trial(make_study()))
    log.log(evaluation(0))
    deadline = time.monotonic() + 20.0
    while not statuses(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert statuses(folder) == {("RUNNING", "running"): 1}


def test_a_long_trial_is_written_when_it_ends(tracker, folder, monkeypatch):
    """After a kill it would be trained anew, from its beginning."""
    monkeypatch.setattr(trial_log, "_LONG_S", -1.0)
    log = tracker.start_trial("sweep", make_trial(make_study()))
    log.log(evaluation(0))
    assert not statuses(folder)
    log.finish(outcome(0))
    assert statuses(folder) == {("FINISHED", "trained"): 1}


def test_documents_and_the_end_come_after_the_trials(tracker, folder):
    log = tracker.start_trial("sweep", make_trial(make_study()))
    log.log(evaluation(0))
    tracker.log_json("decisions.json", {})
    assert statuses(folder) == {("RUNNING", "running"): 1}
    log.finish(outcome(0))
    tracker.close(complete=False, interrupted=True)
    assert statuses(folder) == {("FINISHED", "trained"): 1}


def test_what_the_clock_could_not_write_is_said_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "DELAY_S", 0.01)

    class Full:
        written = None

        def write(self, changes):
            raise OSError("no space left")

    writer = Full()
    waiting = Batch(writer, Spool(tmp_path / "spool", {}), "a store")
    waiting.tag("id", {"status": "trained"})
    deadline = time.monotonic() + 20.0
    while waiting._error is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(OSError, match="no space left"):
        waiting.tag("id", {"more": "tags"})
    written = []
    writer.write = written.extend
    waiting.flush()
    assert [change.tags for change in written] == [{"status": "trained"}]


def test_tables_unknown_here_are_left_to_mlflow(folder):
    query(folder, "alter table runs add column colour varchar(9)")
    assert not is_known(folder / "mlflow.db")
    tracker = open_tracker(folder)
    assert isinstance(tracker._batch._writer, ClientWriter)
    log = tracker.start_trial("sweep", make_trial(make_study()))
    for step in range(0, 2000, 10):  # more metrics than one call takes
        log.log(evaluation(step))
    log.finish(outcome(1990))
    tracker.close(complete=True)
    assert statuses(folder) == {("FINISHED", "trained"): 1}
    (count,) = query(folder, "select count(*) from metrics where key = 'val_loss'")[0]
    assert count == 200
    assert query(folder, "select count(distinct key) from metrics")[0][0] >= len(CURVE_METRICS) - 1


def test_counting_says_the_same_with_mlflow_and_without(tracker, folder, monkeypatch):
    study = make_study()
    for seed, status in enumerate(("trained", "trained", "diverged", None, None)):
        log = tracker.start_trial("sweep", make_trial(study, seed=seed))
        log.log(evaluation(0))
        if status is not None:
            log.finish(outcome(0, status))
    tracker.flush()
    tracker._client.set_terminated(log.run_id, "KILLED")
    deleted = tracker.start_trial("sweep", make_trial(study, seed=8))
    tracker.flush()
    tracker._client.delete_run(deleted.run_id)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    found = count_trials(uri, study, lambda: "made")
    assert found == {"sweep": {"trained": 2, "diverged": 1, "running": 1, "interrupted": 1}}
    monkeypatch.setattr("benchmark.tracking.mlflow.count.is_known", lambda path: False)
    assert count_trials(uri, study, lambda: "made") == found
    assert count_trials(uri, make_study(name="never"), lambda: "made") == {}
