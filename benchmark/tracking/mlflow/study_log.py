"""One study run, as it is written to MLflow."""

import json
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.base.environment import Environment
from benchmark.base.errors import InputError
from benchmark.contract import CURVE_METRICS, FINAL_METRICS, PROTOCOL_VERSION, loss_unit
from benchmark.data.datasets import DeviceData
from benchmark.probes import PROBES
from benchmark.study.plan import Trial, study_hash
from benchmark.study.spec import StudySpec
from benchmark.variants.variant import Variant

if TYPE_CHECKING:
    from mlflow.entities import Run


from benchmark.tracking.mlflow.store import as_params, as_tags, connect, search
from benchmark.tracking.mlflow.trial_log import Record, TrialLog

SCHEMA_VERSION = 1
_DIGEST_LENGTH = 32  # MLflow stores at most 36 characters of a data set's digest


class Tracker:
    """One study run, as it is written to MLflow.

    Opening it adopts what an interrupted run of the same study left, and marks as killed whatever still
    says RUNNING in the experiment: the caller holds the study's lock, so nothing is.

    Args:
        uri: MLflow's tracking URI.
        folder: the suite's folder; artifacts lie below it when tracking is local.
        study: what is run.
        data: its data set.
        environment: where it is run.
        command: the command that runs it again.

    Raises:
        InputError: the tracking URI cannot be used.
    """

    def __init__(
        self,
        uri: str,
        folder: Path,
        study: StudySpec,
        data: DeviceData,
        environment: Environment,
        command: str,
    ) -> None:
        self._client = connect(uri)
        self._study = study
        self._hash = study_hash(study)
        self._data = data
        self._tags = {
            "protocol_version": PROTOCOL_VERSION,
            "git_commit": environment.git_commit,
            "device": environment.device_name,
            "workplace": f"{socket.gethostname()}:{folder.resolve()}",
        }
        self._experiment_id = self._open_experiment(folder if uri.startswith("sqlite:") else None)
        self._release_stale_runs()
        # Trials of another device have the same hash and other times (and, to rounding, other numbers).
        device = self._tags["device"]
        trials = [run for run in self._search("tags.kind = 'trial'") if run.data.tags["device"] == device]
        runs = {run.data.tags["trial_hash"]: run for run in trials}
        self._finished = {key: run for key, run in runs.items() if run.info.status == "FINISHED"}
        self._run_ids = {key: run.info.run_id for key, run in runs.items()}
        self.run_id = self._open_study_run(command)
        self._variant_runs = self._adopt_variant_runs()
        self._log_contract(environment)

    def finished(self, trial: Trial) -> Record | None:
        """The record of a trial that some run of this study finished, now also part of this one."""
        run = self._finished.get(trial.hash)
        if run is None:
            return None
        membership = f"in_study.{self._hash}"
        if membership not in run.data.tags:
            self._client.set_tag(run.info.run_id, membership, "true")
        return Record(run.info.run_id, run.data.tags["status"], dict(run.data.metrics))

    def start_trial(self, trial: Trial) -> "TrialLog":
        """Open the run of a trial that is about to train: the run it had, if it was interrupted or failed."""
        tags = self._trial_tags(trial)
        run_id = self._run_ids.get(trial.hash)
        if run_id is None:
            parent = self._variant_run(trial.variant)
            run_id = self._create_run(trial.name, tags | {"mlflow.parentRunId": parent})
            self._run_ids[trial.hash] = run_id
            log, tags = TrialLog(self._client, run_id), {}
        else:
            log = self._reopen(run_id)
        self._client.log_batch(run_id, params=as_params(self._trial_params(trial)), tags=as_tags(tags))
        self._log_dataset(run_id)
        return log

    def _reopen(self, run_id: str) -> "TrialLog":
        self._client.update_run(run_id, status="RUNNING")
        run = self._client.get_run(run_id)
        if "failure" in run.data.tags:
            self._client.delete_tag(run_id, "failure")
        # A metric that every evaluation has: one that is NaN is not logged.
        history = self._client.get_metric_history(run_id, "examples")
        return TrialLog(self._client, run_id, max((m.step for m in history), default=-1), run.data.metrics)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """An artifact of the study run; None if it has none of that name."""
        if all(artifact.path != name for artifact in self._client.list_artifacts(self.run_id)):
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(self.run_id, name, folder)
            document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return document

    def log_json(self, name: str, document: dict[str, Any]) -> None:
        """Write an artifact of the study run, replacing an earlier one."""
        self._client.log_dict(self.run_id, document, name)

    def close(self, *, complete: bool, interrupted: bool = False) -> None:
        """End the study's and the variants' runs."""
        self._client.set_tag(self.run_id, "status", "complete" if complete else "incomplete")
        status = "KILLED" if interrupted else "FINISHED" if complete else "FAILED"
        for run_id in (*self._variant_runs.values(), self.run_id):
            self._client.set_terminated(run_id, status)
        if interrupted:
            self._release_stale_runs()

    def _open_experiment(self, folder: Path | None) -> str:
        name = self._study.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = None if folder is None else str((folder / "artifacts" / name).resolve())
            experiment_id: str = self._client.create_experiment(name, artifact_location=location)
        else:
            experiment_id = experiment.experiment_id
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment_id)
        self._client.set_experiment_tag(experiment_id, "mlflow.note.content", _note(self._study))
        return experiment_id

    def _release_stale_runs(self) -> None:
        """End what a dead runner of this folder left: the lock says that no other is at work in it."""
        for run in self._search("attributes.status = 'RUNNING'"):
            if run.data.tags.get("workplace") != self._tags["workplace"]:
                continue  # another machine's, on a shared store
            if run.data.tags.get("kind") == "study":
                self._client.set_tag(run.info.run_id, "status", "incomplete")
            self._client.set_terminated(run.info.run_id, "KILLED")

    def _open_study_run(self, command: str) -> str:
        tags = self._tags | {
            "kind": "study",
            "study": self._study.name,
            "study_hash": self._hash,
            "schema_version": str(SCHEMA_VERSION),
            "status": "running",
            "command": command,
            "last_opened_at": f"{time.time():.3f}",
        }
        found = self._search(f"tags.kind = 'study' and tags.study_hash = '{self._hash}'")
        if found:
            begun_on = found[0].data.tags["device"]
            if begun_on != self._tags["device"]:
                raise InputError(
                    f"study {self._study.name!r} was begun on {begun_on}, found {self._tags['device']}: its "
                    "trials' times would not compare; go on there, or give it another --set name=..."
                )
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            self._client.log_batch(found[0].info.run_id, tags=as_tags(tags))
            return str(found[0].info.run_id)
        axis = self._study.axis
        which = "" if axis is None else f" {axis.label}={axis.value_name}"
        name = f"{self._study.name}{which} {time.strftime('%Y-%m-%d %H:%M')}"
        run_id = self._create_run(name, tags)
        self._log_dataset(run_id)
        return run_id

    def _log_contract(self, environment: Environment) -> None:
        loss = self._study.loss
        metrics = {
            name: {"unit": loss_unit(unit, loss.unit), "direction": direction, "description": description}
            for name, (unit, direction, description) in (*CURVE_METRICS.items(), *FINAL_METRICS.items())
        }
        probes = {
            name: {"unit": loss_unit(unit, loss.unit), "direction": "none", "description": description}
            for probe in PROBES.values()
            for name, (unit, description) in probe.metrics.items()
        }
        self.log_json(
            "schema.json",
            {
                "schema_version": SCHEMA_VERSION,
                "protocol_version": PROTOCOL_VERSION,
                "metrics": metrics,
                "probes": probes,
            },
        )
        self.log_json("study.json", self._study.model_dump(mode="json"))
        self.log_json("environment.json", environment.document())

    def _adopt_variant_runs(self) -> dict[str, str]:
        """The run of each variant that an interrupted run of this study has left."""
        runs = self._search(f"tags.kind = 'variant' and tags.`mlflow.parentRunId` = '{self.run_id}'")
        for run in runs:
            self._client.update_run(run.info.run_id, status="RUNNING")
        return {run.data.tags["variant"]: run.info.run_id for run in runs}

    def _variant_run(self, variant: Variant) -> str:
        name = str(variant)
        if name not in self._variant_runs:
            tags = _variant_tags(variant) | {"kind": "variant", "mlflow.parentRunId": self.run_id}
            self._variant_runs[name] = self._create_run(name, self._tags | tags)
        return self._variant_runs[name]

    def _trial_tags(self, trial: Trial) -> dict[str, str]:
        return (
            self._tags
            | _variant_tags(trial.variant)
            | {
                "kind": "trial",
                "stage": trial.stage,
                "seed": str(trial.seed),
                "learning_rate": repr(trial.learning_rate),
                "status": "running",
                "status_ema": "running",
                "trial_hash": trial.hash,
                f"in_study.{self._hash}": "true",
            }
        )

    def _trial_params(self, trial: Trial) -> dict[str, Any]:
        study = trial.study
        return {
            "variant": trial.variant,
            "normalization": trial.variant.normalization,
            "activation": trial.variant.activation,
            "learning_rate": trial.learning_rate,
            "seed": trial.seed,
            "stage": trial.stage,
            "init_gain": trial.init_gain,
            "dataset": study.data.dataset,
            "num_steps": study.budget.num_steps,
            "batch_size": study.budget.batch_size,
            "eval_every": trial.eval_every,
            **{f"network.{key}": value for key, value in study.network.model_dump().items()},
            **{f"optimizer.{key}": value for key, value in study.optimizer.model_dump().items()},
        }

    def _create_run(self, name: str, tags: dict[str, str]) -> str:
        return str(self._client.create_run(self._experiment_id, tags=tags, run_name=name).info.run_id)

    def _log_dataset(self, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        sizes = {"num_train": len(self._data.train), "num_validation": len(self._data.validation)}
        dataset = Dataset(
            name=self._data.name,
            digest=self._data.fingerprint[:_DIGEST_LENGTH],
            source_type="benchmark",
            source=self._study.data.model_dump_json(exclude={"root"}),
            profile=json.dumps(sizes),
        )
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run_id, [DatasetInput(dataset, [context])])

    def _search(self, condition: str) -> "list[Run]":
        return search(self._client, self._experiment_id, condition)


def count_trials(uri: str, study: StudySpec) -> dict[str, dict[str, int]]:
    """How many trials of a study were logged, by stage and status; empty if it was never run here."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return {}
    client = connect(uri)
    experiment = client.get_experiment_by_name(study.name)
    if experiment is None:
        return {}
    condition = f"tags.`in_study.{study_hash(study)}` = 'true'"
    counts: dict[str, dict[str, int]] = {}
    for run in search(client, experiment.experiment_id, condition):
        stage = counts.setdefault(run.data.tags["stage"], {})
        status = "interrupted" if run.info.status == "KILLED" else run.data.tags["status"]
        stage[status] = stage.get(status, 0) + 1
    return counts


def _variant_tags(variant: Variant) -> dict[str, str]:
    return {
        "variant": str(variant),
        "normalization": variant.normalization,
        "activation": variant.activation,
    }


def _note(study: StudySpec) -> str:
    variants = ", ".join(map(str, study.variants.product()))
    statistics = "re-estimated" if study.judge.statistics == "reestimated" else "moving-average"
    return f"""{study.description}

**Variants** {variants}. **Data** {study.data.dataset}. **Budget** {study.budget.num_steps} steps.

Runs are nested: a study run holds one run per variant, and that one run per trial, named
`variant lr=... seed=...`. Filter trials with `tags.kind = 'trial'` and, for example,
`tags.stage = 'confirm' and tags.status = 'diverged'`. `val_*` metrics are judged with {statistics}
normalization statistics, `*_ema` with moving averages. The study run's artifacts have the report
(`report/report.html`), the resolved study, its decisions and the environment.
"""
