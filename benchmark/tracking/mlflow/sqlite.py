"""MLflow's store in an SQLite file, written and counted with the standard library.

Through MLflow's client a trial is a dozen transactions, each a session of an object-relational mapper, and
asking anything at all begins with an import of seconds. Here many trials are one transaction, and a count is
one query. The tables are MLflow's; a test compares every row with what its client writes, and a file whose
tables have other columns than those known here is left to the client.
"""

import math
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from benchmark.base.errors import InputError
from benchmark.contract import Tag
from benchmark.contract.stores import reading, why_away
from benchmark.tracking.mlflow.changes import Change, Point
from benchmark.tracking.mlflow.store import SQLITE, Artifacts

_BUSY_S = 5.0  # how long to wait for another writer in one try
_MOST = 1.7976931348623157e308  # what MLflow's tables have in infinity's place

_COLUMNS = {
    "runs": (
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status"),
        *("start_time", "end_time", "source_version", "lifecycle_stage", "artifact_uri"),
        *("experiment_id", "deleted_time"),
    ),
    "tags": ("key", "value", "run_uuid"),
    "params": ("key", "value", "run_uuid"),
    "metrics": ("key", "value", "timestamp", "run_uuid", "step", "is_nan"),
    "latest_metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    "inputs": ("input_uuid", "source_type", "source_id", "destination_type", "destination_id", "step"),
    "input_tags": ("input_uuid", "name", "value"),
}
"""The tables that are written here, with all of their columns."""


def _insert(table: str, conflict: str = "") -> str:
    columns = _COLUMNS[table]
    values = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) {conflict}"


_ADD_RUN, _ADD_PARAM, _ADD_INPUT = (
    _insert(table, "ON CONFLICT DO NOTHING") for table in ("runs", "params", "inputs")
)
_ADD_INPUT_TAG = """
    INSERT INTO input_tags (input_uuid, name, value)
    SELECT input_uuid, ?, ? FROM inputs WHERE source_id = ? AND destination_id = ? ON CONFLICT DO NOTHING
"""
_SET_TAG = _insert("tags", "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value")
_ADD_POINT = _insert("metrics", "ON CONFLICT DO NOTHING")
_SET_LATEST = _insert(
    "latest_metrics",
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp,"
    " step = excluded.step, is_nan = excluded.is_nan"
    " WHERE (excluded.step, excluded.timestamp, excluded.value)"
    " > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
)


def sqlite_file(uri: str) -> Path | None:
    """The file of a store in one; None for other stores."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


class SqliteWriter:
    """Writes runs into the tables, those that wait together in one transaction.

    Args:
        path: the store's file.
        experiment_id: of the runs.
        artifacts: of the runs' experiment.
        dataset: name and digest of the data set that they all have, which the experiment has already.
        dataset_tags: of a run's use of it.
    """

    def __init__(
        self,
        path: Path,
        experiment_id: str,
        artifacts: Artifacts,
        dataset: tuple[str, str],
        dataset_tags: Mapping[str, str],
    ) -> None:
        self._path = path.resolve()
        self._experiment_id = int(experiment_id)
        self._artifacts = artifacts
        self._dataset_tags = dataset_tags
        query = """
            SELECT artifact_location, dataset_uuid FROM experiments JOIN datasets USING (experiment_id)
            WHERE experiment_id = ? AND datasets.name = ? AND digest = ?
        """
        with reading(path, InputError) as connection:
            found = connection.execute(query, (self._experiment_id, *dataset)).fetchone()
        self._location, self._dataset = found

    def new_id(self) -> str:
        """One as MLflow's own are."""
        return uuid.uuid4().hex

    def write(self, changes: Sequence[Change]) -> None:
        """Write the files, then the rows, all of them or, if killed, none; then the documents."""
        for change in changes:
            self._artifacts.write_files(change.run_id, change)
        address = f"file:{quote(str(self._path))}?mode=rw"  # a store that is gone is not made anew, empty
        with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection, connection:
            self._begin(connection, changes)
            tags = [(key, value, c.run_id) for c in changes for key, value in c.tags.items()]
            connection.executemany(_SET_TAG, tags)
            gone = [(key, c.run_id) for c in changes for key in c.untagged]
            connection.executemany("DELETE FROM tags WHERE key = ? AND run_uuid = ?", gone)
            points = [(c.run_id, point) for c in changes for point in c.points]
            connection.executemany(_ADD_POINT, [_metric_row(run_id, point) for run_id, point in points])
            connection.executemany(_SET_LATEST, _latest_rows(points))
            states = [(*c.status, c.run_id) for c in changes if c.status is not None]
            connection.executemany("UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?", states)
        for change in changes:
            for name, document in change.documents.items():
                self._artifacts.write_json(change.run_id, name, document)

    def _begin(self, connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
        begun = [(c.run_id, *c.begins) for c in changes if c.begins is not None]
        connection.executemany(_ADD_RUN, [self._run_row(*run) for run in begun])
        connection.executemany(_SET_TAG, [("mlflow.runName", name, run_id) for run_id, name, _ in begun])
        params = [(key, value, c.run_id) for c in changes for key, value in c.params.items()]
        connection.executemany(_ADD_PARAM, params)
        opened = [c.run_id for c in changes if c.params]
        inputs = [(uuid.uuid4().hex, "DATASET", self._dataset, "RUN", run_id, 0) for run_id in opened]
        connection.executemany(_ADD_INPUT, inputs)
        uses = [(*tag, self._dataset, run_id) for run_id in opened for tag in self._dataset_tags.items()]
        connection.executemany(_ADD_INPUT_TAG, uses)

    def _run_row(self, run_id: str, name: str, start_time: int) -> tuple[object, ...]:
        place = f"{self._location}/{run_id}/artifacts"
        before = (run_id, name, "UNKNOWN", "", "", "unknown", "RUNNING", start_time, None, "")
        return (*before, "active", place, self._experiment_id, None)


def _sanitized(value: float) -> tuple[float, bool]:
    """A value and whether it is NaN, as MLflow's tables have them."""
    if math.isnan(value):
        return 0.0, True
    return max(min(float(value), _MOST), -_MOST), False


def _metric_row(run_id: str, point: Point) -> tuple[object, ...]:
    value, is_nan = _sanitized(point.value)
    return point.name, value, point.timestamp, run_id, point.step, is_nan


def _latest_rows(points: Iterable[tuple[str, Point]]) -> list[tuple[object, ...]]:
    """Of every run and metric the point that is the latest by step, then time, then value."""
    latest: dict[tuple[str, str], tuple[int, int, float, bool]] = {}
    for run_id, point in points:
        value, is_nan = _sanitized(point.value)
        own = point.step, point.timestamp, value, is_nan
        before = latest.get((run_id, point.name))
        if before is None or own[:3] > before[:3]:
            latest[run_id, point.name] = own
    return [
        (name, value, timestamp, step, is_nan, run_id)
        for (run_id, name), (step, timestamp, value, is_nan) in latest.items()
    ]


def is_known(path: Path) -> bool:
    """Whether a file is a store whose tables have the columns that are known here, and no others.

    Raises:
        sqlite3.OperationalError: another process keeps it busy.
    """
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with reading(path, InputError) as connection:
            return all(
                {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} == set(columns)
                for table, columns in _COLUMNS.items()
            )
    except sqlite3.Error as error:
        if why_away(error):
            raise
        return False


def has_experiment(path: Path, name: str) -> bool:
    """Whether a store has an experiment of that name."""
    with reading(path, InputError) as connection:
        query = "SELECT count(*) FROM experiments WHERE name = ?"
        return bool(connection.execute(query, (name,)).fetchone()[0])


def tagged_trials(path: Path, experiment: str, tag: str) -> list[tuple[str, str, str]]:
    """The trials of an experiment that have a tag set to `true`.

    Returns:
        of each its stage, its status, and the status of its run; the latest first, as MLflow has them.
    """
    query = """
        SELECT stage.value, status.value, runs.status
        FROM experiments JOIN runs USING (experiment_id)
        JOIN tags AS member ON member.run_uuid = runs.run_uuid AND member.key = ? AND member.value = 'true'
        JOIN tags AS stage ON stage.run_uuid = runs.run_uuid AND stage.key = ?
        JOIN tags AS status ON status.run_uuid = runs.run_uuid AND status.key = ?
        WHERE experiments.name = ? AND runs.lifecycle_stage = 'active' ORDER BY runs.start_time DESC
    """
    with reading(path, InputError) as connection:
        return connection.execute(query, (tag, Tag.STAGE, Tag.STATUS, experiment)).fetchall()
