"""Reads one study run out of MLflow into tidy pandas frames: the only analysis module that imports mlflow.

What a study logs is a contract, versioned in its `schema.json`; what does not fit is refused in one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import InputError

SCHEMA_VERSION = 1
PROTOCOL = "1.0"
"""Results compare only within one Major.Minor of the protocol; the patch level is free."""

DEFAULT_TRACKING_URI = "sqlite:///mlruns/mlflow.db"
FINAL_METRICS = (
    "final_val_loss",
    "final_val_accuracy",
    "final_val_loss_ema",
    "final_val_accuracy_ema",
    "final_clean_train_loss",
    "final_clean_train_accuracy",
    "best_val_loss",
    "best_val_step",
    "train_seconds",
    "num_steps_done",
    "test_loss",
    "test_accuracy",
)
CURVE_METRICS = (
    "epoch",
    "examples",
    "train_seconds",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "gradient_norm",
    "parameter_norm",
    "examples_per_s",
    "clean_train_loss",
    "clean_train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_loss_ema",
    "val_accuracy_ema",
    "clean_train_loss_ema",
    "clean_train_accuracy_ema",
)
TRIAL_KEYS = ("trial_hash", "variant", "normalization", "activation", "stage", "trial_learning_rate", "seed")
TRIAL_COLUMNS = (
    "trial_hash",
    "run_id",
    "variant",
    "normalization",
    "activation",
    "stage",
    "learning_rate",
    "seed",
    "status",
    "status_ema",
    *FINAL_METRICS,
)
CURVE_COLUMNS = (*TRIAL_KEYS, "step", *CURVE_METRICS)
PROBE_COLUMNS = (*TRIAL_KEYS, "step", "probe", "layer", "index", "value")
NUM_READERS = 8
"""Artifacts are read side by side: behind a tracking server each one is a round trip."""


@dataclass(frozen=True, eq=False)
class Results:
    """Everything one study run logged.

    Attributes:
        study: the resolved study, as nested dicts.
        schema: units and directions of the logged metrics, and the versions.
        decisions: what the stages decided; keys are absent until decided.
        environment: software and hardware.
        progress: planned numbers of trials per stage, wall time, command.
        run_id: the study's MLflow run.
        study_hash: 8 hex digits.
        commit: git commit that trained.
        trials: one row per trial (`TRIAL_COLUMNS`, and `init_gain` where the study varies it).
        curves: one row per trial and evaluation (`CURVE_COLUMNS`).
        probes: one row per trial, evaluation, probe and layer (`PROBE_COLUMNS`); empty when probes were off.
        status: running, complete or incomplete.
    """

    study: dict[str, Any]
    schema: dict[str, Any]
    decisions: dict[str, Any]
    environment: dict[str, Any]
    progress: dict[str, Any]
    run_id: str
    study_hash: str
    commit: str
    trials: pd.DataFrame
    curves: pd.DataFrame
    probes: pd.DataFrame
    status: str = "complete"

    @property
    def normalizations(self) -> list[str]:
        """Planned normalizations, in the study's order."""
        return list(self.study["variants"]["normalizations"])

    @property
    def activations(self) -> list[str]:
        """Planned activations, in the study's order."""
        return list(self.study["variants"]["activations"])

    @property
    def variants(self) -> list[str]:
        """Planned variants, `normalization-activation`, grouped by activation."""
        return [f"{n}-{a}" for a in self.activations for n in self.normalizations]

    @property
    def chance(self) -> float:
        """Accuracy of guessing, 1/K; NaN until the study logged K."""
        return 1.0 / float(self.decisions.get("num_classes", np.nan))

    @property
    def loss_cap(self) -> float:
        """Loss of the constant predictor, nats; NaN until the study logged it."""
        return float(self.decisions.get("loss_cap", np.nan))


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
    run = _study_run(client, study, run_id)
    artifact = _Artifacts(uri, run.info.artifact_uri)
    schema = artifact.json("schema.json")
    _check_versions(study, schema)
    study_hash = run.data.tags["study_hash"]
    runs = _trial_runs(client, study_hash)
    trials = _trials_frame(runs)
    sources = [_Artifacts(uri, trial.info.artifact_uri) for trial in runs]
    with ThreadPoolExecutor(NUM_READERS) as pool:
        curves = list(pool.map(partial(_trial_frame, "curves.parquet"), runs, sources))
        probes = list(pool.map(partial(_trial_frame, "probes.parquet"), runs, sources))
    return Results(
        study=artifact.json("study.json"),
        schema=schema,
        decisions=artifact.json("decisions.json"),
        environment=artifact.json("environment.json"),
        progress=artifact.json("progress.json"),
        run_id=run.info.run_id,
        study_hash=study_hash,
        commit=run.data.tags.get("git_commit", "unknown"),
        trials=trials,
        curves=_stack(curves, CURVE_COLUMNS),
        probes=_stack(probes, PROBE_COLUMNS),
        status=run.data.tags.get("status", "running"),
    )


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


def _study_run(client: Any, study: str, run_id: str | None) -> Any:
    """The study's MLflow run: the newest, or the one named."""
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        names = sorted(e.name for e in client.search_experiments() if e.name != "Default")
        known = ", ".join(names) if names else "none"
        raise InputError(f"study {study!r} was never run here; studies with results: {known}")
    chosen = f" and attributes.run_id = '{run_id}'" if run_id else ""
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.kind = 'study'{chosen}",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not found:
        asked = f"has no study run {run_id!r}" if run_id else "has an experiment but no study run yet"
        raise InputError(f"study {study!r} {asked}; start it with: python -m benchmark run {study}")
    return found[0]


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
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, wanted, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
        )
        runs.extend(page)
        token = page.token
        if not token:
            break
    # A retried trial leaves its failed run behind; the latest one counts.
    return list({run.data.tags["trial_hash"]: run for run in runs}.values())


def _trials_frame(runs: Sequence[Any]) -> pd.DataFrame:
    """One row per trial."""
    rows = []
    for run in runs:
        tags = run.data.tags
        row: dict[str, Any] = {
            "trial_hash": tags["trial_hash"],
            "run_id": run.info.run_id,
            "variant": tags["variant"],
            "normalization": tags["normalization"],
            "activation": tags["activation"],
            "stage": tags["stage"],
            "learning_rate": float(tags["learning_rate"]),
            "seed": int(tags["seed"]),
            "status": tags.get("status", "running"),
            "status_ema": tags.get("status_ema", tags.get("status", "running")),
        }
        if "init_gain" in run.data.params:
            row["init_gain"] = float(run.data.params["init_gain"])
        rows.append(row | {name: run.data.metrics.get(name, np.nan) for name in FINAL_METRICS})
    columns = [*TRIAL_COLUMNS, *(["init_gain"] if any("init_gain" in row for row in rows) else [])]
    return pd.DataFrame(rows, columns=columns)


def _trial_frame(name: str, run: Any, artifacts: _Artifacts) -> pd.DataFrame | None:
    """A trial's parquet artifact with the trial's keys beside every row; None where it logged none."""
    path = artifacts.path(name)
    if path is None:
        return None
    frame = pd.read_parquet(path)
    tags = run.data.tags
    for position, key in enumerate(("trial_hash", "variant", "normalization", "activation", "stage")):
        frame.insert(position, key, tags[key])
    frame.insert(5, "trial_learning_rate", float(tags["learning_rate"]))
    frame.insert(6, "seed", int(tags["seed"]))
    return frame


def _stack(frames: Sequence[pd.DataFrame | None], columns: Sequence[str]) -> pd.DataFrame:
    """One frame of all; with the right columns even when there is nothing."""
    present = [frame for frame in frames if frame is not None and len(frame)]
    if not present:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(present, ignore_index=True).reindex(columns=list(columns))


class _Artifacts:
    """The artifacts of one run. MLflow reads local ones in place and downloads others."""

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
        if name not in self.names:
            return None
        from mlflow import artifacts

        uri = f"{self.artifact_uri}/{name}"
        return Path(artifacts.download_artifacts(artifact_uri=uri, tracking_uri=self.tracking_uri))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON artifact; empty where the run has none yet."""
        path = self.path(name)
        return {} if path is None else dict(json.loads(path.read_text(encoding="utf-8")))
