import contextlib
import sqlite3
import threading

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import DataError, OperationalError

from benchmark.base.errors import InputError
from benchmark.contract.files import StoreAwayError
from benchmark.stages import storage
from benchmark.stages.storage import open_shared_storage, open_storage


class Lock:
    workplace = None

    def __init__(self):
        self.num_checks = 0

    def check(self, *, now=False):
        assert now
        self.num_checks += 1


class Failing(optuna.storages.InMemoryStorage):
    """A storage whose server fails: `before` so many writes of a trial's state, or `after` one."""

    before, after = 0, False
    cause = OperationalError("UPDATE", {}, Exception("server closed the connection"))

    def set_trial_state_values(self, trial_id, state, values=None):
        if self.before:
            self.before -= 1
            raise StorageInternalError from self.cause
        done = super().set_trial_state_values(trial_id, state, values)
        if self.after:
            self.after = False
            raise StorageInternalError from self.cause
        return done


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setattr(storage, "_TRY_AGAIN_S", 0.0)
    inner, lock = Failing(), Lock()
    outlasting = storage._Outlasting(inner, lock, "the database")
    study = optuna.create_study(storage=outlasting, sampler=optuna.samplers.RandomSampler(seed=0))
    return inner, lock, study


def test_what_a_server_did_not_answer_is_asked_again(failing, caplog):
    inner, lock, study = failing
    trial = study.ask()
    inner.before = 3
    study.tell(trial, 1.0)
    assert [(t.state, t.value) for t in study.trials] == [(TrialState.COMPLETE, 1.0)]
    assert lock.num_checks == 3  # it is the lock that waits
    (record,) = caplog.records
    assert record.getMessage().startswith("waiting for the database: (builtins.Exception) server closed")


def test_what_was_written_and_not_answered_is_not_an_error(failing):
    inner, _, study = failing
    trial = study.ask()
    inner.after = True
    study.tell(trial, 1.0)
    study.enqueue_trial({"x": 0.5})
    inner.after = True
    assert study.ask().suggest_float("x", 0.0, 1.0) == 0.5  # the one that was enqueued
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_a_server_that_stays_away_ends_the_run_in_one_line(failing, monkeypatch):
    inner, _, study = failing
    monkeypatch.setattr(storage, "PATIENCE_S", 0.05)
    trial = study.ask()
    inner.before = 10**9
    with pytest.raises(StoreAwayError, match=r"the database has not answered for 0 minutes .*server closed"):
        study.tell(trial, 1.0)


def test_other_errors_are_not_waited_for(failing):
    inner, lock, study = failing
    trial = study.ask()
    inner.before, inner.cause = 1, DataError("UPDATE", {}, Exception("out of range"))
    with pytest.raises(StorageInternalError):
        study.tell(trial, 1.0)
    assert lock.num_checks == 0


def test_a_database_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match="Connection refused"):
        open_shared_storage("postgresql+psycopg://me@127.0.0.1:1/optuna", Lock())


def test_a_file_that_another_keeps_busy_is_waited_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(storage, "_TRY_AGAIN_S", 0.05)
    monkeypatch.setattr(storage, "_BUSY_S", 0.05)
    path = tmp_path / "optuna.db"
    study = optuna.create_study(storage=open_storage(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        freed = threading.Timer(1.0, lambda: holder.execute("COMMIT"))
        freed.start()
        study.tell(study.ask(), 1.0)
        freed.join()
    assert "waiting for" in caplog.text
    assert "database is locked" in caplog.text
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
