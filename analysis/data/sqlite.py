"""MLflow's store in an SQLite file, read with the standard library: runs with their tags and metrics.

Four queries however many runs there are. A test compares them with what MLflow's client says.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.errors import InputError
from benchmark.contract import INIT_GAIN
from benchmark.contract.stores import reading, why_away

_QUERIES = {
    "experiments": "SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active'",
    "runs": "SELECT run_uuid, name, status, experiment_id, artifact_uri FROM runs",
    "choice": "SELECT start_time, lifecycle_stage FROM runs",
    "tags": "SELECT run_uuid, key, value FROM tags",
    "params": "SELECT run_uuid, key, value FROM params",
    "metrics": "SELECT run_uuid, key, value, is_nan FROM latest_metrics",
}
"""All that is read of MLflow's tables."""


@dataclass(frozen=True)
class RunInfo:
    """What MLflow's `RunInfo` says, as far as it is asked."""

    run_id: str
    run_name: str
    status: str
    experiment_id: str
    artifact_uri: str


@dataclass(frozen=True)
class RunData:
    """What MLflow's `RunData` says; of parameters the one that analysis reads, of metrics the latest."""

    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run, as MLflow's `Run`."""

    info: RunInfo
    data: RunData = field(default_factory=RunData)


def can_be_read(path: Path) -> bool:
    """Whether a file is a store whose tables have all that is read here.

    Raises:
        sqlite3.OperationalError: another process keeps it busy.
    """
    try:
        with reading(path, InputError) as connection:
            for query in _QUERIES.values():
                connection.execute(f"{query} LIMIT 0")
    except sqlite3.Error as error:
        if why_away(error):
            raise
        return False
    return True


def check_database(path: Path) -> None:
    """Look whether a file is a database, of whatever tables.

    Raises:
        sqlite3.Error: it is none.
    """
    with reading(path, InputError) as connection:
        connection.execute("PRAGMA schema_version")


class SqliteRecords:
    """The records of a store in a file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def experiments(self) -> dict[str, str]:
        """Names of the experiments by id."""
        with reading(self._path, InputError) as connection:
            return {str(key): name for key, name in connection.execute(_QUERIES["experiments"])}

    def experiment_of(self, run_id: str) -> str:
        """The id of a run's experiment."""
        with reading(self._path, InputError) as connection:
            query = f"{_QUERIES['runs']} WHERE run_uuid = ?"
            return str(connection.execute(query, (run_id,)).fetchone()[3])

    def search(self, experiments: Sequence[str], tags: Mapping[str, str], *, newest_first: bool) -> list[Run]:
        """All runs of experiments that have all of these tags, by start time, then id: MLflow's order."""
        has_tags = "".join(
            " AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)" for _ in tags
        )
        chosen = (
            f"lifecycle_stage = 'active' AND experiment_id IN ({', '.join('?' * len(experiments))}){has_tags}"
        )
        values = [*map(int, experiments), *(word for pair in tags.items() for word in pair)]
        order = f"ORDER BY start_time {'DESC' if newest_first else 'ASC'}, run_uuid"
        among = f"run_uuid IN (SELECT run_uuid FROM runs WHERE {chosen})"
        with reading(self._path, InputError) as connection, connection:
            connection.execute("BEGIN")  # one state of the store, while a study may be running
            rows = connection.execute(f"{_QUERIES['runs']} WHERE {chosen} {order}", values)
            runs = {
                run_id: Run(RunInfo(run_id, name, status, str(experiment), place))
                for run_id, name, status, experiment, place in rows
            }
            for run_id, key, value in connection.execute(f"{_QUERIES['tags']} WHERE {among}", values):
                runs[run_id].data.tags[key] = value
            gains = f"{_QUERIES['params']} WHERE key = ? AND {among}"
            for run_id, key, value in connection.execute(gains, [INIT_GAIN, *values]):
                runs[run_id].data.params[key] = value
            for run_id, key, value in self._metrics(connection, among, values):
                runs[run_id].data.metrics[key] = value
        return list(runs.values())

    @staticmethod
    def _metrics(
        connection: sqlite3.Connection, among: str, values: Sequence[object]
    ) -> Iterator[tuple[str, str, float]]:
        for run_id, key, value, is_nan in connection.execute(f"{_QUERIES['metrics']} WHERE {among}", values):
            yield run_id, key, math.nan if is_nan else value
