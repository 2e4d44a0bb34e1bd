"""A store that is busy, or away: training goes on, and what it has not taken is delivered when it is back."""

import contextlib
import logging
import math
import sqlite3
import threading
import time

import pytest
from made_tracking import ENVIRONMENT, evaluation, outcome
from made_trials import make_data, make_study, make_trial
from running import main_of

from benchmark.base.errors import InputError
from benchmark.contract import stores
from benchmark.contract.files import StoreAwayError
from benchmark.tracking.mlflow import batch, sqlite, study_log
from benchmark.tracking.mlflow.batch import Batch
from benchmark.tracking.mlflow.changes import Change, Point, as_json, from_json
from benchmark.tracking.mlflow.count import count_trials
from benchmark.tracking.mlflow.spool import Spool, read, waiting
from benchmark.tracking.mlflow.study_log import MlflowStudyLog

DEADLINE_S = 30.0


@pytest.fixture
def folder(new_folder):
    return new_folder("spool") / "mlruns"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(batch, "DELAY_S", 0.05)
    monkeypatch.setattr(stores, "RETRY_S", 0.05)
    monkeypatch.setattr(stores, "PATIENCE_S", 0.5)
    monkeypatch.setattr(study_log, "PATIENCE_S", 0.5)
    monkeypatch.setattr(stores, "_SAY_S", 0.05)
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.05)
    monkeypatch.setattr(stores, "BUSY_S", 0.05)


def open_tracker(folder, name="made"):
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowStudyLog(uri, folder, make_study(name=name), make_data(), ENVIRONMENT, "")


@contextlib.contextmanager
def locked(folder):
    """Another process's write lock on the store."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("COMMIT")


def eventually(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(tracker):
    """As kill -9 would: its clock rings no more."""
    with tracker._batch._writing:
        tracker._batch._has_ended = True


def run_trial(tracker, seed):
    log = tracker.start_trial("sweep", make_trial(make_study(), seed=seed))
    log.log(evaluation(0))
    log.finish(outcome(0))
    return log


def num_trained(folder):
    counts = count_trials(f"sqlite:///{folder / 'mlflow.db'}", make_study(), lambda: "made")
    return counts.get("sweep", {}).get("trained", 0)


class Flaky:
    """A writer of a store that is away when it is told to be."""

    def __init__(self):
        self.is_away = threading.Event()
        self.written = []
        self.num_ids = 0

    def new_id(self):
        self.num_ids += 1
        return f"run {self.num_ids}"

    def write(self, changes):
        if self.is_away.is_set():
            raise ConnectionRefusedError("nobody listens")
        self.written += changes


def test_what_is_spooled_is_what_was_kept_to_the_bit(tmp_path):
    curve = {"step": 3, "val_loss": 0.1 + 0.2, "odd": math.nan, "far": -math.inf}
    change = Change("a", ("name", 5), {"seed": "3"}, [Point("x", math.inf, 7, 1), Point("y", 1 / 3, 7, 1)])
    change.tables["curves.parquet"] = [curve]
    change.documents["decisions.json"] = {"rates": [0.1, 1e-300]}
    change.status = "FINISHED", 9
    spool = Spool(tmp_path / "spool", {"store": "s"})
    spool.put([change])
    spool.put([])
    (file,) = waiting(spool.folder)
    header, (found,) = read(file)
    assert header == {"store": "s"}
    assert repr(found) == repr(change)
    assert repr(from_json(as_json([change]))) == repr([change])
    file.write_text(file.read_text().replace("0.30000000000000004", "0.3"))
    with pytest.raises(InputError, match="its checksum is another"):
        read(file)


def test_training_waits_for_no_store_and_the_order_is_kept(tmp_path, caplog):
    writer, spool = Flaky(), Spool(tmp_path / "spool", {})
    kept = Batch(writer, spool, "the store")
    first = kept.begin("first", {}, {})
    kept.flush()
    writer.is_away.set()
    for number in range(5):
        kept.tag(first, {"number": str(number)})
        kept.flush()  # returns
    assert len(waiting(spool.folder)) == 5
    (said,) = (record.message for record in caplog.records)
    assert said == (
        f"the store does not take results (nobody listens): they are kept in {spool.folder}, "
        "and training goes on"
    )
    assert not kept._try_again()
    # A process that is killed now leaves all of it to the next one.
    later = Spool(spool.folder, {})
    later.put([Change(first, tags={"number": "5"})])
    writer.is_away.clear()
    eventually(lambda: not waiting(spool.folder))
    assert kept.deliver(0.0)
    assert [change.tags.get("number") for change in writer.written] == [None, *"012345"]
    assert not spool.folder.exists()
    eventually(lambda: caplog.records[-1].message == "the store has taken all that was kept for it")
    kept.tag(first, {"number": "6"})
    eventually(lambda: writer.written[-1].tags == {"number": "6"})


def test_a_store_that_hangs_holds_nobody_up(tmp_path):
    """Its answer is awaited beside the training."""
    writer, hanging = Flaky(), threading.Event()
    write, entered = writer.write, threading.Event()

    def slow(changes):
        entered.set()
        hanging.wait(DEADLINE_S)
        write(changes)

    writer.write = slow
    kept = Batch(writer, Spool(tmp_path / "spool", {}), "the store")
    run_id = kept.begin("a run", {}, {})
    assert entered.wait(DEADLINE_S)
    began = time.monotonic()
    for step in range(1000):
        kept.log(run_id, {"val_loss": 0.5}, step)
    assert time.monotonic() - began < DEADLINE_S / 2
    hanging.set()
    assert kept.deliver(0.0)
    assert sum(len(change.points) for change in writer.written) == 1000


def test_a_run_that_fails_and_is_tried_again_in_one_breath(tmp_path):
    """Only the last word counts, whichever of the two it is."""
    writer = Flaky()
    kept = Batch(writer, Spool(tmp_path / "spool", {}), "the store")
    with kept._state:
        run_id = kept.begin("a run", {}, {})
        kept.end(run_id, "FAILED", {"failure": "no"})
        kept.go_on(run_id, {}, "failure")
        kept.end(run_id, "FAILED", {"failure": "no again"})
        change = kept._pending[run_id]
        assert (change.tags, change.untagged) == ({"failure": "no again"}, [])
        kept.go_on(run_id, {}, "failure")
        assert (change.tags, change.untagged) == ({}, ["failure"])
    kept.deliver(0.0)


def test_a_busy_store_takes_all_of_it_when_it_is_free(folder, caplog):
    tracker = open_tracker(folder)
    run_trial(tracker, 1)
    tracker.flush()
    with locked(folder):
        for seed in (2, 3):
            run_trial(tracker, seed)
            tracker.log_json("decisions.json", {"seed": seed})
        assert "does not take results (database is locked)" in caplog.text
        assert waiting(folder / "spool" / "made")
    tracker.close(complete=True)
    assert num_trained(folder) == 3
    assert tracker.read_json("decisions.json") == {"seed": 3}
    assert not (folder / "spool" / "made").exists()


def test_what_never_comes_back_is_said_and_delivered_later(folder, caplog):
    tracker = open_tracker(folder)
    with locked(folder):
        run_trial(tracker, 1)
        with pytest.raises(
            StoreAwayError, match=r"kept in .*spool/made, nothing is lost; .* benchmark deliver$"
        ):
            tracker.close(complete=True)
    assert num_trained(folder) == 0
    code, _, errors = main_of("benchmark", folder.parent, "deliver")
    assert (code, errors.count("\n")) == (0, 1)
    assert "study made: delivered to sqlite:///" in errors
    assert "with the results of 1 trials" in errors
    assert num_trained(folder) == 1
    code, _, errors = main_of("benchmark", folder.parent, "deliver")
    assert (code, errors) == (0, "nothing waits in mlruns/spool\n")

    # And what a killed one left, by the next that opens the study.
    tracker = open_tracker(folder)
    with locked(folder):
        run_trial(tracker, 2)
        tracker.flush()
        kill(tracker)
    later = open_tracker(folder)
    assert "delivered to" in caplog.text
    assert later.finished("sweep", make_trial(make_study(), seed=2)).status == "trained"


def test_what_was_kept_for_another_store_is_not_mixed_in(folder):
    tracker = open_tracker(folder)
    with locked(folder):
        run_trial(tracker, 1)
        tracker.flush()
        kill(tracker)
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / "mlflow.db").rename(elsewhere / "mlflow.db")
    uri = f"sqlite:///{elsewhere / 'mlflow.db'}"
    code, _, errors = main_of("benchmark", folder.parent, "deliver", "--tracking-uri", uri)
    assert code == 2
    assert "has results for the store sqlite:///mlruns/mlflow.db, found sqlite:///" in errors


def test_opening_waits_for_a_busy_store_and_says_so(folder, caplog, monkeypatch):
    monkeypatch.setattr(stores, "PATIENCE_S", DEADLINE_S)
    open_tracker(folder).close(complete=False)
    holder = contextlib.ExitStack()
    holder.enter_context(locked(folder))

    def waited():
        eventually(lambda: "waiting for sqlite:///" in caplog.text)
        return caplog.text

    with caplog.at_level(logging.WARNING):
        opened = threading.Thread(target=lambda: open_tracker(folder).close(complete=True))
        # MLflow waits for 20 s by itself before it says that its store is locked.
        monkeypatch.setattr("mlflow.store.db.utils.sql.text", _impatient_pragma())
        opened.start()
        said = waited()
        holder.close()
        opened.join(DEADLINE_S)
    assert not opened.is_alive()
    assert "locked" in said


def _impatient_pragma():
    from sqlalchemy import text

    return lambda words: text(words.replace("busy_timeout = 20000", "busy_timeout = 50"))


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.OperationalError("no such table: runs"), False),
        (sqlite3.OperationalError("database or disk is full"), False),
        (ConnectionRefusedError("no"), True),
        (OSError(28, "No space left on device"), False),
        (ValueError("a bug"), False),
    ],
    ids=str,
)
def test_what_is_away_and_what_is_broken(error, is_away):
    assert bool(stores.why_away(error)) == is_away
    wrapped = KeyError("of a library")
    wrapped.__cause__ = error
    assert bool(stores.why_away(wrapped)) == is_away


def test_mlflows_errors_are_told_apart():
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

    assert stores.why_away(MlflowException("API request to http://x failed with exception y")) == (
        "API request to http://x failed with exception y"
    )
    assert stores.why_away(MlflowException("the database", error_code=TEMPORARILY_UNAVAILABLE))
    assert not stores.why_away(MlflowException("no such run", error_code=RESOURCE_DOES_NOT_EXIST))
