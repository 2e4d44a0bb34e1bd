"""How documents are sealed, where unfinished things lie, what a machine puts in the way: of both packages."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SEAL = "sha256"
"""The key of a logged document that holds the checksum of all of its others."""


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with its checksum, as it is logged."""
    return {**document, SEAL: _checksum(document)}


def unsealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A logged document without its checksum; of one that has none, all of it.

    Raises:
        ValueError: it is not what was logged.
    """
    content = {key: value for key, value in document.items() if key != SEAL}
    if document.get(SEAL, "") not in ("", _checksum(content)):
        raise ValueError("its checksum is another: it was damaged or changed")
    return content


def _checksum(document: Mapping[str, Any]) -> str:
    read_back = json.loads(json.dumps(document))  # whose keys are text, as they will be
    return hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A new folder in `parent` for what is being made there, which goes when it is left.

    One whose process was killed stays, and goes when the next one is made: each process holds a lock on its
    own, which the kernel lets go of however it dies.

    Args:
        parent: of the folder.
        name: of what is made.
    """
    for _ in dead_scratch(parent, name):
        pass
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_scratch_prefix(name)))
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: then nobody takes it for a dead one's
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                break
            os.close(lock)  # taken for a dead one's before it was locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def dead_scratch(parent: Path, name: str) -> Iterator[Path]:
    """The folders that `scratch` made and whose processes died, each removed once it was looked at."""
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        if not folder.name.startswith(_scratch_prefix(name)):
            continue
        with suppress(OSError):  # a living process has the lock, or another removes it
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _scratch_prefix(name: str) -> str:
    return f".{name}.scratch-"


_ROOM = "free some room there, and give the command again: it goes on"
_PLACE = "mend that, or work in another folder"
_MEMORY = "end what else takes memory, or ask for fewer workers, and give the command again: it goes on"
_DAMAGED = "put back a copy of it, or move it away and run the study anew; it is left as it is"
_OBSTACLES: Mapping[int, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _PLACE),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY), _PLACE),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), _PLACE),
    errno.ENOMEM: _MEMORY,
}
_SQLITE_OBSTACLES: Mapping[str, str] = {
    "disk is full": _ROOM,
    "disk I/O error": _ROOM,
    "readonly database": _PLACE,
    "unable to open database file": _PLACE,
}
_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "out of memory", "not enough memory")
"""What loaders of shared libraries and allocators say, who have no error of their own for it."""


class StoreAwayError(Exception):
    """A store does not answer. Its message is one line, as of bad input."""


def obstacle(error: BaseException | None) -> str:
    """What a disk, memory or a store put in the way, in a line; empty for other errors.

    Args:
        error: or what it came of, as libraries wrap what they meet.
    """
    while error is not None:
        if isinstance(error, OSError) and (remedy := _OBSTACLES.get(error.errno or 0)):
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{str(error.strerror).lower()}; {remedy}"
        if isinstance(error, StoreAwayError):
            return str(error)
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
            return f"out of memory; {_MEMORY}"
        if damage := damage_of_database("the database in mlruns/", error):
            return damage
        if isinstance(error, sqlite3.OperationalError):
            for words, remedy in _SQLITE_OBSTACLES.items():
                if words in str(error):
                    return f"the database in mlruns/: {error}; {remedy}"
        error = error.__cause__ or error.__context__
    return ""


def damage_of_database(where: object, error: BaseException) -> str:
    """That a database is damaged, and what to do, in one line; empty for other errors.

    Args:
        where: it is.
        error: met when it was read or written.
    """
    code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.DatabaseError) else None
    is_damage = code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    if not is_damage and "Could not decode to UTF-8" not in str(error):
        return ""
    return f"{where}: expected a whole database, found a damaged one ({error}); {_DAMAGED}"
