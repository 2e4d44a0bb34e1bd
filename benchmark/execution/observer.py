"""Who is told what happens to trials: a display, a tracker, and whatever comes next."""

from benchmark.training.events import Evaluation, Failure, Outcome
from benchmark.training.trial import Trial


class Observer:
    """Hears everything; does nothing about what it does not override."""

    def started(self, stage: str, trial: Trial) -> None:
        """A trial has produced its first event, of this try."""

    def evaluated(self, trial: Trial, evaluation: Evaluation) -> None:
        """A running trial was evaluated."""

    def failed(self, trial: Trial, failure: Failure, *, again: bool) -> None:
        """A trial has failed; `again`: it will be tried once more."""

    def finished(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has ended with a result."""

    def settled(self, trial: Trial, outcome: Outcome | None) -> None:
        """A trial has ended for good, or had ended in an earlier run; None: it failed."""
