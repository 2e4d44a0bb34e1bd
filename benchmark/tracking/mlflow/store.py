"""MLflow's store: reaching it, asking it, its forms of parameters and tags, and where artifacts lie."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.base import interruption, servers
from benchmark.base.databases import address_of, check_database, open_database, refuse_emptied
from benchmark.base.errors import InputError
from benchmark.contract import ARTIFACTS_FOLDER, FINAL_METRICS, SILENT_MLFLOW, every_page, local_artifacts
from benchmark.contract.addresses import is_postgres, reason, silence, without_password
from benchmark.contract.files import obstacle, sealed, unsealed
from benchmark.contract.messages import MOST, one_line, short
from benchmark.contract.stores import patiently
from benchmark.tracking.mlflow.changes import Change

if TYPE_CHECKING:
    from mlflow.entities import Run


SQLITE = "sqlite:///"


def default_uri(folder: Path) -> str:
    """Where runs are tracked: `MLFLOW_TRACKING_URI`, else an SQLite file in `folder`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def check_server(uri: str) -> None:
    """See to it, within seconds and without MLflow, that a server answers; a file is not looked at.

    Raises:
        InputError: none does.
    """
    if why := silence(uri):
        raise _unusable(uri, why)
    if is_postgres(uri):
        servers.check_database(uri)


def connect(uri: str) -> Any:
    """MLflow's client for a store, which is made if need be.

    One in a file that another process keeps busy is waited for; one behind a server must answer at once.

    Raises:
        InputError: the store cannot be used.
    """
    if uri.startswith(SQLITE):
        try:
            # MLflow would try again for minutes.
            patiently(check_database, without_password(uri), interruption.check)(
                Path(uri.removeprefix(SQLITE))
            )
        except (sqlite3.Error, OSError, ValueError) as error:
            raise _unusable(uri, obstacle(error) or reason(error, uri)) from None
    for name, value in SILENT_MLFLOW.items():
        os.environ.setdefault(name, value)
    import logging

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it shows tracebacks of its own
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError  # MLflow lets its store's own errors through

    def opened(uri: str) -> MlflowClient:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        return client

    check_server(uri)
    try:
        if not uri.startswith(SQLITE):
            return opened(uri)
        path, errors = Path(uri.removeprefix(SQLITE)), (MlflowException, SQLAlchemyError)
        refuse_emptied(path, path.parent / ARTIFACTS_FOLDER)
        make = patiently(open_database, without_password(uri), interruption.check)
        return make(path, lambda file: opened(address_of(file)), "runs", errors)
    # ValueError: of a path that is not in UTF-8, and of an address that is none.
    except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
        raise _unusable(uri, obstacle(error) or reason(error, uri)) from None


def _unusable(uri: str, why: str) -> InputError:
    where, said = short(without_password(uri)), one_line(why, MOST // 2)
    return InputError(f"--tracking-uri: expected a usable MLflow store, found {where}: {said}")


def search(client: Any, experiment_id: str, condition: str) -> "list[Run]":
    """All runs of an experiment that fulfil a condition in MLflow's filter language."""
    return list(
        every_page(
            lambda token: client.search_runs([experiment_id], condition, max_results=1000, page_token=token)
        )
    )


def tag_of(run: "Run", tag: str) -> str:
    """A tag that every run of its kind has.

    Raises:
        InputError: this one has not: its database was damaged where SQLite cannot see it.
    """
    return str(_found(run, run.data.tags, tag, "tag"))


def metrics_of(run: "Run") -> dict[str, float]:
    """The metrics of a trial's run that has an outcome.

    Raises:
        InputError: one that each has is missing, as for `tag_of`.
    """
    for name in FINAL_METRICS:
        if not name.startswith("test_"):  # which not every trial reads
            _found(run, run.data.metrics, name, "metric")
    return dict(run.data.metrics)


def _found(run: "Run", values: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in values:
        raise InputError(
            f"run {run.info.run_id} ({run.info.run_name}): expected the {kind} {name}, found none: MLflow's "
            "database (mlflow.db) is damaged; put back a copy, or delete this run: its trial is trained anew"
        )
    return values[name]


def as_params(values: dict[str, Any]) -> list[Any]:
    """MLflow's form of parameters."""
    from mlflow.entities import Param

    return [Param(key, str(value)) for key, value in values.items()]


def as_tags(values: dict[str, str]) -> list[Any]:
    """MLflow's form of tags."""
    from mlflow.entities import RunTag

    return [RunTag(str(key), value) for key, value in values.items()]


class Artifacts:
    """The artifacts of an experiment's runs.

    Of a store in an SQLite file they lie in files beside it, and the store says only which (see
    `contract.local_artifacts`): its folder can be moved, copied or mounted anywhere. Of others they go where
    the server says.

    Args:
        client: MLflow's.
        uri: the tracking URI.
        experiment: its name.
    """

    def __init__(self, client: Any, uri: str, experiment: str) -> None:
        self._client = client
        self._uri = uri
        self._experiment = experiment

    def location(self) -> str | None:
        """What a new experiment says of where its artifacts are; None: its server's default.

        In this scheme a server resolves it below its own `--artifacts-destination`.
        """
        is_local = local_artifacts(self._uri, self._experiment, "") is not None
        return f"mlflow-artifacts:/{self._experiment}" if is_local else None

    def write_files(self, run_id: str, change: Change) -> None:
        """Write the tables and texts that are new of a run."""
        for name, rows in change.tables.items():
            self.write_table(run_id, name, rows)
        for name, text in change.texts.items():
            with self.writing(run_id, name) as path:
                path.write_text(text, encoding="utf-8")

    @contextmanager
    def writing(self, run_id: str, name: str) -> Iterator[Path]:
        """A path to write an artifact to, which then takes the place of an older one whole or not at all."""
        folder = local_artifacts(self._uri, self._experiment, run_id)
        if folder is None:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch) / name
                self._client.log_artifact(run_id, str(Path(scratch) / name))
            return
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}.partial"
        yield partial
        partial.replace(folder / name)

    def write_json(self, run_id: str, name: str, document: dict[str, Any]) -> None:
        """Write a JSON artifact, with its checksum."""
        with self.writing(run_id, name) as path:
            path.write_text(json.dumps(sealed(document), indent=2), encoding="utf-8")

    def write_table(self, run_id: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a parquet artifact with a row per mapping; the first one's keys are its columns."""
        import pyarrow as pa  # late: `plan` and `status` write nothing
        import pyarrow.parquet as pq

        with self.writing(run_id, name) as path:
            pq.write_table(pa.Table.from_pylist(list(rows)), path, write_page_checksum=True)

    def has_table(self, run_id: str, name: str) -> bool:
        """Whether a table is there and whole; behind a server, where a look is a journey, it is believed."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = local_artifacts(self._uri, self._experiment, run_id)
        if folder is None:
            return True
        try:
            with pq.ParquetFile(folder / name, page_checksum_verification=True) as file:
                return bool(file.read(use_threads=False).num_rows)
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            return False

    def read_json(self, run_id: str, name: str) -> dict[str, Any] | None:
        """A JSON artifact; None if the run has none of that name.

        Raises:
            InputError: it is not what was written.
        """
        folder = local_artifacts(self._uri, self._experiment, run_id)
        if folder is not None:
            return _read_json(folder / name) if (folder / name).exists() else None
        if all(artifact.path != name for artifact in self._client.list_artifacts(run_id)):
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return _read_json(Path(self._client.download_artifacts(run_id, name, scratch)))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError(f"it is a {type(document).__name__}")
        return unsealed(document)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path}: expected the JSON object that was logged, found another: {error}; put back a "
            "copy of it, or move it away: what is in it is then found anew"
        ) from None
