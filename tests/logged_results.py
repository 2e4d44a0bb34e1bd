"""Results written into an MLflow store as the benchmark does, for tests of what reads them."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from analysis.results import TRIAL_KEYS
from benchmark.contract import FINAL_METRICS, membership_tag


def new_experiment(client, uri, name):
    """An experiment whose artifacts lie beside the store: MLflow's default is the working folder."""
    folder = Path(uri.removeprefix("sqlite:///")).parent
    return client.create_experiment(name, artifact_location=(folder / "artifacts" / name).as_uri())


def log_axis(client, experiment, results):
    """Runs of a study with an axis: two values, one of them twice, another budget, another protocol."""
    axis = {"key": "network.width", "label": "width", "values": [4, 8, 16], "names": []}
    other = {"protocol_version": "0.9"}
    for position, study_hash, num_steps, schema in (
        (2, "c0", 50, other),
        (1, "b1", 50, None),
        (0, "a1", 50, None),
        (0, "a2", 50, None),
        (2, "c1", 10, None),
    ):
        study = results.study | {
            "name": "along",
            "axis": axis | {"position": position},
            "network": results.study["network"] | {"width": axis["values"][position]},
            "budget": results.study["budget"] | {"num_steps": num_steps},
        }
        log_study(
            client, experiment, dataclasses.replace(results, study=study, study_hash=study_hash), schema
        )


def log_study(client, experiment, results, schema=None, status="complete", fingerprint="made"):
    """A study run as the benchmark logs it.

    Args:
        client: MLflow's.
        experiment: its id.
        results: what to log.
        schema: what is otherwise in the schema.
        status: of the study.
        fingerprint: of the data.

    Returns:
        the run's id.
    """
    tags = {
        "kind": "study",
        "study_hash": results.study_hash,
        "git_commit": results.commit,
        "status": status,
        "data_fingerprint": fingerprint,
    }
    run = client.create_run(experiment, tags=tags)
    artifacts = {
        "schema.json": results.schema | (schema or {}),
        "study.json": results.study,
        "decisions.json": results.decisions,
        "environment.json": results.environment,
        "engines.json": {variant: {"steps_s": steps_s} for variant, steps_s in results.steps_s.items()},
    }
    for name, content in artifacts.items():
        client.log_text(run.info.run_id, json.dumps(content), name)
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def log_trials(client, experiment, results):
    """Every trial of the results as a run of its own."""
    for trial in results.trials.to_dict("records"):
        run_id = log_trial(client, experiment, trial, results.study_hash)
        log_files(client, run_id, results, trial["trial_hash"])


def log_files(client, run_id, results, trial_hash):
    """A trial's curves and probes."""
    for name, frame in (("curves", results.curves), ("probes", results.probes)):
        rows = frame[frame["trial_hash"] == trial_hash].drop(columns=list(TRIAL_KEYS))
        log_parquet(client, run_id, name, rows)


def log_trial(client, experiment, trial, study_hash, **changes):
    from mlflow.entities import Metric

    names = ("trial_hash", "variant", "normalization", "activation", "stage", "status", "status_ema")
    tags = {"kind": "trial", "seed": str(trial["seed"]), "learning_rate": repr(trial["learning_rate"])}
    tags |= {name: trial[name] for name in names} | {membership_tag(study_hash): "true"} | changes
    run_id = client.create_run(experiment, tags=tags).info.run_id
    client.log_param(run_id, "init_gain", trial["init_gain"])
    metrics = {name: trial[name] for name in FINAL_METRICS if np.isfinite(trial[name])}
    client.log_batch(run_id, metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()])
    client.set_terminated(run_id)
    return run_id


def log_parquet(client, run_id, name, rows):
    folder = client.get_run(run_id).info.artifact_uri.removeprefix("file://")
    os.makedirs(folder, exist_ok=True)
    rows.to_parquet(f"{folder}/{name}.parquet", index=False)


def log_noise(client, experiment, results):
    """What a real store also holds: a failed run that was retried, another study's trial, a variant run."""
    trial = results.trials.iloc[0].to_dict()
    client.create_run(experiment, tags={"kind": "variant", membership_tag(results.study_hash): "true"})
    log_trial(client, experiment, trial | {"trial_hash": "elsewhere"}, "ffffffff")
    failed = trial | dict.fromkeys(FINAL_METRICS, np.nan) | {"trial_hash": "broken"}
    log_trial(client, experiment, failed, results.study_hash, status="failed")
