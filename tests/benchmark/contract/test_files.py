"""Scratch folders: those of processes that died go, and no other; and what a machine puts in the way."""

import errno
import multiprocessing
import os
import signal
import sqlite3

import pytest

from analysis.data.files import replacing
from benchmark.contract.files import obstacle, scratch

FORK = multiprocessing.get_context("fork")


def _stay(parent, made, gone):
    with scratch(parent, "made") as folder:
        (folder / "half.txt").write_text("half wri")
        made.set()
        gone.wait()


@pytest.fixture
def another(tmp_path):
    """Another process that has a scratch folder, and what lets it leave it."""
    made, gone = FORK.Event(), FORK.Event()
    process = FORK.Process(target=_stay, args=(tmp_path, made, gone))
    process.start()
    assert made.wait(10.0)
    yield process, gone
    process.kill()
    process.join()


def test_what_a_killed_process_left_goes_and_what_is_like_it_stays(tmp_path, another):
    (tmp_path / ".made-settings").mkdir()
    (tmp_path / ".made-too.scratch-abcdefgh").mkdir()
    process, _ = another
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".made.scratch-*"))) == 1
    with scratch(tmp_path, "made") as folder:
        assert list(tmp_path.glob(".made.scratch-*")) == [folder]
        assert list(folder.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {".made-settings", ".made-too.scratch-abcdefgh"}


def test_what_a_living_process_has_stays(tmp_path, another):
    process, gone = another
    (theirs,) = tmp_path.iterdir()
    with scratch(tmp_path, "made") as folder:
        assert {theirs, folder} == set(tmp_path.iterdir())
    assert [path.name for path in theirs.iterdir()] == ["half.txt"]
    gone.set()
    process.join(10.0)
    assert list(tmp_path.iterdir()) == []


def _die_between(folder):
    real = type(folder).rename

    def rename(path, target):
        real(path, target)
        os._exit(1)

    type(folder).rename = rename
    with replacing(folder, "report.html") as fresh:
        (fresh / "report.html").write_text("new")


def test_a_report_is_there_again_whose_replacement_was_killed_halfway(tmp_path):
    folder = tmp_path / "report"
    with replacing(folder, "report.html") as fresh:
        (fresh / "report.html").write_text("old")
    process = FORK.Process(target=_die_between, args=(folder,))
    process.start()
    process.join()
    assert not folder.exists()

    class WrongError(Exception):
        pass

    with pytest.raises(WrongError), replacing(folder, "report.html"):
        raise WrongError
    assert (folder / "report.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
    ],
)
def test_too_little_memory_is_said_in_a_line(error):
    found = obstacle(error)
    assert "memory" in found.lower()
    assert "ask for fewer workers" in found
    assert "\n" not in found


def test_a_damaged_database_is_said_in_a_line(tmp_path):
    (tmp_path / "made.db").write_text("no database")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        sqlite3.connect(tmp_path / "made.db").execute("SELECT 1 FROM sqlite_master")
    assert "found a damaged one (file is not a database); put back a copy" in obstacle(caught.value)
