"""The run of one trial, as it is written to MLflow."""

import math
import time
from collections.abc import Collection
from typing import Any

from benchmark.contract import CURVES_FILE, FAILURE_FILE, PROBES_FILE, Tag
from benchmark.tracking.mlflow.batch import Batch
from benchmark.training.events import Evaluation, Failure, Outcome

_LONG_S = 10.0
"""A trial that ran longer is written the moment it ends: after a kill it would be trained anew."""


class MlflowTrialLog:
    """The run of one trial while it trains.

    Args:
        batch: keeps what is logged until it is written.
        run_id: the trial's run.
        last_step: the last step whose metrics it has, from before an interruption; -1 for none.
        known: the metrics that it has.

    Attributes:
        run_id: the trial's run.
        last_step: the last step whose metrics it has now.
        known: the metrics that it has now.
    """

    def __init__(
        self,
        batch: Batch,
        run_id: str,
        last_step: int = -1,
        known: Collection[str] = (),
    ) -> None:
        self.run_id = run_id
        self._batch = batch
        self.last_step = last_step
        self.known = set(known)
        self._evaluations: list[Evaluation] = []
        self._began = time.monotonic()

    def log(self, evaluation: Evaluation) -> None:
        """Take an evaluation; a step that the run has already is not recorded twice."""
        self._evaluations.append(evaluation)
        row = evaluation.row
        if row["step"] > self.last_step:
            self.last_step = int(row["step"])
            values = {name: row[name] for name in row if name != "step" and not math.isnan(row[name])}
            self._batch.log(self.run_id, values, self.last_step)

    def finish(self, outcome: Outcome) -> None:
        """Hand over what remains, and the outcome, which is written last."""
        logged = {*self.known, *self._evaluations[-1].row}  # the last row's train_seconds is the final one
        final = {name: value for name, value in outcome.metrics.items() if name not in logged}
        self._batch.log(self.run_id, final, int(outcome.metrics["num_steps_done"]))
        tables: dict[str, list[Any]] = {CURVES_FILE: [evaluation.row for evaluation in self._evaluations]}
        probes = [row for evaluation in self._evaluations for row in evaluation.probes]
        if probes:
            tables[PROBES_FILE] = probes
        tags: dict[str, str] = {Tag.STATUS: outcome.status, Tag.STATUS_EMA: outcome.status_ema}
        self._batch.end(self.run_id, "FINISHED", tags, tables)
        self._evaluations = []
        if time.monotonic() - self._began > _LONG_S:
            self._batch.flush()

    def fail(self, failure: Failure) -> None:
        """End the run as failed, with the traceback as an artifact."""
        self._batch.text(self.run_id, FAILURE_FILE, failure.details)
        message = failure.message[:500]
        tags: dict[str, str] = {Tag.STATUS: "failed", Tag.STATUS_EMA: "failed", Tag.FAILURE: message}
        self._batch.end(self.run_id, "FAILED", tags)
        self._evaluations = []
        self._batch.flush()
