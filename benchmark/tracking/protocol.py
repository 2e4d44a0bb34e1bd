"""What a tracker is: the log of a study run, and of each of its trials."""

from typing import Any, Protocol

from benchmark.training.events import Evaluation, Failure, Outcome
from benchmark.training.trial import Trial


class TrialLog(Protocol):
    """The log of one trial while it trains."""

    def log(self, evaluation: Evaluation) -> None:
        """Take an evaluation; one that it has already, from before an interruption, is not kept twice."""

    def finish(self, outcome: Outcome) -> None:
        """Write what remains, and the outcome last: a trial with an outcome is one that can be read whole."""

    def fail(self, failure: Failure) -> None:
        """End the log of a trial that failed."""


class StudyLog(Protocol):
    """The log of one study run, which adopts what an interrupted run of the same study left."""

    def finished(self, stage: str, trial: Trial) -> Outcome | None:
        """What some run made of a trial, now also part of this one; None: it is to be trained."""

    def start_trial(self, stage: str, trial: Trial) -> TrialLog:
        """Open the log of a trial that trains: the one it had, if it was interrupted or failed."""

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A document of the study run; None if it has none of that name."""

    def log_json(self, name: str, document: dict[str, Any]) -> None:
        """Write a document of the study run, replacing an earlier one."""

    def close(self, *, complete: bool, interrupted: bool = False) -> None:
        """End the study run's log."""
