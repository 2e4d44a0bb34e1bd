"""Archives of public datasets: found or downloaded, and used only if their checksum holds."""

import hashlib
import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.base.errors import InputError
from benchmark.contract.files import scratch

TIMEOUT_S = 30.0
"""How long a silent server is waited for; torchvision sets no limit."""


@dataclass(frozen=True)
class Archive:
    """A file as its publisher offers it.

    Attributes:
        name: file name, also in the folder it is looked for in.
        url: where it is published.
        md5: its checksum, as torchvision knows it.
    """

    name: str
    url: str
    md5: str


def obtain(archive: Archive, folder: Path) -> Path:
    """Return the path of a sound copy of `archive` in `folder`, downloading it if there is none.

    Raises:
        InputError: the copy found is damaged, or there is none and it cannot be downloaded.
    """
    path = folder / archive.name
    if not path.exists():
        _download(archive, folder)
        return path
    found = md5_of(path)
    if found != archive.md5:
        raise damaged(path, archive.md5, found)
    return path


def damaged(path: Path, expected: str, found: str) -> InputError:
    """The refusal of a file whose checksum is not the publisher's."""
    return InputError(
        f"{path} is damaged or not the published file: expected md5 {expected}, found {found};"
        " replace it with a sound copy, or delete it to have it downloaded"
    )


def md5_of(path: Path) -> str:
    """MD5 of a file (hex): what publishers print, good against accidents only."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(archive: Archive, folder: Path) -> None:
    """Download into `folder`, showing progress; the archive appears there whole and checked or not at all."""
    from torchvision.datasets.utils import download_url  # late: torchvision takes seconds to import

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with scratch(folder, "download") as partial, _socket_timeout():
            download_url(archive.url, partial, archive.name, archive.md5)
            (partial / archive.name).replace(folder / archive.name)
    # RuntimeError: what torchvision raises for a checksum that does not hold.
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"could not download {archive.url} ({reason}); get the file elsewhere and put it at"
            f" {folder / archive.name} (md5 {archive.md5}); or take another data set: --set data.dataset=..."
            " (digits needs no download)"
        ) from error


@contextmanager
def _socket_timeout() -> Iterator[None]:
    """Bound every wait for the network; torchvision offers no parameter for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
