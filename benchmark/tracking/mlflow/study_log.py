"""One study run, as it is written to MLflow.

An experiment per study; in it a run per study run, a child per variant, a grandchild per trial. What is
logged, and how it is named, is the contract with `analysis`; `contract.SCHEMA_VERSION` numbers it.
"""

import logging
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.base import interruption
from benchmark.base.environment import Environment
from benchmark.base.errors import InputError
from benchmark.contract import (
    CURVES_FILE,
    ENGINES_FILE,
    ENVIRONMENT_FILE,
    LANDSCAPE,
    PROBES_FILE,
    PROTOCOL_VERSION,
    SCHEMA_FILE,
    SCHEMA_VERSION,
    STUDY_FILE,
    Tag,
    membership_tag,
)
from benchmark.contract.addresses import without_password
from benchmark.contract.files import StoreAwayError
from benchmark.contract.stores import PATIENCE_S, Patient
from benchmark.data.datasets import DeviceData
from benchmark.study.identity import study_hash
from benchmark.study.spec import StudySpec
from benchmark.tracking.mlflow.batch import Batch
from benchmark.tracking.mlflow.delivery import deliver, open_spool, open_writer
from benchmark.tracking.mlflow.documents import logged_data, note, schema_document, trial_params
from benchmark.tracking.mlflow.store import Artifacts, as_tags, connect, metrics_of, search, tag_of
from benchmark.tracking.mlflow.trial_log import MlflowTrialLog
from benchmark.training.events import Outcome
from benchmark.training.trial import Trial
from benchmark.variants.variant import Variant

if TYPE_CHECKING:
    from mlflow.entities import Run

_log = logging.getLogger(__name__)
_SAME_MACHINE = {Tag.DEVICE: "times", Tag.NUMERICS: "numbers"}
"""What would not compare: trials of another device, and of other kernels, have the same hash."""


class MlflowStudyLog:
    """One study run, as it is written to MLflow.

    Opening it adopts what an interrupted run of the same study left, and marks as killed whatever still
    says RUNNING in the experiment: the caller holds the study's lock, so nothing is. From then on nothing
    waits for the store, but the end (see `batch`).

    Args:
        uri: MLflow's tracking URI.
        folder: the suite's folder, whose lock the caller holds.
        workplace: where the caller's lock keeps others out, if that is more than the folder.
        study: what is run.
        data: its data set.
        environment: where it is run.
        command: the command that runs it again.

    Raises:
        InputError: the tracking URI cannot be used, or what was begun cannot be gone on with here.
    """

    def __init__(
        self,
        uri: str,
        folder: Path,
        study: StudySpec,
        data: DeviceData,
        environment: Environment,
        command: str,
        workplace: str | None = None,
    ) -> None:
        client = connect(uri)
        self._client = Patient(client, without_password(uri), interruption.check)
        self._artifacts = Artifacts(self._client, uri, study.name)
        self._place = without_password(uri)
        self._study = study
        self._hash = study_hash(study, data.fingerprint)
        self._data = data
        self._dataset = logged_data(study, data)
        self._tags: dict[str, str] = {
            Tag.PROTOCOL_VERSION: PROTOCOL_VERSION,
            Tag.SCHEMA_VERSION: str(SCHEMA_VERSION),
            Tag.GIT_DIRTY: str(environment.git_dirty).lower(),
            Tag.GIT_COMMIT: environment.git_commit,
            Tag.DEVICE: environment.device_name,
            Tag.NUMERICS: environment.numerics,
            Tag.WORKPLACE: workplace or f"{socket.gethostname()}:{folder.resolve()}",
        }
        # A store in this folder is no one else's, wherever the folder was when its runs were begun.
        self._owns_store = Path(uri.removeprefix("sqlite:///")).resolve() == folder.resolve() / "mlflow.db"
        self._experiment_id = self._open_experiment()
        if num_trials := deliver(client, uri, folder, study.name):
            _log.warning("delivered to %s what was kept for it: %d trials' results", self._place, num_trials)
        self._release_stale_runs()
        trials = [run for run in self._search("tags.kind = 'trial'") if self._can_be_taken_over(run)]
        runs = {_key(tag_of(run, Tag.STAGE), tag_of(run, Tag.TRIAL_HASH)): run for run in trials}
        self._finished = {key: run for key, run in runs.items() if run.info.status == "FINISHED"}
        self._earlier = runs
        self._logs: dict[str, MlflowTrialLog] = {}
        self.run_id = self._open_study_run(command)
        self._batch = Batch(
            open_writer(client, uri, study.name, self._dataset),
            open_spool(folder, uri, study.name, self._dataset),
            self._place,
        )
        self._variant_runs = self._open_variant_runs()
        self.log_json(SCHEMA_FILE, schema_document(study))
        self.log_json(STUDY_FILE, study.model_dump(mode="json"))
        self.log_json(ENVIRONMENT_FILE, self._with_earlier(environment.document()))

    def finished(self, stage: str, trial: Trial) -> Outcome | None:
        """The outcome of a trial that some run of this study finished, now also part of this one.

        One whose tables are damaged or gone is to be trained again, which is said.
        """
        run = self._finished.get(_key(stage, trial.hash))
        if run is None:
            return None
        watched = set(trial.probes.enabled) - {LANDSCAPE}
        for name in (CURVES_FILE, *([PROBES_FILE] if watched else [])):
            if not self._artifacts.has_table(run.info.run_id, name):
                _log.warning("%s: its %s is damaged or gone; it is trained again", trial.name, name)
                return None
        membership = membership_tag(self._hash)
        if membership not in run.data.tags:
            self._batch.tag(run.info.run_id, {membership: "true"})
        return Outcome(tag_of(run, Tag.STATUS), tag_of(run, Tag.STATUS_EMA), metrics_of(run))

    def start_trial(self, stage: str, trial: Trial) -> MlflowTrialLog:
        """Open the run of a trial that is about to train: the run it had, if it was interrupted or failed."""
        key = _key(stage, trial.hash)
        params = {k: str(value) for k, value in trial_params(trial, self._study, stage).items()}
        before = self._logs.get(key) or self._earlier_log(key, trial)
        if before is None:
            tags = self._trial_tags(stage, trial) | {
                "mlflow.parentRunId": self._variant_runs[str(trial.variant)]
            }
            plain = {str(name): value for name, value in tags.items()}
            log = MlflowTrialLog(self._batch, self._batch.begin(trial.name, plain, params))
        else:
            self._batch.go_on(before.run_id, params, Tag.FAILURE)
            log = MlflowTrialLog(self._batch, before.run_id, before.last_step, before.known)
        self._logs[key] = log
        return log

    def _earlier_log(self, key: str, trial: Trial) -> MlflowTrialLog | None:
        """The log that an earlier session left of a trial."""
        run = self._earlier.get(key)
        if run is None:
            return None
        metrics = run.data.metrics
        # A metric that every evaluation has: one that is NaN is not logged.
        last_step = int(metrics["examples"]) // trial.batch_size if "examples" in metrics else -1
        return MlflowTrialLog(self._batch, run.info.run_id, last_step, metrics)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """An artifact of the study run; None if it has none of that name, or a damaged one, which is said.

        Raises:
            InputError: it is damaged, and says by what the trials were trained.
        """
        try:
            return self._artifacts.read_json(self.run_id, name)
        except InputError as error:
            if name == ENGINES_FILE:  # others might be chosen, and every trial trained again
                raise
            _log.warning("%s", error)
            return None

    def log_json(self, name: str, document: dict[str, Any]) -> None:
        """Write an artifact of the study run, replacing an earlier one; first the trials it may tell of."""
        self._batch.document(self.run_id, name, document)
        self.flush()

    def flush(self) -> None:
        """Write what waits to be written."""
        self._batch.flush()

    def close(self, *, complete: bool, interrupted: bool = False) -> None:
        """End the study's and the variants' runs.

        Raises:
            StoreAwayError: the store does not take what is to be written, which is kept.
        """
        status = "KILLED" if interrupted else "FINISHED" if complete else "FAILED"
        self._batch.end_open("KILLED")
        for run_id in self._variant_runs.values():
            self._batch.end(run_id, status)
        self._batch.end(self.run_id, status, {Tag.STATUS: "complete" if complete else "incomplete"})
        if self._batch.deliver(0.0 if interrupted else PATIENCE_S):
            return
        kept = (
            f"{self._place} does not answer: what it has not taken is kept in {self._batch.kept_in}, "
            "nothing is lost; when it is back: python -m benchmark deliver"
        )
        if not interrupted:
            raise StoreAwayError(kept)
        _log.warning("%s", kept)

    def _with_earlier(self, environment: dict[str, Any]) -> dict[str, Any]:
        """The environment of this session, with those of the study run's earlier ones that were others."""
        before = self.read_json(ENVIRONMENT_FILE) or {}
        earlier = before.pop("earlier", [])
        earlier = earlier if isinstance(earlier, list) else []  # of a file that was changed
        if before and before != environment and before not in earlier:
            earlier.append(before)
        return environment | {"earlier": [one for one in earlier if one != environment]}

    def _open_experiment(self) -> str:
        name = self._study.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            experiment_id: str = self._client.create_experiment(
                name, artifact_location=self._artifacts.location()
            )
        else:
            experiment_id = experiment.experiment_id
            self._refuse_other_schemas(experiment_id)  # before anything is written
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment_id)
        self._client.set_experiment_tag(experiment_id, "mlflow.note.content", note(self._study))
        return experiment_id

    def _release_stale_runs(self) -> None:
        """End what a dead runner of this folder left: the lock says that no other is at work in it."""
        for run in self._search("attributes.status = 'RUNNING'"):
            if not self._owns_store and run.data.tags.get(Tag.WORKPLACE) != self._tags[Tag.WORKPLACE]:
                continue  # another machine's, on a shared store
            if run.data.tags.get(Tag.KIND) == "study":
                self._client.set_tag(run.info.run_id, Tag.STATUS, "incomplete")
            self._client.set_terminated(run.info.run_id, "KILLED")

    def _refuse_other_schemas(self, experiment_id: str) -> None:
        """Refuse to begin anew, unasked, what was begun and not ended by code that wrote otherwise."""
        runs = search(self._client, experiment_id, "tags.kind = 'study'")
        if not runs:
            return
        newest = max(runs, key=lambda run: float(run.data.tags.get(Tag.LAST_OPENED_AT, 0.0)))
        tags, name = newest.data.tags, self._study.name
        found = tags.get(Tag.SCHEMA_VERSION)
        if found != str(SCHEMA_VERSION) and tags.get(Tag.STATUS) != "complete":
            raise InputError(
                f"study {name!r} was begun by commit {tags.get(Tag.GIT_COMMIT)}, which logs by schema "
                f"{found}, this one by {SCHEMA_VERSION}: go on with that commit, or begin anew beside it "
                f"with --set name={name}-{SCHEMA_VERSION}"
            )

    def _can_be_taken_over(self, run: "Run") -> bool:
        wanted = (*_SAME_MACHINE, Tag.SCHEMA_VERSION)
        return all(run.data.tags.get(tag) == self._tags[tag] for tag in wanted)

    def _open_study_run(self, command: str) -> str:
        tags = self._tags | {
            Tag.KIND: "study",
            Tag.STUDY: self._study.name,
            Tag.STUDY_HASH: self._hash,
            Tag.DATA_FINGERPRINT: self._data.fingerprint,
            Tag.STATUS: "running",
            Tag.COMMAND: command,
            Tag.LAST_OPENED_AT: f"{time.time():.3f}",
        }
        found = self._search(f"tags.kind = 'study' and tags.study_hash = '{self._hash}'")
        if found:
            self._refuse_another_machine(found[0])
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            self._client.log_batch(found[0].info.run_id, tags=as_tags(tags))
            return str(found[0].info.run_id)
        axis = self._study.axis
        which = "" if axis is None else f" {axis.label}={axis.value_name}"
        name = f"{self._study.name}{which} {time.strftime('%Y-%m-%d %H:%M')}"
        run_id = self._create_run(name, tags)
        self._client.log_inputs(run_id, [self._dataset.input()])
        return run_id

    def _refuse_another_machine(self, begun: "Run") -> None:
        for tag, why in _SAME_MACHINE.items():
            if begun.data.tags.get(tag) != self._tags[tag]:
                raise InputError(
                    f"study {self._study.name!r} was begun on {begun.data.tags.get(tag)}, found "
                    f"{self._tags[tag]}: its trials' {why} would not compare; go on there, or give it "
                    "another --set name=..."
                )

    def _open_variant_runs(self) -> dict[str, str]:
        """The run of each variant: the one that an interrupted run of this study has left, or a new one."""
        runs = self._search(f"tags.kind = 'variant' and tags.`mlflow.parentRunId` = '{self.run_id}'")
        for run in runs:
            self._client.update_run(run.info.run_id, status="RUNNING")
        found = {tag_of(run, Tag.VARIANT): str(run.info.run_id) for run in runs}
        for variant in self._study.variants.product():
            if str(variant) not in found:
                tags = _variant_tags(variant) | {Tag.KIND: "variant", "mlflow.parentRunId": self.run_id}
                found[str(variant)] = self._create_run(str(variant), self._tags | tags)
        return found

    def _trial_tags(self, stage: str, trial: Trial) -> dict[str, str]:
        return {
            **self._tags,
            **_variant_tags(trial.variant),
            Tag.KIND: "trial",
            Tag.STAGE: stage,
            Tag.SEED: str(trial.seed),
            Tag.LEARNING_RATE: repr(trial.learning_rate),
            Tag.STATUS: "running",
            Tag.STATUS_EMA: "running",
            Tag.TRIAL_HASH: trial.hash,
            "mlflow.parentRunId": self._variant_runs[str(trial.variant)],
            membership_tag(self._hash): "true",
        }

    def _create_run(self, name: str, tags: dict[str, str]) -> str:
        plain = {str(key): value for key, value in tags.items()}
        return str(self._client.create_run(self._experiment_id, tags=plain, run_name=name).info.run_id)

    def _search(self, condition: str) -> "list[Run]":
        return search(self._client, self._experiment_id, condition)


def _key(stage: str, trial_hash: str) -> str:
    """A trial is told apart by its stage too: what a claim reads depends on it."""
    return f"{stage}/{trial_hash}"


def _variant_tags(variant: Variant) -> dict[str, str]:
    return {
        Tag.VARIANT: str(variant),
        Tag.NORMALIZATION: variant.normalization,
        Tag.ACTIVATION: variant.activation,
    }
