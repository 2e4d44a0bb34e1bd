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
from optuna.trial import TrialState
from sqlalchemy import NullPool
from sqlalchemy.exc import SQLAlchemyError

from benchmark.base import interruption
from benchmark.base.databases import address_of, damage, open_database, put_aside
from benchmark.base.errors import InputError
from benchmark.base.locks import PATIENCE_S, FileLock, Lock
from benchmark.base.servers import CONNECT_ARGS, engine, unusable
from benchmark.contract.addresses import without_password
from benchmark.contract.files import obstacle
from benchmark.contract.stores import given_up, patiently, why_away

PARAMETER = "learning_rate"
Storage = optuna.storages.BaseStorage

_log = logging.getLogger(__name__)
_TRY_AGAIN_S = 1.0
_BUSY_S = 5.0  # how long to wait for another writer of a file in one try
_MAKING = 0x626E62656E6368  # the advisory lock of whoever makes the tables


def open_storage(path: Path, prefix: str = "") -> Storage:
    """The Optuna storage in an SQLite file, made if need be; it is waited for while another keeps it busy.

    One that is damaged is put aside, which is said, and made anew: what it held follows from the trials.

    Args:
        path: of the file.
        prefix: of the names of the Optuna studies that will be asked for: these are looked through.

    Raises:
        InputError: it cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = patiently(_looked_through, str(path), interruption.check)(path, prefix)
    return cast(Storage, _Outlasting(optuna.storages.get_storage(storage), FileLock(), str(path)))


def _looked_through(path: Path, prefix: str) -> optuna.storages.RDBStorage:
    if path.exists() and (found := damage(path)):
        return _made_anew(path, found)
    storage = _opened(path)
    try:
        for study in storage.get_all_studies():
            if study.study_name.startswith(prefix):
                for trial in storage.get_all_trials(study._study_id, deepcopy=False):
                    _check(trial)
    except _UNREADABLE as error:
        storage.remove_session()
        if obstacle(error) or why_away(error):
            raise
        return _made_anew(path, f"{type(error).__name__}: {error}".splitlines()[0])
    return storage


_UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(SQLAlchemyError, optuna.exceptions.StorageInternalError),
)
"""What Optuna raises on values and tables that are none of its own: it checks little of what it reads."""


def _check(trial: optuna.trial.FrozenTrial) -> None:
    """A trial is one of those that a search here has tried.

    Raises:
        ValueError, TypeError, KeyError: it is not.
    """
    if not all(value > 0.0 for value in trial.params.values()) or trial.params.keys() - {PARAMETER}:
        raise ValueError(f"expected a learning rate, found {trial.params}")
    if not isinstance(trial.user_attrs.get("seed", 0), int):
        raise ValueError(f"expected a seed, found {trial.user_attrs['seed']!r}")
    if trial.state.is_finished() and trial.state != TrialState.FAIL and not trial.params:
        raise ValueError("expected a learning rate, found none")


def _made_anew(path: Path, found: str) -> optuna.storages.RDBStorage:
    aside = put_aside(path)
    _log.warning(
        "%s is damaged (%s): it is kept as %s and made anew from the trials", path, found, aside.name
    )
    return _opened(path)


def _opened(path: Path) -> optuna.storages.RDBStorage:
    try:
        return open_database(
            path,
            lambda file: optuna.storages.RDBStorage(address_of(file), {"connect_args": {"timeout": _BUSY_S}}),
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
    return cast(Storage, _Outlasting(optuna.storages.get_storage(storage), lock, without_password(url)))


class _Outlasting:
    """An Optuna storage, with all of its methods, that asks again what its database did not answer.

    Args:
        storage: asked.
        lock: of the study that is run, in the same database: it waits for the server.
        place: the database, in words.
    """

    def __init__(self, storage: Storage, lock: Lock, place: str) -> None:
        self._storage = storage
        self._lock = lock
        self._place = place

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._ask, name)

    def _ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        deadline = None
        while True:
            try:
                answer = getattr(self._storage, name)(*arguments, **named)
            except StorageInternalError as error:
                if not (why := why_away(error)):
                    raise
                now = time.monotonic()
                if deadline is None:
                    deadline = now + PATIENCE_S
                    _log.warning("waiting for %s: %s", self._place, why)
                elif now > deadline:
                    raise given_up(self._place, PATIENCE_S, why) from None
            except UpdateFinishedTrialError:
                if deadline is None:
                    raise
                return True  # it was written, and only the answer lost
            else:
                # No other writes to this study: its state was changed, and only the answer lost.
                return True if name == "set_trial_state_values" and deadline else answer
            interruption.check()
            time.sleep(_TRY_AGAIN_S)
            self._lock.check(now=True)
