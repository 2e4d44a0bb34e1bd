"""MLflow's records and artifacts as analysis asks for them: the one analysis module that imports mlflow.

A store in an SQLite file is read without it: its import takes longer than reading a study.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse
from urllib.request import url2pathname

import pyarrow as pa

from analysis.data.files import read_json, read_table
from analysis.data.sqlite import SqliteRecords, can_be_read, check_database
from analysis.data.trial_checks import label_of
from analysis.errors import InputError
from benchmark.contract import ENDED, SILENT_MLFLOW, Tag, every_page, local_artifacts, membership_tag
from benchmark.contract.addresses import ANSWER_WITHIN_S, is_postgres, reason, silence, without_password
from benchmark.contract.messages import MOST, one_line, short
from benchmark.contract.stores import Patient, patiently

SQLITE = "sqlite:///"


class Records(Protocol):
    """What a store says of runs; these are MLflow's `Run`, or like it."""

    def experiments(self) -> dict[str, str]:
        """Names of the experiments by id."""

    def experiment_of(self, run_id: str) -> str:
        """The id of a run's experiment."""

    def search(self, experiments: Sequence[str], tags: Mapping[str, str], *, newest_first: bool) -> list[Any]:
        """All runs of experiments that have all of these tags, by start time."""


class ClientRecords:
    """The records of any store that MLflow's client knows.

    Attributes:
        client: MLflow's.

    Raises:
        InputError: it is a server that does not answer, or no store.
    """

    def __init__(self, uri: str) -> None:
        if why := silence(uri):
            raise _unusable(uri, why)
        if is_postgres(uri):
            _check_database(uri)
        if uri.startswith(SQLITE):
            try:  # before MLflow, which takes seconds to say so
                patiently(check_database, uri)(Path(uri.removeprefix(SQLITE)))
            except (sqlite3.Error, ValueError) as error:
                raise _unusable(uri, reason(error, uri)) from None
        for name, value in SILENT_MLFLOW.items():
            os.environ.setdefault(name, value)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it shows tracebacks
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy import URL
        from sqlalchemy.exc import SQLAlchemyError  # MLflow lets its store's own errors through

        address = uri
        if uri.startswith(SQLITE):  # SQLAlchemy would decode a path's `%20`
            path = uri.removeprefix(SQLITE)
            address = URL.create("sqlite", database=path).render_as_string(hide_password=False)
        try:
            self.client = Patient(MlflowClient(tracking_uri=address), without_password(uri))
            self.client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
            raise _unusable(uri, reason(error, uri)) from None

    def experiments(self) -> dict[str, str]:
        """Names of the experiments by id."""
        pages = every_page(lambda token: self.client.search_experiments(page_token=token))
        return {experiment.experiment_id: experiment.name for experiment in pages}

    def experiment_of(self, run_id: str) -> str:
        """The id of a run's experiment."""
        return str(self.client.get_run(run_id).info.experiment_id)

    def search(self, experiments: Sequence[str], tags: Mapping[str, str], *, newest_first: bool) -> list[Any]:
        """All runs of experiments that have all of these tags, by start time."""
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        order = [f"attributes.start_time {'DESC' if newest_first else 'ASC'}"]
        return list(
            every_page(
                lambda token: self.client.search_runs(
                    list(experiments), condition, max_results=1000, order_by=order, page_token=token
                )
            )
        )


def _check_database(uri: str) -> None:
    """Connect to a database and leave it again: MLflow would try for minutes.

    Raises:
        InputError: it cannot be used.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import SQLAlchemyError

    arguments = {"connect_timeout": int(ANSWER_WITHIN_S)}
    try:
        with create_engine(uri, poolclass=NullPool, connect_args=arguments).connect():
            pass
    except (ImportError, SQLAlchemyError, ValueError) as error:
        raise _unusable(uri, reason(error, uri)) from None


def _unusable(uri: str, why: str) -> InputError:
    where = short(without_password(uri))
    return InputError(
        f"--tracking-uri: expected a usable MLflow store, found {where}: {one_line(why, MOST // 2)}"
    )


class Store:
    """A store of MLflow's.

    Attributes:
        uri: where it is.
        records: what it says of runs.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        path = Path(uri.removeprefix(SQLITE))
        in_file = uri.startswith(SQLITE) and patiently(can_be_read, without_password(uri))(path)
        self.records: Records = (
            Patient(SqliteRecords(path), without_password(uri)) if in_file else ClientRecords(uri)
        )

    @cached_property
    def experiments(self) -> dict[str, str]:
        """Names of the experiments, which are the studies', by id."""
        return self.records.experiments()

    def study_runs(self, study: str) -> list[Any]:
        """The study's own runs, the newest first."""
        experiment = next((key for key, name in self.experiments.items() if name == study), None)
        if experiment is None:
            known = ", ".join(sorted(name for name in self.experiments.values() if name != "Default"))
            raise InputError(f"study {study!r} was never run here; studies with results: {known or 'none'}")
        runs = self.newest_study_runs(study)
        if not runs:
            raise InputError(
                f"study {study!r} has an experiment but no study run yet; start it with: "
                f"python -m benchmark run {study}"
            )
        return runs

    def newest_study_runs(self, study: str) -> list[Any]:
        """The same; none where there is none."""
        experiments = [key for key, name in self.experiments.items() if name == study]
        runs = self.records.search(experiments, {Tag.KIND: "study"}, newest_first=True) if experiments else []
        # A study run that is gone on with keeps its start: what counts is when it was last worked on.
        return sorted(runs, key=lambda run: float(run.data.tags.get(Tag.LAST_OPENED_AT, 0.0)), reverse=True)

    def trial_runs(self, study_hash: str) -> list[Any]:
        """The trials that belong to a study run, oldest first, from whichever experiment logged them.

        Raises:
            InputError: a trial has two runs with an outcome.
        """
        tags = {Tag.KIND: "trial", membership_tag(study_hash): "true"}
        chosen: dict[str, Any] = {}
        for run in self.records.search(list(self.experiments), tags, newest_first=False):
            key = run.data.tags.get(Tag.TRIAL_HASH, run.info.run_id)
            before = chosen.get(key)
            if before is None or not has_ended(before):
                chosen[key] = run  # of a trial that was tried again, the latest run counts
            elif has_ended(run):
                raise InputError(
                    f"{label_of(run)}: expected one run with an outcome, found "
                    f"{before.info.run_id} and {run.info.run_id}; delete one of them"
                )
        return list(chosen.values())

    def folder(self, run: Any) -> Path | None:
        """Where a run's artifacts lie beside an SQLite store; None for other stores."""
        return local_artifacts(self.uri, self.experiments[run.info.experiment_id], run.info.run_id)

    def artifacts(self, run: Any) -> Artifacts:
        """What a run logged as files."""
        return Artifacts(self.uri, run.info.artifact_uri, self.folder(run))


@dataclass
class Artifacts:
    """The artifacts of one run: local ones are read in place, others through MLflow.

    Attributes:
        tracking_uri: MLflow's.
        artifact_uri: where MLflow's records say that they are.
        folder: where they are for certain; None where only MLflow knows.
    """

    tracking_uri: str
    artifact_uri: str
    folder: Path | None = None

    @cached_property
    def names(self) -> set[str]:
        """What the run logged, listed once."""
        from mlflow import artifacts

        listed = patiently(artifacts.list_artifacts, without_password(self.tracking_uri))(
            artifact_uri=self.artifact_uri, tracking_uri=self.tracking_uri
        )
        return {Path(entry.path).name for entry in listed}

    def path(self, name: str) -> Path | None:
        """A local path of the artifact; None where the run has no such artifact."""
        folder, parsed = self.folder, urlparse(self.artifact_uri)
        if folder is None and parsed.scheme in ("", "file"):
            folder = Path(url2pathname(parsed.path))
        if folder is not None:
            # MLflow's own look-up takes several times as long as reading the file, for hundreds of files.
            return folder / name if (folder / name).exists() else None
        if name not in self.names:
            return None
        from mlflow import artifacts

        uri = f"{self.artifact_uri}/{name}"
        download = patiently(artifacts.download_artifacts, without_password(self.tracking_uri))
        return Path(download(artifact_uri=uri, tracking_uri=self.tracking_uri))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON artifact; empty where the run has none yet."""
        return read_json(self.path(name))

    def table(self, name: str) -> pa.Table | None:
        """A parquet artifact; None where the run has none."""
        return read_table(self.path(name))


def has_ended(run: Any) -> bool:
    """Whether a trial's run has an outcome."""
    return run.data.tags.get(Tag.STATUS) in ENDED
