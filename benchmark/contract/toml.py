"""How studies are read as TOML: of bounded size, depth and numbers; for both packages."""

import tomllib
from pathlib import Path
from typing import Any

from benchmark.contract.messages import MOST_QUOTED, excerpt

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
