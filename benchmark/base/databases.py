"""SQLite files that libraries make and fill: made whole or not at all, by one process at a time."""

import fcntl
import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

Opened = TypeVar("Opened")
_log = logging.getLogger(__name__)


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
        address = f"file:{quote(str(path.resolve()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.execute("PRAGMA schema_version")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when its holder dies, however it dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with exclusive(_lock_of(path)):
            if not path.exists():  # no other process was first
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
    opened(partial)
    return partial


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _is_half_made(path: Path, table: str) -> bool:
    """Whether a file is a database of that library's, or of nobody's yet, that holds nothing."""
    try:
        uri = f"file:{quote(str(path.resolve()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if table in tables:
                return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None
            return not tables or "alembic_version" in tables
    except sqlite3.Error:
        return False
