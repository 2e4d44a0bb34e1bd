"""What a trial produces while it runs: evaluations, then its outcome; or a failure."""

from dataclasses import dataclass
from typing import Any

from benchmark.training.trial import Trial

CurveRow = dict[str, int | float]


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation saw.

    Attributes:
        row: a row of the trial's curves; the columns are `contract.CURVE_METRICS`.
        probes: rows (`contract.PROBE_COLUMNS`) of what was watched inside.
    """

    row: CurveRow
    probes: list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: `trained`, `stuck` or `diverged`, by the judged metrics.
        status_ema: the same by moving-average statistics.
        metrics: final metrics by name; a diverged trial's loss counts as the loss cap, its accuracy as 1/K.
    """

    status: str
    status_ema: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """A trial that raised an exception, or whose process died: an error, never a result.

    Attributes:
        message: one line.
        details: the traceback.
        broke_device: whether the process that ran it can use its device no more.
        out_of_memory: whether fewer trials at once might have had room.
        lost_machine: whether the machine that ran it is gone, which is no fault of the trial.
    """

    message: str
    details: str
    broke_device: bool = False
    out_of_memory: bool = False
    lost_machine: bool = False


@dataclass(frozen=True)
class Event:
    """Something a trial produced."""

    trial: Trial
    content: Evaluation | Outcome | Failure
