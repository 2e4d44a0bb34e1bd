"""What a store has not taken yet, as files in the order in which it is to be told."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.base.errors import InputError
from benchmark.contract.files import sealed, unsealed
from benchmark.tracking.mlflow.changes import Change, as_json, from_json


class Spool:
    """The files of one study.

    Args:
        folder: where they lie; made when the first one is.
        header: what must be known to deliver them, in types that JSON has.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder = folder
        self._header = header
        self._next = 1 + max((int(file.stem) for file in waiting(folder)), default=0)

    def put(self, changes: Sequence[Change]) -> None:
        """Write changes to the last file, whole or not at all."""
        if not changes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{self._next:06}.json"
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(json.dumps(sealed(self._header | {"changes": as_json(changes)})), encoding="utf-8")
        partial.replace(file)
        self._next += 1


def waiting(folder: Path) -> list[Path]:
    """A spool's files, in order."""
    return sorted(folder.glob("[0-9]*.json"))


def read(file: Path) -> tuple[dict[str, Any], list[Change]]:
    """A file's header and changes.

    Raises:
        InputError: it is not what was written.
    """
    try:
        document = unsealed(json.loads(file.read_text(encoding="utf-8")))
        return document, from_json(document.pop("changes"))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{file}: expected what a store has not taken yet, found another: {str(error).splitlines()[0]}; "
            "move it away: the trials that it tells of are trained again"
        ) from None


def remove(file: Path) -> None:
    """Forget a file that was delivered, and with the last one the folders that it leaves empty."""
    file.unlink()
    with contextlib.suppress(OSError):  # they are not empty
        file.parent.rmdir()
        file.parent.parent.rmdir()
