"""Stores are made whole or not at all, and a half-made one of old is made anew."""

import multiprocessing
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from benchmark.base.databases import open_database
from benchmark.base.errors import InputError
from benchmark.stages.storage import open_storage


class NotMadeError(Exception):
    """What this library raises."""


def opened(path, pause_s=0.0):
    """A library that, as MLflow and Optuna do, makes its tables one by one, and finishes no other's."""
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if tables == {"alembic_version", "first", "things"}:
            return path
        if tables:
            raise NotMadeError("table alembic_version already exists")
        for table in ("alembic_version", "first", "things"):
            connection.execute(f"CREATE TABLE {table} (x)")
            connection.commit()
            time.sleep(pause_s)
    return path


def open_it(path, pause_s=0.0):
    return open_database(path, lambda file: opened(file, pause_s), "things", (NotMadeError,))


def half_made(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in ("CREATE TABLE alembic_version (x)", *statements):
            connection.execute(statement)
        connection.commit()


def test_a_database_is_made_once_and_opened_from_then_on(tmp_path):
    path = tmp_path / "new" / "made.db"
    assert open_it(path) == path
    content = path.read_bytes()
    assert open_it(path) == path
    assert path.read_bytes() == content
    assert {file.name for file in path.parent.iterdir()} == {"made.db", ".made.db.lock"}


@pytest.mark.parametrize("after_s", [0.05, 0.25, 0.45])
def test_one_that_was_being_made_by_a_process_that_died_is_made_anew(tmp_path, after_s):
    path = tmp_path / "made.db"
    process = multiprocessing.get_context("fork").Process(target=open_it, args=(path, 0.2))
    process.start()
    time.sleep(after_s)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not path.exists()
    assert open_it(path) == path


def test_two_that_make_it_at_once_make_one(tmp_path):
    path = tmp_path / "made.db"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=open_it, args=(path, 0.1)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert open_it(path) == path


def test_a_half_made_one_of_old_is_put_aside_and_said(tmp_path, caplog):
    path = tmp_path / "made.db"
    half_made(path)
    before = path.read_bytes()
    assert open_it(path) == path
    assert (tmp_path / "made.db.half-made").read_bytes() == before
    assert "was left half made" in caplog.text


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE things (x)", "INSERT INTO things VALUES (1)"),  # it holds something
        ("CREATE TABLE things (x)", "INSERT INTO things VALUES (1)", "DROP TABLE alembic_version"),
        ("CREATE TABLE theirs (x)", "DROP TABLE alembic_version"),  # another program's
    ],
)
def test_what_may_be_somebodys_is_left_where_it_is(tmp_path, statements):
    path = tmp_path / "made.db"
    half_made(path, *statements)
    before = path.read_bytes()
    with pytest.raises(NotMadeError):
        open_it(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["made.db"]


def test_optunas_storage_is_one_of_them(tmp_path, caplog):
    path = tmp_path / "optuna.db"
    open_storage(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("DELETE FROM version_info")
        connection.execute("DROP TABLE trials")
        connection.execute("CREATE TABLE trials (another TEXT)")
        connection.commit()
    storage = open_storage(path)
    assert storage.get_all_studies() == []
    path.write_text("no database")
    with pytest.raises(InputError, match=r"optuna\.db: expected an Optuna storage"):
        open_storage(path)
    assert path.read_text() == "no database"
