"""Where Optuna keeps which rates were tried: an SQLite file of the folder's, or a team's PostgreSQL.

`optuna-dashboard` opens both.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy import NullPool
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from benchmark.base.databases import open_database
from benchmark.base.errors import InputError
from benchmark.base.locks import PATIENCE_S, Lock
from benchmark.base.servers import CONNECT_ARGS, engine, unusable
from benchmark.contract.files import obstacle

Storage = optuna.storages.BaseStorage

_log = logging.getLogger(__name__)
_TRY_AGAIN_S = 1.0
_MAKING = 0x626E62656E6368  # the advisory lock of whoever makes the tables


def open_storage(path: Path) -> Storage:
    """The Optuna storage in an SQLite file, made if need be.

    Raises:
        InputError: it cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return open_database(
            path,
            lambda file: optuna.storages.RDBStorage(f"sqlite:///{file}"),
            "trials",
            (SQLAlchemyError, RuntimeError),
        )
    except (SQLAlchemyError, RuntimeError, OSError) as error:
        if obstacle(error):
            raise
        raise InputError(
            f"{path}: expected an Optuna storage, found another: {str(error).splitlines()[0]}; "
            "move it away and run the study again: finished trials are kept in MLflow"
        ) from None


def open_shared_storage(url: str, lock: Lock) -> Storage:
    """The Optuna storage in a team's PostgreSQL database, made if need be.

    It outlasts a server that goes away: whatever is asked meanwhile waits until that is back, and the study's
    lock with it.

    Args:
        url: of the database, from `database_url`.
        lock: of the study that is run.

    Raises:
        InputError: it cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # Tables are made by one runner at a time: PostgreSQL answers two at once with an error.
        with engine(url, poolclass=NullPool).connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_MAKING})")
            storage = optuna.storages.RDBStorage(
                url, engine_kwargs={"connect_args": CONNECT_ARGS, "pool_pre_ping": True}
            )
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise unusable(url, error.__cause__ or error) from None
    return cast(Storage, _Outlasting(optuna.storages.get_storage(storage), url, lock))


class _Outlasting:
    """An Optuna storage that asks again what its server did not answer; it has all of the storage's methods.

    Args:
        storage: asked.
        url: of its database, for messages.
        lock: of the study that is run, in the same database: it waits for the server.
    """

    def __init__(self, storage: Storage, url: str, lock: Lock) -> None:
        self._storage = storage
        self._url = url
        self._lock = lock

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._ask, name)

    def _ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        deadline = None
        while True:
            try:
                answer = getattr(self._storage, name)(*arguments, **named)
            except StorageInternalError as error:
                if not isinstance(error.__cause__, OperationalError):
                    raise
                now = time.monotonic()
                if deadline is None:
                    deadline = now + PATIENCE_S
                    _log.warning("%s; it is asked again", unusable(self._url, error.__cause__))
                elif now > deadline:
                    raise unusable(self._url, error.__cause__) from None
            except UpdateFinishedTrialError:
                if deadline is None:
                    raise
                return True  # it was written, and only the answer lost
            else:
                # No other writes to this study: its state was changed, and only the answer lost.
                return True if name == "set_trial_state_values" and deadline else answer
            time.sleep(_TRY_AGAIN_S)
            self._lock.check(now=True)
