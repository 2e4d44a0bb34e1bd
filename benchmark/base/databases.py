"""SQLite files that libraries make and fill: made whole or not at all, by one process at a time."""

import fcntl
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from benchmark.base.errors import InputError
from benchmark.contract.files import damage_of_database

Opened = TypeVar("Opened")
_log = logging.getLogger(__name__)


_JOURNALS = ("-journal", "-wal", "-shm")
"""What SQLite has beside a database while it writes, and after it was killed: part of that database alone."""


def address_of(path: Path) -> str:
    """SQLAlchemy's address of an SQLite file, which it decodes: `%20` in a path is else a space.

    Args:
        path: of any characters.
    """
    from sqlalchemy import URL  # late: `status` asks the file itself

    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def check_database(path: Path) -> None:
    """Look whether what is at a path, if anything, can be opened.

    Raises:
        sqlite3.Error: it cannot, or is no database.
    """
    if path.exists():
        if not path.is_file():  # a pipe would be waited for
            raise sqlite3.OperationalError("it is no file")
        with closing(_reading(path)) as connection:
            connection.execute("PRAGMA schema_version")


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when its holder dies, however it dies.

    Raises:
        BlockingIOError: another process holds it, and `wait` is not asked for.
    """
    # Read and write: for writing alone, a pipe's reader would be waited for.
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(file)


def open_database(
    path: Path, opened: Callable[[Path], Opened], table: str, errors: tuple[type[Exception], ...]
) -> Opened:
    """Open a library's database, which is made if need be.

    It is made beside its place and then renamed, so a process that dies, or a disk that fills, meanwhile
    leaves none. A half-made one of old, which its library can neither open nor finish, is put aside as
    `<name>.half-made`, and said; it holds nothing.

    Args:
        path: of the file.
        opened: what opens a database there, and makes it if there is none.
        table: of the library's, whose rows are what a database holds.
        errors: of `opened`, where it cannot open it.

    Raises:
        InputError: something else is in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: expected a database, found no file; move it away: it is then made anew")
    if not path.exists():
        with exclusive(_lock_of(path)):
            if not path.exists():  # no other process was first
                _remove_journals(path)  # of one that was there before: this one would be undone by them
                _made_beside(path, opened).rename(path)
    try:
        return opened(path)
    except errors:
        if not _is_half_made(path, table):
            raise
    aside = path.with_name(f"{path.name}.half-made")
    _log.warning("%s was left half made: it is made anew, and kept as %s", path, aside.name)
    with exclusive(_lock_of(path)):
        if _is_half_made(path, table):
            shutil.copyfile(path, aside)
            made = _made_beside(path, opened)
            # In one transaction into the file that there is: connections that the library keeps stay good.
            with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(path)) as target:
                source.backup(target)
            made.unlink()
    return opened(path)


def _made_beside(path: Path, opened: Callable[[Path], object]) -> Path:
    """A new database beside its place; the caller holds the lock."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # of a process that died
    _remove_journals(partial)
    opened(partial)
    return partial


def refuse_emptied(path: Path, beside: Path) -> None:
    """Refuse a database that is an empty file, beside a folder of files that only it can tell of.

    Raises:
        InputError: it is; its library would make a new one there, and all that was logged be forgotten.
    """
    if path.is_file() and not path.stat().st_size and beside.is_dir() and any(beside.iterdir()):
        raise InputError(
            f"{path}: expected the database of what lies in {beside}, found an empty file; put back a copy "
            "of it, or move both away and run the study anew"
        )


def damage(path: Path) -> str:
    """What is wrong with what is in a database's place; empty where SQLite finds nothing wrong."""
    if not path.is_file():
        return "it is no file"
    try:
        with closing(_reading(path)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error) if damage_of_database(path, error) else ""
    return "" if found == "ok" else str(found).splitlines()[-1]


def put_aside(path: Path) -> Path:
    """Give a damaged database another name, which says so, with what SQLite has beside it; its new path."""
    names = (f"{path.name}.damaged{suffix}" for suffix in chain([""], (f"-{n}" for n in count(2))))
    aside = next(place for place in map(path.with_name, names) if not place.exists())
    for journal in _JOURNALS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + journal).rename(aside.with_name(aside.name + journal))
    path.rename(aside)
    return aside


def _remove_journals(path: Path) -> None:
    for journal in _JOURNALS:
        path.with_name(path.name + journal).unlink(missing_ok=True)


def _reading(path: Path) -> sqlite3.Connection:
    """A connection that makes no file. What a killed writer left half written, it takes back."""
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=rw", uri=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _is_half_made(path: Path, table: str) -> bool:
    """Whether a file is a database of that library's, or of nobody's yet, that holds nothing."""
    try:
        with closing(_reading(path)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if table in tables:
                return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None
            return not tables or "alembic_version" in tables
    except sqlite3.Error:
        return False
