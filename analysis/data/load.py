"""Reads one study run out of MLflow into tidy pandas frames: the only analysis module that imports mlflow.

What a study logs is a contract, versioned in its `schema.json`; what does not fit is refused in one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.frames import stack, trials_frame
from analysis.errors import InputError
from analysis.family import Family, of_one_family, position_of
from analysis.results import (
    CURVE_COLUMNS,
    FINAL_METRICS,
    PROBE_COLUMNS,
    TRIAL_COLUMNS,
    TRIAL_KEYS,
    Results,
)

__all__ = [
    "CURVE_COLUMNS",
    "FINAL_METRICS",
    "PROBE_COLUMNS",
    "TRIAL_COLUMNS",
    "TRIAL_KEYS",
    "Family",
    "Results",
    "load",
    "load_family",
    "log_report",
    "resolve_uri",
]

SCHEMA_VERSION = 1
PROTOCOL = "1.1"
"""Results compare only within one Major.Minor of the protocol; the patch level is free."""

DEFAULT_TRACKING_URI = "sqlite:///mlruns/mlflow.db"
VERSIONS = ("schema_version", "protocol_version")
SIBLINGS_DIFFER_IN = {"name", "description", "execution", "optimizer"}
NUM_READERS = 8
"""Artifacts are read side by side: behind a tracking server each one is a round trip."""


def load(study: str, tracking_uri: str | None = None, run_id: str | None = None) -> Results:
    """Read the newest run of a study, or the one named.

    Args:
        study: the study's name, which is its MLflow experiment's.
        tracking_uri: where MLflow's records are; else `MLFLOW_TRACKING_URI`, else `mlruns/mlflow.db`.
        run_id: a study run other than the newest.

    Raises:
        InputError: there is no such database, experiment or run, or it was logged under other rules.
    """
    uri = resolve_uri(tracking_uri)
    client = _client(uri)
    runs = _study_runs(client, study)
    run = next((one for one in runs if run_id in (None, one.info.run_id)), None)
    if run is None:
        known = ", ".join(one.info.run_id for one in runs)
        raise InputError(f"study {study!r} has no study run {run_id!r}; it has: {known}")
    artifacts = _Artifacts(uri, run.info.artifact_uri)
    _check_versions(study, artifacts.json("schema.json"))
    trials = _trial_runs(client, run.data.tags["study_hash"])
    logged = _logged(run, artifacts, trials)
    with ThreadPoolExecutor(NUM_READERS) as pool:
        sources = [_Artifacts(uri, trial.info.artifact_uri) for trial in trials]
        curves, probes = (
            list(pool.map(partial(_Artifacts.table, name=name), sources))
            for name in ("curves.parquet", "probes.parquet")
        )
    return replace(
        logged,
        curves=stack(curves, logged.trials, CURVE_COLUMNS),
        probes=stack(probes, logged.trials, PROBE_COLUMNS),
        run_ids=tuple(one.info.run_id for one in _at_its_value(uri, runs, logged)),
        siblings=tuple(_siblings(client, uri, runs, logged)),
    )


def load_family(newest: Results, tracking_uri: str | None = None) -> Family:
    """Of a study with an axis, the newest run at every value, beside the run given.

    Runs under another protocol or schema are not of the family: what they ran has to be run again.

    Args:
        newest: from `load`.
        tracking_uri: as for `load`.
    """
    uri = resolve_uri(tracking_uri)
    study = str(newest.study["name"])
    members = {position_of(newest): newest}
    for run in _study_runs(_client(uri), study):
        artifacts = _Artifacts(uri, run.info.artifact_uri)
        other = artifacts.json("study.json")
        if not (of_one_family(other, newest.study) and _same_rules(artifacts.json("schema.json"), newest)):
            continue
        if other["axis"]["position"] not in members:
            members[other["axis"]["position"]] = load(study, uri, run.info.run_id)
    return Family(tuple(members[position] for position in sorted(members)), newest)


def log_report(results: Results, folder: Path, tracking_uri: str | None = None) -> None:
    """Put a report's folder under `report/` of the study's MLflow run, where the MLflow UI shows it."""
    _client(resolve_uri(tracking_uri)).log_artifacts(results.run_id, str(folder), artifact_path="report")


def resolve_uri(tracking_uri: str | None) -> str:
    """The tracking URI to use: the argument, else `MLFLOW_TRACKING_URI`, else the default.

    Raises:
        InputError: it names an SQLite file that is not there (MLflow would create an empty one).
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        if not path.is_file():
            raise InputError(
                f"no results at {path}: run a study first (python -m benchmark run quick), "
                "or name the database with --tracking-uri"
            )
    return uri


def _client(uri: str) -> Any:
    """An MLflow client; imported here because importing mlflow takes seconds, with its telemetry off."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _study_runs(client: Any, study: str) -> list[Any]:
    """The study's MLflow runs, the newest first."""
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        names = sorted(e.name for e in client.search_experiments() if e.name != "Default")
        known = ", ".join(names) if names else "none"
        raise InputError(f"study {study!r} was never run here; studies with results: {known}")
    runs = _search(client, [experiment.experiment_id], "tags.kind = 'study'", ["attributes.start_time DESC"])
    # A study run that is gone on with keeps its start: what counts is when it was last worked on.
    runs.sort(key=lambda run: float(run.data.tags.get("last_opened_at", 0.0)), reverse=True)
    if not runs:
        raise InputError(
            f"study {study!r} has an experiment but no study run yet; start it with: "
            f"python -m benchmark run {study}"
        )
    return runs


def _search(client: Any, experiments: list[str], condition: str, order_by: list[str]) -> list[Any]:
    """All runs that meet a condition: MLflow hands them out in pages."""
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, condition, max_results=1000, order_by=order_by, page_token=token
        )
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _at_its_value(uri: str, runs: Sequence[Any], own: Results) -> Sequence[Any]:
    """Of a study with an axis, the runs at the same value of it; else all."""
    axis = own.study.get("axis")
    if not axis:
        return runs
    studies = [_Artifacts(uri, run.info.artifact_uri).json("study.json") for run in runs]
    return [run for run, study in zip(runs, studies, strict=True) if study.get("axis") == axis]


def _same_rules(schema: dict[str, Any], own: Results) -> bool:
    """Was a run logged under the same protocol, but for its patch number, and schema?"""
    return all(
        str(schema.get(key)).split(".")[:2] == str(own.schema.get(key)).split(".")[:2] for key in VERSIONS
    )


def _siblings(client: Any, uri: str, runs: Sequence[Any], own: Results) -> Iterator[Results]:
    """Complete runs that differ in the optimizer alone; by the primary measure, which needs no curves."""
    for run in runs:
        if run.info.run_id == own.run_id or run.data.tags.get("status") != "complete":
            continue
        artifacts = _Artifacts(uri, run.info.artifact_uri)
        study, schema = artifacts.json("study.json"), artifacts.json("schema.json")
        if (
            _same_rules(schema, own)
            and study.get("optimizer") != own.study["optimizer"]
            and _alike(study, own.study)
        ):
            yield _logged(run, artifacts, _trial_runs(client, run.data.tags["study_hash"]))


def _alike(study: dict[str, Any], other: dict[str, Any]) -> bool:
    """Are two resolved studies the same but for the optimizer, words and execution?"""
    return all(study.get(key) == other.get(key) for key in (study.keys() | other.keys()) - SIBLINGS_DIFFER_IN)


def _logged(run: Any, artifacts: _Artifacts, trials: Sequence[Any]) -> Results:
    """A study run without its curves and probes."""
    return Results(
        study=artifacts.json("study.json"),
        schema=artifacts.json("schema.json"),
        decisions=artifacts.json("decisions.json"),
        environment=artifacts.json("environment.json"),
        progress=artifacts.json("progress.json"),
        run_id=run.info.run_id,
        study_hash=run.data.tags["study_hash"],
        commit=run.data.tags.get("git_commit", "unknown"),
        trials=trials_frame(trials),
        curves=pd.DataFrame(columns=list(CURVE_COLUMNS)),
        probes=pd.DataFrame(columns=list(PROBE_COLUMNS)),
        status=run.data.tags.get("status", "running"),
    )


def _check_versions(study: str, schema: dict[str, Any]) -> None:
    """Refuse what was logged under another schema or protocol."""
    found = schema.get("schema_version")
    if found != SCHEMA_VERSION:
        raise InputError(
            f"study {study!r} was logged with schema version {found}, this analysis reads "
            f"{SCHEMA_VERSION}: use the commit that trained it, or run the study again"
        )
    protocol = str(schema.get("protocol_version"))
    if protocol.split(".")[:2] != PROTOCOL.split("."):
        raise InputError(
            f"study {study!r} was measured under protocol {protocol}, this analysis judges {PROTOCOL}.x: "
            "results compare only within one Major.Minor, run the study again"
        )


def _trial_runs(client: Any, study_hash: str) -> list[Any]:
    """All trials that belong to the study, oldest first, from whichever experiment logged them."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    wanted = f"tags.kind = 'trial' and tags.`in_study.{study_hash}` = 'true'"
    runs = _search(client, experiments, wanted, ["attributes.start_time ASC"])
    # A retried trial leaves its failed run behind; the latest one counts.
    return list({run.data.tags["trial_hash"]: run for run in runs}.values())


class _Artifacts:
    """The artifacts of one run: local ones are read in place, others through MLflow."""

    def __init__(self, tracking_uri: str, artifact_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_uri = artifact_uri

    @cached_property
    def names(self) -> set[str]:
        """What the run logged, listed once."""
        from mlflow import artifacts

        listed = artifacts.list_artifacts(artifact_uri=self.artifact_uri, tracking_uri=self.tracking_uri)
        return {Path(entry.path).name for entry in listed}

    def path(self, name: str) -> Path | None:
        """A local path of the artifact; None where the run has no such artifact."""
        parsed = urlparse(self.artifact_uri)
        if parsed.scheme in ("", "file"):
            # MLflow's own look-up takes several times as long as reading the file, for hundreds of files.
            local = Path(url2pathname(parsed.path)) / name
            return local if local.is_file() else None
        if name not in self.names:
            return None
        from mlflow import artifacts

        uri = f"{self.artifact_uri}/{name}"
        return Path(artifacts.download_artifacts(artifact_uri=uri, tracking_uri=self.tracking_uri))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON artifact; empty where the run has none yet."""
        path = self.path(name)
        return {} if path is None else dict(json.loads(path.read_text(encoding="utf-8")))

    def table(self, name: str) -> pa.Table | None:
        """A parquet artifact; None where the run has none."""
        path = self.path(name)
        return None if path is None else pq.read_table(path, use_threads=False)
