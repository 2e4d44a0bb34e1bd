"""Stores that are busy, or do not answer: told from other errors, waited for, and said; for both packages."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmark.contract.files import StoreAwayError, damage_of_database, obstacle

PATIENCE_S = 300.0
"""How long a store is waited for where nothing can be done without it."""
BUSY_S = 1.0
"""How long a reader waits for a writer of a file in one try."""
RETRY_S = 5.0
"""After how long it is asked again."""

_SAY_S = 2.0  # that a store is busy, which is then said
_OF_CONNECTIONS = {
    ("sqlalchemy.exc", "OperationalError"),
    ("sqlalchemy.exc", "InterfaceError"),
    ("requests.exceptions", "ConnectionError"),
    ("requests.exceptions", "ConnectTimeout"),
    ("requests.exceptions", "ReadTimeout"),
    ("requests.exceptions", "ChunkedEncodingError"),
}
"""Modules and names of libraries' errors that are of a connection; by name, for nothing is imported here."""

_log = logging.getLogger(__name__)


@contextmanager
def reading(path: Path, damaged: type[Exception]) -> Iterator[sqlite3.Connection]:
    """A connection to an SQLite file; it makes none, and takes back what a killed writer left half written.

    Args:
        path: of the file.
        damaged: what is raised, with a line for people, if the file is damaged.
    """
    address = f"file:{quote(str(path.resolve()))}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        if damage := damage_of_database(path, error):
            raise damaged(damage) from None
        raise


def why_away(error: BaseException) -> str:
    """In a line, why a store did not take or give what it was asked to, if it may do so later.

    Args:
        error: of any library between here and the store.

    Returns:
        The reason; empty for an error that is here to stay.
    """
    if obstacle(error):
        return ""
    seen: BaseException | None = error
    while seen is not None:
        if _is_of_the_store(seen):
            return (str(seen).splitlines() or [type(seen).__name__])[0][:200]
        seen = seen.__cause__
    return ""


def _is_of_the_store(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return "locked" in str(error) or "busy" in str(error)
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)  # of requests
    if callable(of_mlflow := getattr(error, "get_http_status_code", None)):
        status = of_mlflow()
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    if isinstance(getattr(error, "orig", None), sqlite3.Error):
        return False  # its cause says whether
    names = {(kind.__module__, kind.__name__) for kind in type(error).__mro__}
    return bool(names & _OF_CONNECTIONS)


def patiently(
    call: Callable[..., Any], place: str, check: Callable[[], None] = lambda: None
) -> Callable[..., Any]:
    """A function that is called again while the store is busy or away; that it waits is said once.

    Args:
        call: what asks the store.
        place: the store, in words.
        check: is called before each try; raises if somebody has asked to stop.

    Raises:
        StoreAwayError: by calling it, if the store is still away after `PATIENCE_S`.
    """

    @wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        began, is_said = time.monotonic(), False
        while True:
            check()
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not (why := why_away(error)):
                    raise
                if time.monotonic() > began + PATIENCE_S:
                    raise given_up(place, PATIENCE_S, why) from None
            if not is_said and time.monotonic() > began + _SAY_S:
                _log.warning("waiting for %s: %s", place, why)
                is_said = True
            time.sleep(min(RETRY_S, _SAY_S))

    return called


def given_up(place: str, patience_s: float, why: str) -> StoreAwayError:
    """The error of whoever has waited for a store for so long."""
    return StoreAwayError(
        f"{place} has not answered for {patience_s / 60:.0f} minutes ({why}): see to it, and give the "
        "command again: it goes on"
    )


class Patient:
    """An object whose methods are called again while what they ask is busy or away.

    Args:
        asked: MLflow's client, say.
        place: what it asks, in words.
        check: as of `patiently`.
    """

    def __init__(self, asked: Any, place: str, check: Callable[[], None] = lambda: None) -> None:
        self._asked, self._place, self._check = asked, place, check

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._asked, name)
        return patiently(found, self._place, self._check) if callable(found) else found
