"""How documents are sealed, and what a disk puts in the way: for both packages."""

import errno
import hashlib
import json
import sqlite3
from collections.abc import Mapping
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


_ROOM = "free some room there, and give the command again: it goes on"
_PLACE = "mend that, or work in another folder"
_OBSTACLES: Mapping[int, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _PLACE),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP), _PLACE),
}
_SQLITE_OBSTACLES: Mapping[str, str] = {
    "disk is full": _ROOM,
    "disk I/O error": _ROOM,
    "readonly database": _PLACE,
    "unable to open database file": _PLACE,
}


class StoreAwayError(Exception):
    """A store does not answer. Its message is one line, as of bad input."""


def obstacle(error: BaseException | None) -> str:
    """What a disk, its permissions or a store put in the way, in a line; empty for other errors.

    Args:
        error: or what it came of, as libraries wrap what they meet.
    """
    while error is not None:
        if isinstance(error, OSError) and (remedy := _OBSTACLES.get(error.errno or 0)):
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{str(error.strerror).lower()}; {remedy}"
        if isinstance(error, StoreAwayError):
            return str(error)
        if isinstance(error, sqlite3.OperationalError):
            for words, remedy in _SQLITE_OBSTACLES.items():
                if words in str(error):
                    return f"the database in mlruns/: {error}; {remedy}"
        error = error.__cause__ or error.__context__
    return ""
