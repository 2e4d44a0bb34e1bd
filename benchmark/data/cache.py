"""Decoded datasets on disk: read back only if every byte is as it was written.

A cache file is the SHA-256 (32 bytes) of all that follows, then NumPy arrays one after another, as
`numpy.save` writes them: a JSON header as bytes, then the four arrays of `RawData`.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmark.base.databases import exclusive
from benchmark.data.raw import RawData

FORMAT = 1
"""Part of every stamp: raise it when this file's layout or a reader's output changes."""

_DIGEST_BYTES = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


def cached(path: Path, stamp: str, read: Callable[[], RawData]) -> tuple[RawData, str]:
    """Return the dataset cached at `path`, reading its source only when there is no sound copy.

    Processes that start at once wait for the one that reads the source.

    Args:
        path: the cache file.
        stamp: identifies the state of the source; a cache with another stamp is rebuilt.
        read: reads the source; called at most once.

    Returns:
        The data and its fingerprint.
    """
    found = _load(path, stamp)
    if found is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_suffix(".lock")):
        found = _load(path, stamp)  # another process may have built it while this one waited
        if found is None:
            raw = read()
            found = raw, raw.fingerprint()
            _store(path, stamp, *found)
    return found


def _load(path: Path, stamp: str) -> tuple[RawData, str] | None:
    """The content of a cache file; None if it is missing, damaged, or of another state of the source."""
    if not path.exists():
        return None
    if not path.is_file():  # a pipe would be waited for
        _log.warning("%s is no file; building it anew", path)
        return None
    content = memoryview(path.read_bytes())
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        _log.warning("%s is damaged; building it anew", path)
        return None
    stream = io.BytesIO(payload)
    header = json.loads(np.load(stream).tobytes())
    if header["stamp"] != _full_stamp(stamp):
        return None
    train_images, train_labels, test_images, test_labels = (np.load(stream) for _ in range(4))
    class_names = tuple(header["class_names"])
    raw = RawData(train_images, train_labels, test_images, test_labels, class_names)
    if [array.dtype for array in raw.arrays()] != [np.uint8, np.int64] * 2:  # no NaN, no infinity
        _log.warning("%s holds other numbers than pixels and labels; building it anew", path)
        return None
    return raw, header["fingerprint"]


def _store(path: Path, stamp: str, raw: RawData, fingerprint: str) -> None:
    """Write a cache file, whole or not at all; the caller holds the lock."""
    header = {"stamp": _full_stamp(stamp), "class_names": raw.class_names, "fingerprint": fingerprint}
    stream = io.BytesIO()
    np.save(stream, np.frombuffer(json.dumps(header).encode(), dtype=np.uint8))
    for array in raw.arrays():
        np.save(stream, array)
    payload = stream.getbuffer()
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(hashlib.sha256(payload).digest())
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    if path.is_dir():  # which no file can replace; what is in it is not ours
        path.rename(path.with_name(f"{path.name}.damaged"))
    partial.replace(path)


def _full_stamp(stamp: str) -> str:
    return f"{FORMAT}:{stamp}"
