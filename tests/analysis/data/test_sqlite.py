"""Reading MLflow's tables without MLflow gives what its client gives, in as many queries for any study."""

import contextlib
import dataclasses
import sqlite3
import threading
from pathlib import Path

import pytest
from logged_results import log_trial, new_experiment

from analysis.data import sqlite
from analysis.data.sqlite import SqliteRecords, can_be_read
from analysis.data.store import ClientRecords, Store
from analysis.errors import InputError
from benchmark.contract import INIT_GAIN, stores
from benchmark.contract.files import StoreAwayError


@pytest.fixture
def path(store):
    return Path(store[0].removeprefix("sqlite:///"))


def said(runs):
    """What analysis asks of runs."""
    names = [field.name for field in dataclasses.fields(sqlite.RunInfo)]
    return [
        (
            [str(getattr(run.info, name)) for name in names],
            run.data.tags,
            {key: value for key, value in run.data.params.items() if key == INIT_GAIN},
            {key: repr(value) for key, value in run.data.metrics.items()},
        )
        for run in runs
    ]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("tags", [{"kind": "trial"}, {"kind": "study"}, {"kind": "trial", "seed": "1"}])
def test_both_say_the_same(store, path, newest_first, tags):
    client, direct = ClientRecords(store[0]), Store(store[0]).records
    assert isinstance(direct._asked, SqliteRecords)
    assert direct.experiments() == client.experiments()
    experiments = list(client.experiments())
    found = [records.search(experiments, tags, newest_first=newest_first) for records in (client, direct)]
    assert len(found[0]) > 1
    assert said(found[0]) == said(found[1])
    run_id = found[0][0].info.run_id
    assert direct.experiment_of(run_id) == client.experiment_of(run_id)


def test_deleted_runs_and_nan_are_read_as_the_client_reads_them(store, path, logged):
    uri, client = store
    experiment = new_experiment(client, uri, "deleted-ones")
    trial = logged.trials.iloc[0].to_dict()
    kept, deleted = (log_trial(client, experiment, trial, "0000bbbb") for _ in range(2))
    client.log_metric(kept, "odd", float("nan"))
    client.delete_run(deleted)
    found = [
        r.search([experiment], {"kind": "trial"}, newest_first=True)
        for r in (ClientRecords(uri), SqliteRecords(path))
    ]
    assert [run.info.run_id for run in found[1]] == [kept]
    assert said(found[0]) == said(found[1])
    assert repr(found[1][0].data.metrics["odd"]) == "nan"


def test_the_number_of_queries_does_not_grow_with_the_study(store, path, monkeypatch):
    queries = []
    connect = sqlite3.connect

    def counting(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(queries.append)
        return connection

    monkeypatch.setattr(sqlite.sqlite3, "connect", counting)
    records = SqliteRecords(path)
    experiments = list(records.experiments())
    counts = []
    for tags in ({"kind": "trial", "seed": "1"}, {"kind": "trial"}):
        queries.clear()
        records.search(experiments, tags, newest_first=True)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6


def test_a_file_that_is_no_store_is_left_to_mlflow_and_a_damaged_one_is_named(tmp_path):
    (tmp_path / "damaged.db").write_text("not a database")
    with pytest.raises(InputError, match=r"damaged\.db: expected a whole database, found a damaged one"):
        can_be_read(tmp_path / "damaged.db")
    assert not can_be_read(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_busy_store_is_waited_for_and_that_is_said(new_folder, caplog, monkeypatch):
    monkeypatch.setattr(stores, "RETRY_S", 0.05)
    monkeypatch.setattr(stores, "_SAY_S", 0.05)
    monkeypatch.setattr(stores, "BUSY_S", 0.05)
    path = new_folder("busy") / "mlruns" / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        freed = threading.Timer(1.0, lambda: holder.execute("COMMIT"))
        freed.start()
        assert set(Store(f"sqlite:///{path}").experiments.values()) == {"Default"}
        freed.join()
        assert "waiting for sqlite:///" in caplog.text
        holder.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(stores, "PATIENCE_S", 0.2)
        with pytest.raises(StoreAwayError, match=r"0 minutes .database is locked.: see to it"):
            Store(f"sqlite:///{path}")
        holder.execute("COMMIT")
