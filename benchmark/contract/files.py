"""How studies are read as TOML, how documents are sealed, what a disk puts in the way: for both packages."""

import errno
import hashlib
import json
import sqlite3
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.contract.messages import MOST_QUOTED, excerpt

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


_MOST_TOML_BYTES = 2**16
"""Of a study's file; what costs more than it is long stays quick to read."""
_DEEPEST = 16
"""Tables and lists within each other; a study has four."""
_MOST_INTEGER = 2**63 - 1


def toml_file(path: Path) -> dict[str, Any]:
    """The table in a TOML file, of values that JSON and 64 bits can hold.

    Raises:
        ValueError: it is another thing; says in a line what was expected and found.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError(f"expected a TOML file, found {_kind_of(path)}")
        with path.open("rb") as file:
            content = file.read(_MOST_TOML_BYTES + 1)
        if len(content) > _MOST_TOML_BYTES:
            raise ValueError(f"expected TOML of at most {_MOST_TOML_BYTES} bytes, found more")
        table = tomllib.loads(content.decode())
    except OSError as error:
        raise ValueError(f"expected a TOML file, found {str(error.strerror).lower()}") from None
    except RecursionError:
        raise ValueError(f"expected TOML of at most {_DEEPEST} levels, found more") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected TOML, found: {error}") from None
    check_plain(table, "")
    return table


def _kind_of(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "something else" if path.exists() else "none"


def check_plain(value: Any, where: str, level: int = 0) -> None:
    """Refuse what no key of a study takes, before anything is made of it.

    Args:
        value: of TOML.
        where: its key.
        level: how many tables and lists it is in.

    Raises:
        ValueError: it is deeper, or not to be written as text in UTF-8, as JSON or in 64 bits.
    """
    if level > _DEEPEST:
        raise ValueError(f"{where[:MOST_QUOTED]}: expected at most {_DEEPEST} levels, found more")
    if isinstance(value, dict):
        for key, one in value.items():
            check_plain(key, where, level)
            check_plain(one, f"{where}.{key}" if where else key, level + 1)
    elif isinstance(value, list):
        for one in value:
            check_plain(one, where, level + 1)
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{where}: expected text in UTF-8, found {excerpt(value)}")
        if any(ord(c) < 160 and not c.isprintable() and c not in "\n\r\t" for c in value):
            raise ValueError(f"{where}: expected text without control characters, found {excerpt(value)}")
    elif isinstance(value, int):
        if not -_MOST_INTEGER <= value <= _MOST_INTEGER:
            raise ValueError(f"{where}: expected a number of 64 bits, found {excerpt(value)}")
    elif not isinstance(value, float):
        raise ValueError(
            f"{where}: expected numbers, strings, booleans and lists only, found {excerpt(value)}"
        )


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


def obstacle(error: BaseException | None) -> str:
    """What a disk or its permissions put in the way, as both command lines say it; empty for other errors.

    Args:
        error: or what it came of, as libraries wrap what they meet.
    """
    while error is not None:
        if isinstance(error, OSError) and (remedy := _OBSTACLES.get(error.errno or 0)):
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{str(error.strerror).lower()}; {remedy}"
        if isinstance(error, sqlite3.OperationalError):
            for words, remedy in _SQLITE_OBSTACLES.items():
                if words in str(error):
                    return f"the database in mlruns/: {error}; {remedy}"
        error = error.__cause__ or error.__context__
    return ""
