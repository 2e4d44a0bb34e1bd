"""What is new of runs, kept a moment and written for many of them together.

A trial of a small net takes seconds or less and many end at once, so a call of MLflow per trial and kind of
value is most of what tracking costs. Nothing here decides what is logged, only when.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmark.tracking.mlflow.store import Artifacts

DELAY_S = 2.0
"""Whatever waits is written after at most this long."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Point:
    """A metric's value at a step; `timestamp` in ms since 1970."""

    name: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True)
class NewRun:
    """A run that begins: its name, tags and parameters; `start_time` in ms since 1970."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    start_time: int


@dataclass
class Change:
    """What is new of one run since it was last written.

    Attributes:
        run_id: whose.
        points: of its metrics.
        tags: new ones, and those that have another value.
        tables: its parquet files by name.
        ended: the status that it ended with and when, ms since 1970; None while it runs.
    """

    run_id: str
    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Rows] = field(default_factory=dict)
    ended: tuple[str, int] | None = None


class RunWriter(Protocol):
    """Writes runs into a store."""

    def begin(self, run: NewRun) -> str:
        """The id of a run that begins; in the store it is there at the latest after the next `write`."""

    def write(self, changes: Sequence[Change]) -> None:
        """Write what is new: of each run its status last, or everything or, if killed, nothing."""


class Batch:
    """Keeps what is new of runs, and writes it: when asked to, and by itself after `DELAY_S`.

    What is lost by a kill is what waits; so what took longer to compute than that should not wait.

    Args:
        writer: into the store.
        artifacts: of the runs' experiment.
    """

    def __init__(self, writer: RunWriter, artifacts: Artifacts) -> None:
        self._writer = writer
        self._artifacts = artifacts
        self._pending: dict[str, Change] = {}
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._error: Exception | None = None

    def begin(self, name: str, tags: Mapping[str, str], params: Mapping[str, str]) -> str:
        """Begin a run; its id."""
        with self._lock:
            run_id = self._writer.begin(NewRun(name, tags, params, now_ms()))
            self._change(run_id)
        return run_id

    def log(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        """Keep a run's metrics at a step."""
        now = now_ms()
        with self._lock:
            self._change(run_id).points += [Point(name, value, now, step) for name, value in values.items()]

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Keep a run's tags."""
        with self._lock:
            self._change(run_id).tags.update(tags)

    def end(self, run_id: str, status: str, tags: Mapping[str, str], tables: Mapping[str, Rows]) -> None:
        """Keep that a run has ended, with which tags and tables."""
        with self._lock:
            change = self._change(run_id)
            change.tags.update(tags)
            change.tables.update(tables)
            change.ended = status, now_ms()

    def flush(self) -> None:
        """Write what waits: first the files, for a trial with a result is one that can be read whole."""
        with self._lock:
            self._error = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            changes = list(self._pending.values())
            for change in changes:
                for name, rows in change.tables.items():
                    self._artifacts.write_table(change.run_id, name, rows)
            if changes:
                self._writer.write(changes)
            self._pending.clear()

    def _change(self, run_id: str) -> Change:
        """What waits of a run; from the first on, the clock runs."""
        if self._error is not None:
            raise self._error
        if self._timer is None:
            self._timer = threading.Timer(DELAY_S, self._flush_late)
            self._timer.daemon = True
            self._timer.start()
        return self._pending.setdefault(run_id, Change(run_id))

    def _flush_late(self) -> None:
        """Flush in the clock's thread; what it raises is for whoever comes next."""
        with self._lock:
            try:
                self.flush()
            except Exception as error:
                self._error = error


class ClientWriter:
    """Writes runs through MLflow's client, into any store that it knows, a server's among them.

    Args:
        client: MLflow's.
        experiment_id: of the runs.
        inputs: MLflow's form of the data set that they all have.
    """

    def __init__(self, client: Any, experiment_id: str, inputs: Sequence[Any]) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._inputs = inputs

    def begin(self, run: NewRun) -> str:
        """Make the run at once: the store chooses its id."""
        from mlflow.entities import Param

        made = self._client.create_run(
            self._experiment_id, start_time=run.start_time, tags=dict(run.tags), run_name=run.name
        )
        run_id = str(made.info.run_id)
        self._client.log_batch(run_id, params=[Param(key, value) for key, value in run.params.items()])
        self._client.log_inputs(run_id, list(self._inputs))
        return run_id

    def write(self, changes: Sequence[Change]) -> None:
        """Write each run's metrics, then its tags, then its status."""
        from mlflow.entities import Metric, RunTag

        for change in changes:
            metrics = [Metric(p.name, p.value, p.timestamp, p.step) for p in change.points]
            tags = [RunTag(key, value) for key, value in change.tags.items()]
            whole, rest = divmod(len(metrics), _METRICS_PER_CALL)
            for position in range(whole):
                part = metrics[position * _METRICS_PER_CALL :][:_METRICS_PER_CALL]
                self._client.log_batch(change.run_id, metrics=part)
            if rest or tags:
                self._client.log_batch(change.run_id, metrics=metrics[len(metrics) - rest :], tags=tags)
            if change.ended is not None:
                status, end_time = change.ended
                self._client.set_terminated(change.run_id, status, end_time)


_METRICS_PER_CALL = 1000  # MLflow's limit on one log_batch


def now_ms() -> int:
    """Now, as MLflow has it: ms since 1970."""
    return int(time.time() * 1000)
