"""Who writes into a store, and the delivery of what an earlier session could not write."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.base import interruption
from benchmark.base.errors import InputError
from benchmark.contract import SPOOL_FOLDER
from benchmark.contract.addresses import without_password
from benchmark.contract.stores import patiently
from benchmark.tracking.mlflow import spool
from benchmark.tracking.mlflow.changes import DataSet, RunWriter
from benchmark.tracking.mlflow.client import ClientWriter
from benchmark.tracking.mlflow.spool import Spool
from benchmark.tracking.mlflow.sqlite import SqliteWriter, is_known, sqlite_file
from benchmark.tracking.mlflow.store import Artifacts


def open_writer(client: Any, uri: str, experiment: str, data: DataSet) -> RunWriter:
    """What writes runs of an experiment, which has the data set already.

    Args:
        client: MLflow's.
        uri: the tracking URI.
        experiment: its name.
        data: the data set that all of the runs have.
    """
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise InputError(
            f"{without_password(uri)}: expected a store with the experiment {experiment!r}, found none"
        )
    artifacts = Artifacts(client, uri, experiment)
    path = sqlite_file(uri)
    if path is None or not patiently(is_known, without_password(uri), interruption.check)(path):
        return ClientWriter(client, found.experiment_id, artifacts, data)
    return SqliteWriter(path, found.experiment_id, artifacts, (data.name, data.digest), data.tags)


def open_spool(folder: Path, uri: str, experiment: str, data: DataSet) -> Spool:
    """Where a study keeps what its store does not take.

    Args:
        folder: the suite's folder (`mlruns`).
        uri: the store's.
        experiment: the study's.
        data: its data set.
    """
    header = {"store": _name(uri, folder), "experiment": experiment, "data": asdict(data)}
    return Spool(folder / SPOOL_FOLDER / experiment, header)


def deliver(client: Any, uri: str, folder: Path, experiment: str) -> int:
    """Write into a store what earlier sessions of a study have kept for it.

    The caller holds the study's lock.

    Args:
        client: MLflow's.
        uri: the store's.
        folder: the suite's folder.
        experiment: the study's name.

    Returns:
        How many trials ended in it.

    Raises:
        InputError: the store is another than it was kept for, or does not take it.
    """
    ended: set[str] = set()
    for file in spool.waiting(folder / SPOOL_FOLDER / experiment):
        header, changes = spool.read(file)
        if header["store"] != _name(uri, folder):
            raise InputError(
                f"{file.parent} has results for the store {header['store']}, found {_name(uri, folder)}: "
                f"deliver them first (python -m benchmark deliver --tracking-uri ...), or move it away"
            )
        writer = open_writer(client, uri, experiment, DataSet(**header["data"]))
        patiently(writer.write, without_password(uri), interruption.check)(changes)
        spool.remove(file)
        ended |= {change.run_id for change in changes if change.tables}
    return len(ended)


def _name(uri: str, folder: Path) -> str:
    """What a store is known by in a spool: without passwords, and the folder's own wherever that is."""
    path, own = sqlite_file(uri), folder.resolve() / "mlflow.db"
    return (
        "sqlite:///mlruns/mlflow.db" if path is not None and path.resolve() == own else without_password(uri)
    )
