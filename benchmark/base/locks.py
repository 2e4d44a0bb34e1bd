"""One runner per study: locks that end with whoever holds them, of a folder and of a team's database."""

import getpass
import hashlib
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmark.base import interruption
from benchmark.base.databases import exclusive
from benchmark.base.errors import InputError
from benchmark.base.servers import engine, unusable
from benchmark.contract import ARTIFACTS_FOLDER
from benchmark.contract.addresses import without_password

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = logging.getLogger(__name__)

PATIENCE_S = 600.0
"""How long a run waits for a database that has gone away: a restart, an update, a switch of hosts."""
_ASK_EVERY_S = 5.0  # trials of small nets end many a second; a lock that is lost is noticed this late
_TRY_AGAIN_S = 1.0
_LONGEST_NAME = 63  # of a PostgreSQL client


class LostLockError(InputError):
    """A lock that was held may be another's now: nothing more may be written of the study."""


class Lock(Protocol):
    """Keeps a study for one runner.

    Attributes:
        workplace: where it keeps others out, by a name that is the same to all of them; None: in the folder.
    """

    workplace: str | None

    def check(self, *, now: bool = False) -> None:
        """Make sure that it is still held, which is looked at every few seconds at most, or `now`.

        Raises:
            LostLockError: it was lost, and cannot be had again.
        """


class FileLock:
    """A lock file's, of a folder; the kernel lets go of it when its holder dies."""

    workplace: str | None = None

    def check(self, *, now: bool = False) -> None:
        """Nothing to do: it cannot be lost."""


class DatabaseLock:
    """A PostgreSQL session's advisory lock: the server lets go of it when its connection ends.

    Args:
        url: of the database, from `database_url`.
        study: the study's name.

    Raises:
        InputError: the database cannot be used, or another runner holds the lock.
    """

    def __init__(self, url: str, study: str) -> None:
        from sqlalchemy import NullPool

        self._url = url
        self._study = study
        # The connection's own name is what a runner that is refused reads.
        self._engine = engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": _client_name()},
        )
        self._connection = self._connected()
        self._asked_at = time.monotonic()
        self.workplace: str | None = self._server()

    def check(self, *, now: bool = False) -> None:
        """Ask the server; a connection that was lost is made anew, which is waited for, and the lock taken.

        Raises:
            LostLockError: another has taken it, or the server stays away.
        """
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        if not now and time.monotonic() - self._asked_at < _ASK_EVERY_S:
            return
        try:
            self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            _log.warning("%s; it is waited for, up to %.0f min", unusable(self._url, error), PATIENCE_S / 60)
            self._connection.invalidate()
            self._connection.close()
            self._reconnect()
        self._asked_at = time.monotonic()

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()
        self._engine.dispose()

    def _reconnect(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            interruption.check()
            try:
                self._connection = self._connected()
                return
            except _AwayError as error:
                if time.monotonic() > deadline:
                    raise LostLockError(f"{error}; it was waited for, {PATIENCE_S / 60:.0f} min") from None
            except InputError as error:
                raise LostLockError(f"the connection to the database was lost, and now {error}") from None
            time.sleep(_TRY_AGAIN_S)

    def _connected(self) -> "Connection":
        """A connection that holds the lock."""
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            connection = self._engine.connect()
            key = {"key": _key(self._study)}
            if connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar():
                return connection
            with closing(connection):
                holder = connection.execute(text(_HOLDER), key).first()
        except SQLAlchemyError as error:
            raise _AwayError(str(unusable(self._url, error))) from None
        name, since = holder or ("one that has just ended", None)
        runner = f"{name}, since {since}" if since else name
        raise InputError(
            f"study {self._study!r} is being run by {runner} (who holds its lock in "
            f"{without_password(self._url)}): wait for it, stop it, or give yours another --set name=..."
        )

    def _server(self) -> str:
        """The database's identity, by whatever address it is reached."""
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        query = "SELECT system_identifier || '/' || current_database() FROM pg_control_system()"
        try:
            return f"postgresql:{self._connection.execute(text(query)).scalar()}"
        except SQLAlchemyError as error:
            self.close()
            raise unusable(self._url, error) from None


class _AwayError(InputError):
    """The database cannot be used, at the moment or at all."""


@contextmanager
def only_runner(folder: Path, url: str | None, study: str) -> Iterator[Lock]:
    """Hold a study's lock: the folder's, whose checkpoints it writes, and a team's if it has a database.

    Args:
        folder: the suite's folder.
        url: of the team's database, from `database_url`; None: there is none.
        study: its name, by which stores keep what belongs to it.

    Raises:
        InputError: another runner holds it, or the database cannot be used.
    """
    path = folder / "locks" / f"{study}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(path, wait=False))
        except BlockingIOError:
            raise InputError(
                f"study {study!r} is being run by another process (it holds {path}): wait for it, or stop it"
            ) from None
        _remove_partial(folder / ARTIFACTS_FOLDER / study)
        if url is None:
            yield FileLock()
        else:
            with closing(DatabaseLock(url, study)) as lock:
                yield lock


def _remove_partial(artifacts: Path) -> None:
    """Remove what killed runners of a study had begun to write: its lock says that no other writes there."""
    for partial in artifacts.glob("*/artifacts/.*.partial"):
        partial.unlink(missing_ok=True)


def _key(study: str) -> int:
    """The lock's number, of 64 bits with a sign."""
    digest = hashlib.sha256(f"benchmark/study/{study}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _client_name() -> str:
    """Who holds a lock, in the letters and the length that PostgreSQL takes."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's, whom no table names
        user = f"user {os.getuid()}"
    process = f" pid {os.getpid()}"
    person = re.sub(r"[^ -~]", "?", f"{user}@{socket.gethostname()}")
    return f"{person[: _LONGEST_NAME - len(process)]}{process}"


# The server keeps the number as two of 32 bits. Its time is said in its own zone; other roles' is not told.
_HOLDER = """
    SELECT a.application_name, to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) | l.objid::bigint = :key
"""
