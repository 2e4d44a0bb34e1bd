"""Reads one study run out of MLflow into tidy pandas frames.

What a study logs is a contract, versioned in its `schema.json`; what does not fit is refused in one line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.data import checks, trial_checks
from analysis.data.frames import stack, trials_frame
from analysis.data.store import SQLITE, ClientRecords, Store, has_ended
from analysis.errors import InputError
from analysis.family import (
    Family,
    differ_in_optimizer_alone,
    of_one_family,
    position_of,
    replicates,
    same_rules,
    varies_data,
)
from analysis.results import CURVE_FRAME, DAMAGED, PROBE_FRAME, Results
from benchmark.contract import (
    CURVES_FILE,
    DECISIONS_FILE,
    ENGINES_FILE,
    ENVIRONMENT_FILE,
    FINAL_METRICS,
    PROBES_FILE,
    PROGRESS_FILE,
    SCHEMA_FILE,
    STUDY_FILE,
    Tag,
    local_artifacts,
    replication_name,
)

DEFAULT_TRACKING_URI = "sqlite:///mlruns/mlflow.db"
REPORT_FOLDER = "report"
NUM_READERS = 8
"""Artifacts are read side by side: behind a tracking server each one is a round trip."""


def load(study: str, tracking_uri: str | None = None, run_id: str | None = None) -> Results:
    """Read the newest run of a study, or the one named.

    Args:
        study: the study's name, which is its MLflow experiment's.
        tracking_uri: where MLflow's records are; else `MLFLOW_TRACKING_URI`, else `mlruns/mlflow.db`.
        run_id: a study run other than the newest.

    Raises:
        InputError: there is no such database, experiment or run, it was logged under other rules, or what was
            logged is not whole.
    """
    store = Store(resolve_uri(tracking_uri))
    runs = store.study_runs(study)
    run = next((one for one in runs if run_id in (None, one.info.run_id)), None)
    if run is None:
        known = ", ".join(one.info.run_id for one in runs)
        raise InputError(f"study {study!r} has no study run {run_id!r}; it has: {known}")
    trials = store.trial_runs(run.data.tags[Tag.STUDY_HASH])
    logged = _logged(store, run, trials)
    with ThreadPoolExecutor(NUM_READERS) as pool:
        read = list(pool.map(lambda trial: _tables(store, trial, logged), trials))
    damaged = [str(error) for _, _, error in read if error]
    if damaged and len(damaged) == sum(map(has_ended, trials)):
        raise InputError(damaged[0])  # what does not fit in any is no accident of one
    same, other = _by_data(store, runs, logged)
    return replace(
        logged,
        trials=_without(logged.trials, [bool(error) for _, _, error in read]),
        damaged=tuple(damaged),
        curves=stack([curves for curves, _, _ in read], logged.trials, CURVE_FRAME),
        probes=stack([probes for _, probes, _ in read], logged.trials, PROBE_FRAME),
        run_ids=same,
        run_ids_on_other_data=other,
        siblings=tuple(_siblings(store, runs, logged)),
    )


def load_family(newest: Results, tracking_uri: str | None = None) -> Family:
    """Of a study with an axis, the newest run at every value, beside the run given.

    Runs under another protocol or schema are not of the family: what they ran has to be run again. Nor are
    runs on other data, unless these are what the axis varies.

    Args:
        newest: from `load`.
        tracking_uri: as for `load`.
    """
    uri = resolve_uri(tracking_uri)
    store, study = Store(uri), str(newest.study["name"])
    members = {position_of(newest): newest}
    for run in store.study_runs(study):
        artifacts = store.artifacts(run)
        other = artifacts.json(STUDY_FILE)
        if (
            of_one_family(other, newest.study)
            and other["axis"]["position"] not in members
            and same_rules(artifacts.json(SCHEMA_FILE), newest.schema)
            and (varies_data(newest.study) or _same_data(run, newest))
        ):
            members[other["axis"]["position"]] = load(study, uri, run.info.run_id)
    return Family(tuple(members[position] for position in sorted(members)), newest)


def load_replications(results: Results, tracking_uri: str | None = None) -> Results:
    """The results with those of every complete replication, by number: the newest run of each.

    Args:
        results: from `load`.
        tracking_uri: as for `load`.
    """
    uri = resolve_uri(tracking_uri)
    store, study = Store(uri), str(results.study["name"])
    found = []
    names = (replication_name(study, number) for number in count(1))
    for name in takewhile(set(store.experiments.values()).__contains__, names):
        for run in store.newest_study_runs(name):
            artifacts = store.artifacts(run)
            if (
                run.data.tags.get(Tag.STATUS) == "complete"
                and same_rules(artifacts.json(SCHEMA_FILE), results.schema)
                and replicates(artifacts.json(STUDY_FILE), results.study)
            ):
                found.append(load(name, uri, run.info.run_id))
                break
    return replace(results, replications=tuple(found))


def log_report(results: Results, folder: Path, tracking_uri: str | None = None) -> None:
    """Put a report's folder under `report/` of the study's MLflow run, where the MLflow UI shows it."""
    uri = resolve_uri(tracking_uri)
    store = Store(uri)
    experiment = store.experiments[store.records.experiment_of(results.run_id)]
    local = local_artifacts(uri, experiment, results.run_id)
    if local is None:
        ClientRecords(uri).client.log_artifacts(results.run_id, str(folder), artifact_path=REPORT_FOLDER)
    else:
        shutil.copytree(folder, local / REPORT_FOLDER, dirs_exist_ok=True)


def resolve_uri(tracking_uri: str | None) -> str:
    """The tracking URI to use: the argument, else `MLFLOW_TRACKING_URI`, else the default.

    Raises:
        InputError: it names an SQLite file that is not there, or empty (MLflow would make its tables there).
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        if not path.is_file():
            raise InputError(
                f"no results at {path}: run a study first (python -m benchmark run quick), "
                "or name the database with --tracking-uri"
            )
        if not path.stat().st_size:
            raise InputError(
                f"{path}: expected MLflow's database, found an empty file: put back a copy of it"
            )
    return uri


def _logged(store: Store, run: Any, trials: Sequence[Any]) -> Results:
    """A study run without its curves and probes."""
    artifacts, where = store.artifacts(run), f"study run {run.info.run_id}"
    schema, study = artifacts.json(SCHEMA_FILE), artifacts.json(STUDY_FILE)
    decisions, status = artifacts.json(DECISIONS_FILE), run.data.tags.get(Tag.STATUS, "running")
    complete = status == "complete"
    variants = checks.check_run(where, study, schema, decisions, complete=complete)
    engines, progress = artifacts.json(ENGINES_FILE), artifacts.json(PROGRESS_FILE)
    checks.check_progress(where, progress)
    return Results(
        study=study,
        schema=schema,
        decisions=decisions,
        environment=artifacts.json(ENVIRONMENT_FILE),
        progress=progress,
        run_id=run.info.run_id,
        study_hash=run.data.tags[Tag.STUDY_HASH],
        commit=run.data.tags.get(Tag.GIT_COMMIT, "unknown"),
        data_fingerprint=run.data.tags.get(Tag.DATA_FINGERPRINT, "unknown"),
        trials=trials_frame(trials, study),
        curves=pd.DataFrame(columns=list(CURVE_FRAME)),
        probes=pd.DataFrame(columns=list(PROBE_FRAME)),
        status=status,
        steps_s=checks.steps_s(where, engines, variants, study["seeds"], complete=complete),
    )


def _tables(
    store: Store, trial: Any, own: Results
) -> tuple[pa.Table | None, pa.Table | None, InputError | None]:
    """A trial's curves and probes, or why they do not fit; of a trial without an outcome nothing."""
    if not has_ended(trial):
        return None, None, None
    artifacts, label = store.artifacts(trial), trial_checks.label_of(trial)
    enabled, declared = own.study["probes"]["enabled"], own.schema["probes"]
    try:
        curves = trial_checks.check_curves(artifacts.table(CURVES_FILE), trial, own.study)
        probes = trial_checks.check_probes(artifacts.table(PROBES_FILE), label, enabled, declared)
    except InputError as error:
        return None, None, error
    return curves, probes, None


def _without(trials: pd.DataFrame, damaged: Sequence[bool]) -> pd.DataFrame:
    """The trials, the damaged ones without an outcome and numbers."""
    trials = trials.copy()
    rows = pd.Series(damaged, index=trials.index, dtype=bool)
    trials.loc[rows, ["status", "status_ema"]] = DAMAGED
    trials.loc[rows, list(FINAL_METRICS)] = float("nan")
    return trials


def _same_data(run: Any, own: Results) -> bool:
    """Was a run trained on the same data?"""
    return bool(run.data.tags.get(Tag.DATA_FINGERPRINT) == own.data_fingerprint)


def _by_data(store: Store, runs: Sequence[Any], own: Results) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the runs on the same data, and on other; of a study with an axis, those at the same value."""
    axis = own.study.get("axis")
    same: list[str] = []
    other: list[str] = []
    for run in runs:
        artifacts = store.artifacts(run)
        if not axis or artifacts.json(STUDY_FILE).get("axis") == axis:
            (same if _same_data(run, own) else other).append(run.info.run_id)
    return tuple(same), tuple(other)


def _siblings(store: Store, runs: Sequence[Any], own: Results) -> Iterator[Results]:
    """Complete runs that differ in the optimizer alone; by the primary measure, which needs no curves."""
    for run in runs:
        if run.info.run_id == own.run_id or run.data.tags.get(Tag.STATUS) != "complete":
            continue
        artifacts = store.artifacts(run)
        if (
            same_rules(artifacts.json(SCHEMA_FILE), own.schema)
            and differ_in_optimizer_alone(artifacts.json(STUDY_FILE), own.study)
            and _same_data(run, own)
        ):
            yield _logged(store, run, store.trial_runs(run.data.tags[Tag.STUDY_HASH]))
