"""Files that were logged, read or refused by name; and folders that are written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.checks import refuse
from analysis.errors import InputError
from benchmark.contract.files import dead_scratch, scratch, unsealed

DIRECTORY_MODE = 0o755


def read_json(path: Path | None) -> dict[str, Any]:
    """A JSON object as it was logged, its checksum looked at; empty where there is no file.

    Raises:
        InputError: it is something else.
    """
    if path is None:
        return {}
    _check_is_file(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        refuse(str(path), "JSON", str(error))
    if not isinstance(document, dict):
        refuse(str(path), "a JSON object", type(document).__name__)
    try:
        return unsealed(document)
    except ValueError as error:
        refuse(str(path), "what was logged", str(error))


def read_table(path: Path | None) -> pa.Table | None:
    """A parquet table; None where there is no file. Its pages' checksums are looked at.

    Raises:
        InputError: it is something else, or damaged.
    """
    if path is None:
        return None
    _check_is_file(path)
    try:
        # Half the time of `read_table`, which looks for folders of files.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        refuse(str(path), "a parquet file", next(iter(str(error).splitlines()), type(error).__name__))


def _check_is_file(path: Path) -> None:
    if not path.is_file():  # a pipe would be waited for
        refuse(str(path), "a file", "a folder" if path.is_dir() else "something else")


@contextmanager
def replacing(folder: Path, mark: str) -> Iterator[Path]:
    """A fresh folder that takes the place of `folder` if all goes well; else what was there stays.

    Args:
        folder: to create or replace, with its parents.
        mark: a file that every such folder has.

    Raises:
        InputError: there is another folder, which would be lost.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise InputError(
            f"{folder}: expected a new folder, an empty one, or one with an older {mark}, which is replaced, "
            "found one of other files: name another with --out"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in dead_scratch(folder.parent, folder.name):
        if (left / "old").is_dir() and not folder.exists():  # killed between the two renames below
            (left / "old").rename(folder)
    with scratch(folder.parent, folder.name) as own:
        fresh = own / "fresh"
        fresh.mkdir(mode=DIRECTORY_MODE)
        yield fresh
        if folder.exists():
            folder.rename(own / "old")
        fresh.rename(folder)
