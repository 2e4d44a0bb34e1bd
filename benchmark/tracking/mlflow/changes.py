"""What is new of runs: kept, spooled and written in this form, whichever store it goes to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from pydantic import TypeAdapter

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Point:
    """A metric's value at a step; `timestamp` in ms since 1970."""

    name: str
    value: float
    timestamp: int
    step: int


@dataclass
class Change:
    """What is new of one run since it was last written. To write it twice changes nothing.

    Attributes:
        run_id: whose; of a run that begins, the id that its writer chose for it.
        begins: its name and when it began, ms since 1970; None: it was begun before.
        params: its parameters, which are written with its data set when it begins or is gone on with.
        points: of its metrics.
        tags: new ones, and those that have another value.
        untagged: names of those that it has no more.
        tables: its parquet files by name.
        documents: its JSON files by name.
        texts: its text files by name.
        status: its new status, and when it ended with that, ms since 1970; None while it runs.
    """

    run_id: str
    begins: tuple[str, int] | None = None
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    untagged: list[str] = field(default_factory=list)
    tables: dict[str, Rows] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    status: tuple[str, int | None] | None = None


_CHANGES = TypeAdapter(list[Change])


def as_json(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Changes in types that JSON has."""
    return [asdict(change) for change in changes]


def from_json(found: Any) -> list[Change]:
    """The changes that `as_json` wrote.

    Raises:
        ValueError: it is nothing of that form.
    """
    return _CHANGES.validate_python(found)


@dataclass(frozen=True)
class DataSet:
    """The data set of a study's runs, as MLflow has data sets.

    Attributes:
        name: its name.
        digest: of its content.
        source: what it was made of, JSON.
        profile: its sizes, JSON.
        tags: of a run's use of it.
    """

    name: str
    digest: str
    source: str
    profile: str
    tags: Mapping[str, str]

    def input(self) -> Any:
        """MLflow's form of it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=self.name,
            digest=self.digest,
            source_type="benchmark",
            source=self.source,
            profile=self.profile,
        )
        return DatasetInput(dataset, [InputTag(key, value) for key, value in self.tags.items()])


class RunWriter(Protocol):
    """Writes runs into a store."""

    def new_id(self) -> str:
        """An id for a run that is to begin."""

    def write(self, changes: Sequence[Change]) -> None:
        """Write what is new: first the files, for a trial with a result is one that can be read whole.

        What was written before in part, or in whole, may be written again. Of each run its status comes last,
        or, if killed, nothing of it; documents come after all runs, which they may tell of.
        """


def now_ms() -> int:
    """Now, as MLflow has it: ms since 1970."""
    return int(time.time() * 1000)
