"""The run of one trial, as it is written to MLflow."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from benchmark.contract import CURVES_FILE, FAILURE_FILE, PROBES_FILE, Tag
from benchmark.tracking.mlflow.store import Artifacts, as_tags
from benchmark.training.events import Evaluation, Failure, Outcome

_FLUSH_EVERY_S = 5.0  # a long trial's curves reach the UI at least this often
_METRICS_PER_CALL = 1000  # MLflow's limit on one log_batch


class MlflowTrialLog:
    """The run of one trial while it trains.

    Args:
        client: MLflow's.
        artifacts: of the run's experiment.
        run_id: the trial's run.
        last_step: the last step whose metrics it has, from before an interruption; -1 for none.
        known: the metrics that it has.
    """

    def __init__(
        self,
        client: Any,
        artifacts: Artifacts,
        run_id: str,
        last_step: int = -1,
        known: Collection[str] = (),
    ) -> None:
        self.run_id = run_id
        self._client = client
        self._artifacts = artifacts
        self._last_step = last_step
        self._known = known
        self._evaluations: list[Evaluation] = []
        self._pending: list[Any] = []
        self._flushed_at = time.monotonic()

    def log(self, evaluation: Evaluation) -> None:
        """Take an evaluation; a step that the run has already is not recorded twice."""
        self._evaluations.append(evaluation)
        row = evaluation.row
        if row["step"] > self._last_step:
            values = {name: row[name] for name in row if name != "step" and not math.isnan(row[name])}
            self._add(values, int(row["step"]))
        if time.monotonic() - self._flushed_at > _FLUSH_EVERY_S:
            self._flush()

    def finish(self, outcome: Outcome) -> None:
        """Write what remains, and end the run: the last thing written says that all of it is there."""
        logged = {*self._known, *self._evaluations[-1].row}  # the last row's train_seconds is the final one
        final = {name: value for name, value in outcome.metrics.items() if name not in logged}
        self._add(final, int(outcome.metrics["num_steps_done"]))
        self._log_table(CURVES_FILE, [evaluation.row for evaluation in self._evaluations])
        probes = [row for evaluation in self._evaluations for row in evaluation.probes]
        if probes:
            self._log_table(PROBES_FILE, probes)
        # After the files: a trial with a result is one that can be read whole.
        self._flush({Tag.STATUS: outcome.status, Tag.STATUS_EMA: outcome.status_ema})
        self._client.set_terminated(self.run_id, "FINISHED")

    def fail(self, failure: Failure) -> None:
        """End the run as failed, with the traceback as an artifact."""
        with self._artifacts.writing(self.run_id, FAILURE_FILE) as path:
            path.write_text(failure.details, encoding="utf-8")
        self._flush({Tag.STATUS: "failed", Tag.STATUS_EMA: "failed", Tag.FAILURE: failure.message[:500]})
        self._client.set_terminated(self.run_id, "FAILED")

    def _add(self, values: dict[str, float], step: int) -> None:
        """Keep one step's metrics for the next call, which writes all of them or, if killed, none."""
        from mlflow.entities import Metric

        if len(self._pending) + len(values) > _METRICS_PER_CALL:
            self._flush()
        now = int(time.time() * 1000)
        self._pending += [Metric(name, value, now, step) for name, value in values.items()]

    def _flush(self, tags: dict[str, str] | None = None) -> None:
        if self._pending or tags:
            self._client.log_batch(self.run_id, metrics=self._pending, tags=as_tags(tags or {}))
        self._pending = []
        self._flushed_at = time.monotonic()

    def _log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        import pandas as pd  # late: `plan` and `status` write nothing

        with self._artifacts.writing(self.run_id, name) as path:
            pd.DataFrame(rows).to_parquet(path, index=False)
