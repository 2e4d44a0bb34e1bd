"""Writes what happens to trials into a study's log, whatever tracker that is."""

from benchmark.execution.observer import Observer
from benchmark.tracking.protocol import StudyLog, TrialLog
from benchmark.training.events import Evaluation, Failure, Outcome
from benchmark.training.trial import Trial


class Recorder(Observer):
    """Keeps a log per running trial.

    Args:
        study_log: where the trials' logs are opened.
    """

    def __init__(self, study_log: StudyLog) -> None:
        self._study_log = study_log
        self._logs: dict[str, TrialLog] = {}

    def started(self, stage: str, trial: Trial) -> None:
        """Open its log."""
        self._logs[trial.hash] = self._study_log.start_trial(stage, trial)

    def evaluated(self, trial: Trial, evaluation: Evaluation) -> None:
        """Log an evaluation."""
        self._logs[trial.hash].log(evaluation)

    def failed(self, trial: Trial, failure: Failure, *, again: bool) -> None:
        """End its log as failed."""
        self._logs.pop(trial.hash).fail(failure)

    def finished(self, trial: Trial, outcome: Outcome) -> None:
        """End its log with its outcome."""
        self._logs.pop(trial.hash).finish(outcome)
