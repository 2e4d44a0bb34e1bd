"""MLflow's store: reaching it, asking it, and its forms of parameters and tags."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.base.errors import InputError

if TYPE_CHECKING:
    from mlflow.entities import Run


def default_uri(folder: Path) -> str:
    """Where runs are tracked: `MLFLOW_TRACKING_URI`, else an SQLite file in `folder`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def connect(uri: str) -> Any:
    """MLflow's client for a store, which is made if need be.

    Raises:
        InputError: the store cannot be used.
    """
    # MLflow reports its use to its makers unless told not to, before it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import logging

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError  # MLflow lets its store's own errors through

    try:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise InputError(
            f"--tracking-uri: expected a usable MLflow store, found {uri}: {first_line}"
        ) from None
    return client


def search(client: Any, experiment_id: str, condition: str) -> "list[Run]":
    """All runs of an experiment that fulfil a condition in MLflow's filter language."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def as_params(values: dict[str, Any]) -> list[Any]:
    """MLflow's form of parameters."""
    from mlflow.entities import Param

    return [Param(key, str(value)) for key, value in values.items()]


def as_tags(values: dict[str, str]) -> list[Any]:
    """MLflow's form of tags."""
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]
