"""Writing runs through MLflow's client, into any store that it knows, a server's among them."""

import uuid
from collections.abc import Sequence
from typing import Any

from benchmark.contract import Tag
from benchmark.tracking.mlflow.changes import Change, DataSet
from benchmark.tracking.mlflow.store import Artifacts, as_params, as_tags, search

_METRICS_PER_CALL = 1000  # MLflow's limit on one log_batch
_OURS = "new-"


class ClientWriter:
    """Writes runs through MLflow's client.

    The store chooses the ids of runs, so a run has one of ours until it is made, and keeps it as a tag: if
    the answer to its making is lost, it is found again, not made twice.

    Args:
        client: MLflow's.
        experiment_id: of the runs.
        artifacts: of the runs' experiment.
        data: the data set that they all have.
    """

    def __init__(self, client: Any, experiment_id: str, artifacts: Artifacts, data: DataSet) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._artifacts = artifacts
        self._data = data
        self._ids: dict[str, str] = {}

    def new_id(self) -> str:
        """One of ours, in place of the store's."""
        return f"{_OURS}{uuid.uuid4().hex}"

    def write(self, changes: Sequence[Change]) -> None:
        """Write each run's files, metrics, tags and status; then the documents."""
        for change in changes:
            self._write(self._made(change), change)
        for change in changes:
            for name, document in change.documents.items():
                self._artifacts.write_json(self._id(change.run_id), name, document)

    def _made(self, change: Change) -> str:
        """The store's id of a run, which is made if it begins."""
        if change.begins is not None and not self._id(change.run_id):
            name, start_time = change.begins
            tags = {**change.tags, Tag.LOCAL_ID: change.run_id}
            plain = {str(key): value for key, value in tags.items()}
            made = self._client.create_run(
                self._experiment_id, start_time=start_time, tags=plain, run_name=name
            )
            self._ids[change.run_id] = str(made.info.run_id)
        return self._id(change.run_id)

    def _id(self, run_id: str) -> str:
        """The store's id of a run; empty if it has none yet."""
        if not run_id.startswith(_OURS):
            return run_id
        if run_id not in self._ids:
            found = search(self._client, self._experiment_id, f"tags.{Tag.LOCAL_ID} = '{run_id}'")
            if not found:
                return ""
            self._ids[run_id] = str(found[0].info.run_id)
        return self._ids[run_id]

    def _write(self, run_id: str, change: Change) -> None:
        from mlflow.entities import Metric

        self._artifacts.write_files(run_id, change)
        if change.params:
            self._client.log_batch(run_id, params=as_params(change.params))
            self._client.log_inputs(run_id, [self._data.input()])
        metrics = [Metric(p.name, p.value, p.timestamp, p.step) for p in change.points]
        for begin in range(0, len(metrics), _METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=metrics[begin : begin + _METRICS_PER_CALL])
        if change.tags:
            self._client.log_batch(run_id, tags=as_tags(change.tags))
        if change.untagged:
            has = self._client.get_run(run_id).data.tags
            for name in set(change.untagged) & set(has):
                self._client.delete_tag(run_id, name)
        if change.status is not None:
            status, end_time = change.status
            if end_time is None:
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status, end_time)
