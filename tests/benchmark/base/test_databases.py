"""Stores are made whole or not at all, and a half-made one of old is made anew."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing

import optuna
import pytest
import sqlalchemy

from benchmark.base.databases import address_of, check_database, open_database
from benchmark.base.databases import damage as has_trouble
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


def damaged_in_its_middle(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def with_a_negative_rate(path):
    """SQLite finds nothing wrong with it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE trial_params SET param_value = -1.0")
        connection.commit()


def folder_instead(path):
    path.unlink()
    path.mkdir()


def pipe_instead(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("no database"),
        lambda path: os.truncate(path, 5000),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        damaged_in_its_middle,
        with_a_negative_rate,
        folder_instead,
        pipe_instead,
    ],
)
def test_a_damaged_storage_of_rates_is_put_aside_and_made_anew(tmp_path, caplog, rates_db, damage):
    path = tmp_path / "optuna.db"
    shutil.copy(rates_db, path)
    path.with_name("optuna.db-journal").write_text("of the damaged one")
    damage(path)
    assert open_storage(path).get_all_studies() == []
    assert "is damaged" in caplog.text
    assert "it is kept as optuna.db.damaged" in caplog.text
    assert path.with_name("optuna.db.damaged").exists()
    assert not path.with_name("optuna.db-journal").exists()
    assert path.stat().st_size > 0
    pipe_instead(path)
    open_storage(path)
    assert path.with_name("optuna.db.damaged-2").exists()


@pytest.fixture(scope="module")
def rates_db(tmp_path_factory):
    """A storage with a trial of a rate."""
    path = tmp_path_factory.mktemp("rates") / "optuna.db"
    storage = open_storage(path)
    study = optuna.create_study(storage=storage, study_name="one")
    study.enqueue_trial({"learning_rate": 0.1})
    study.ask().suggest_float("learning_rate", 0.1, 1.0)
    storage.remove_session()
    return path


def test_a_storage_of_a_version_to_come_is_left_where_it_is(tmp_path, rates_db):
    path = tmp_path / "optuna.db"
    shutil.copy(rates_db, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0'")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"optuna\.db: expected an Optuna storage"):
        open_storage(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("look", [has_trouble, check_database])
def test_what_a_killed_writer_left_half_written_is_taken_back_by_whoever_reads(tmp_path, look):
    """The file is changed already, and the journal beside it holds what was there before."""
    path = tmp_path / "made.db"
    half_made(path, "CREATE TABLE runs (x)", "INSERT INTO runs VALUES (1)")
    process = multiprocessing.get_context("fork").Process(target=_die_writing, args=(path,))
    process.start()
    process.join()
    assert path.with_name("made.db-journal").stat().st_size > 0
    assert not look(path)
    assert not path.with_name("made.db-journal").exists()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def _die_writing(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA cache_size = 1")  # so that pages are written before the end
    connection.executemany("INSERT INTO runs VALUES (?)", (("x" * 1000,) for _ in range(1000)))
    os._exit(1)


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b", "ä b", "a\nb", "a%b"])
def test_an_address_leads_to_the_file_and_to_no_other(tmp_path, name):
    """SQLAlchemy 2.1 decodes addresses: `a%20b` once was another folder's file."""
    folder = tmp_path / name
    folder.mkdir()
    engine = sqlalchemy.create_engine(address_of(folder / "x.db"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE made (x)"))
    engine.dispose()
    assert [path.name for path in folder.iterdir()] == ["x.db"]
    assert list(tmp_path.iterdir()) == [folder]
