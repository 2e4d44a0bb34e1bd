"""One run of a study, as its stages see it: what they share, and how each runs its trials.

A stage is a set of chains (see `execution.chains`): its adaptive parts, bisections and TPE, read top to
bottom, while the trials of all chains share the workers.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.base.locks import Lock
from benchmark.base.seeding import derive
from benchmark.contract import DECISIONS_FILE, PROGRESS_FILE, capped_loss
from benchmark.data.datasets import DeviceData
from benchmark.execution.chains import Chain, Scheduler
from benchmark.execution.choice import Choice
from benchmark.execution.executor import Executor
from benchmark.execution.observer import Observer
from benchmark.stages.decisions import Decisions, Result
from benchmark.stages.rates import RateSearch, TriedRate
from benchmark.stages.storage import Storage
from benchmark.study import identity, plan
from benchmark.study.spec import StudySpec
from benchmark.tracking.protocol import StudyLog
from benchmark.tracking.recorder import Recorder
from benchmark.training.events import Outcome
from benchmark.training.losses import loss_cap
from benchmark.training.trial import Trial
from benchmark.variants.variant import Variant


class StageObserver(Observer):
    """Hears of the stages too."""

    def stage_started(self, stage: str, num_trials: int | None) -> None:
        """A stage begins; `num_trials` is None where it depends on what comes out."""

    def stage_ended(self, stage: str) -> None:
        """The stage is done."""

    def noted(self, message: str) -> None:
        """Something worth a line of its own."""


class _Holder(Observer):
    """Sees to it, before anything of a trial is written, that no other runner has begun to."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def started(self, stage: str, trial: Trial) -> None:
        """Look after the lock."""
        self._lock.check()

    def finished(self, trial: Trial, outcome: Outcome) -> None:
        """Look after the lock."""
        self._lock.check()


OpenLog = Callable[[StudySpec, DeviceData, str | None], StudyLog]
"""How the log of a study run is opened, given where its lock keeps others out; the tracker's to say."""


@dataclass
class Tally:
    """How far a study run has come.

    Attributes:
        planned: number of trials by stage; None while it depends on what comes out before.
        num_failed: trials that failed for good.
    """

    planned: dict[str, int | None]
    num_failed: int = 0


class Session:
    """What the stages of one study run share.

    Args:
        study: what is run.
        data: its data set.
        study_log: keeps what is found, and knows what was.
        executor: runs trials.
        engines: what trains each variant.
        observer: is told what happens.
        storage: where Optuna keeps which rates were tried.
        lock: the study's, which is held.
        command: the command that runs the study again, for the record.

    Attributes:
        decisions: what the stages have decided so far.
        sweep_results: variant -> learning rate -> seed -> result of the sweep.
        tally: how far the run has come.
    """

    def __init__(
        self,
        study: StudySpec,
        data: DeviceData,
        study_log: StudyLog,
        executor: Executor,
        engines: Mapping[Variant, Choice],
        observer: StageObserver,
        storage: Storage,
        lock: Lock,
        command: str,
    ) -> None:
        self.study = study
        self.decisions = Decisions(data.num_classes, study.judge.rho, loss=study.loss)
        self.sweep_results: dict[Variant, dict[float, dict[int, Result]]] = {
            variant: defaultdict(dict) for variant in study.variants.product()
        }
        self.tally = Tally({size.stage: None for size in plan.stage_sizes(study)})
        self._fingerprint = data.fingerprint
        self._log = study_log
        self._executor = executor
        self._engines = engines
        self._observer = observer
        self._observers = (_Holder(lock), Recorder(study_log), observer)
        self._lock = lock
        self._command = command
        self._began = time.monotonic()
        earlier = (study_log.read_json(PROGRESS_FILE) or {}).get("wall_time_s")
        self._earlier_s = earlier if isinstance(earlier, float | int) else 0.0
        self._searches = searches_of(study, data.fingerprint)
        self._storage = storage
        self._loss_cap = loss_cap(data.num_classes, study.loss)

    def run_stage(self, stage: str, num_trials: int | None, chains: Iterable[Chain]) -> None:
        """Run chains to their ends, feeding the workers from all of them at once.

        Args:
            stage: its name.
            num_trials: that they will ask for; None if it depends on what comes out.
            chains: of the stage.
        """
        if num_trials is not None:
            self.tally.planned[stage] = (self.tally.planned.get(stage) or 0) + num_trials
        self._lock.check(now=True)
        self.log_progress()
        self._observer.stage_started(stage, num_trials)
        scheduler = Scheduler(
            stage,
            self._executor,
            self._log.finished,
            self._observers,
            self.study.execution.retries,
            lambda trial: self._engines[trial.variant].rows,
        )
        outcomes = scheduler.run(chains)
        for trial, outcome in outcomes:
            if outcome is None:
                self.tally.num_failed += 1
            elif stage == "sweep":
                of_rate = self.sweep_results[trial.variant][trial.learning_rate]
                of_rate[trial.seed] = result_of(outcome)
        if num_trials is None:
            self.tally.planned[stage] = len(outcomes)
        self._observer.stage_ended(stage)

    def trials(
        self, variant: Variant, rate: float, seeds: Iterable[int], stage: str, **own: Any
    ) -> list[Trial]:
        """The trials of one cell; `own`: an `init_gain` or a `walk_rate` of theirs."""
        engine = self._engines[variant].engine
        return identity.cell(self.study, variant, rate, seeds, stage, self._fingerprint, engine=engine, **own)

    def rate_search(self, variant: Variant, stage: str) -> RateSearch:
        """A variant's rates in a stage, as far as an earlier session of this study run has come."""
        name = f"{self._searches}{variant}/{stage}"
        seed = derive("sampler", str(variant)) % 2**31
        return RateSearch(self._storage, name, self.study.search, self.decisions.grid, seed)

    def tell(
        self,
        tried: TriedRate,
        trials: Sequence[Trial],
        outcomes: Sequence[Outcome | None],
        *,
        pruned: bool = False,
    ) -> None:
        """Tell a rate's search what came out."""
        ended = [(t, o) for t, o in zip(trials, outcomes, strict=True) if o is not None]
        losses = [self.capped_loss(outcome) for _, outcome in ended]
        tried.finish(losses, [trial.hash for trial, _ in ended], pruned=pruned)

    def capped_loss(self, outcome: Outcome) -> float:
        """Final validation loss, at most the loss cap."""
        return capped_loss(outcome.metrics["final_val_loss"], self._loss_cap)

    def note(self, message: str) -> None:
        """Say something worth a line of its own."""
        self._observer.noted(message)

    def log_decisions(self) -> None:
        """Keep what is decided so far."""
        self._log.log_json(DECISIONS_FILE, self.decisions.document())

    def log_progress(self) -> None:
        """Keep how far the run has come."""
        document = {
            "planned": self.tally.planned,
            "num_failed": self.tally.num_failed,
            "wall_time_s": self._earlier_s + time.monotonic() - self._began,  # of all sessions
            "command": self._command,
            "data_fingerprint": self._fingerprint,
        }
        self._log.log_json(PROGRESS_FILE, document)


def searches_of(study: StudySpec, fingerprint: str) -> str:
    """How the names of a study run's rate searches begin."""
    return f"{study.name}/{identity.study_hash(study, fingerprint)}/"


def result_of(outcome: Outcome) -> Result:
    """What decisions read of an outcome."""
    metrics = outcome.metrics
    return Result(outcome.status, metrics["final_val_loss"], metrics["final_val_accuracy"])
