"""A store of small studies, made once: each trial logged takes a while."""

import dataclasses
import os

import pytest
from logged_results import log_axis, log_noise, log_study, log_trials, new_experiment
from synthetic_results import make_results

from benchmark.contract import PROTOCOL, SILENT_MLFLOW


@pytest.fixture(scope="session")
def logged():
    """Results with a few trials of every stage: each trial logged takes a while."""
    full = make_results(
        activations=("relu",), seeds=2, confirm_seeds=2, num_bisections=1, num_steps=50, with_probes=True
    )
    kept = full.trials.groupby(["variant", "stage"]).head(2).reset_index(drop=True)
    curves, probes = (
        frame[frame["trial_hash"].isin(kept["trial_hash"])].reset_index(drop=True)
        for frame in (full.curves, full.probes)
    )
    return dataclasses.replace(full, trials=kept, curves=curves, probes=probes)


@pytest.fixture(scope="session")
def store(logged, tmp_path_factory):
    """One MLflow store with the experiments: quick, old-schema, new-protocol, empty; and a client of it."""
    os.environ.update(SILENT_MLFLOW)
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlruns")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)

    def experiment(name):
        return new_experiment(client, uri, name)

    quick = experiment("quick")
    log_study(client, quick, logged)
    log_trials(client, quick, logged)
    log_noise(client, quick, logged)
    log_study(
        client, experiment("old-schema"), logged, schema={"schema_version": 99, "protocol_version": "1.0"}
    )
    log_study(client, experiment("new-protocol"), logged, schema={"protocol_version": "2.0.1"})
    log_study(
        client,
        experiment("patched"),
        logged,
        schema={"protocol_version": f"{PROTOCOL}.7"},
    )
    log_axis(client, experiment("along"), logged)
    experiment("empty")
    return uri, client
