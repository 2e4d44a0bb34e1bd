"""Drives the chains of a stage: runs what they ask for, skips what is finished, retries what failed.

A chain is a generator that yields trials to run side by side and is sent their records, in the same order:
None for a trial that failed for good.
"""

from collections import Counter, deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from benchmark.cli.display import Display
from benchmark.execution.executors import Event, Executor, Failure
from benchmark.study.plan import Trial
from benchmark.tracking import Record, Tracker, TrialLog
from benchmark.training.loop import Evaluation, Outcome

Chain = Generator[list[Trial], list[Record | None], None]
_PREFETCH = 2  # trials handed to the executor per worker: the next one waits where the last one ends


@dataclass
class _Request:
    """What a chain waits for."""

    chain: Chain
    trials: list[Trial]
    records: dict[str, Record | None] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return len(self.records) == len(self.trials)


class Scheduler:
    """Runs the trials of chains.

    Args:
        executor: where they run.
        tracker: knows the finished ones and records the others.
        display: shows progress.
        retries: further tries of a trial that failed.
    """

    def __init__(self, executor: Executor, tracker: Tracker, display: Display, retries: int) -> None:
        self._executor = executor
        self._tracker = tracker
        self._display = display
        self._retries = retries
        self._queue: deque[Trial] = deque()
        self._requests: dict[str, _Request] = {}  # by trial hash
        self._running: set[str] = set()
        self._logs: dict[str, TrialLog] = {}
        self._num_failures: Counter[str] = Counter()
        self._records: list[tuple[Trial, Record | None]] = []

    def run(self, chains: Iterable[Chain]) -> list[tuple[Trial, Record | None]]:
        """Run all chains to their ends.

        Returns:
            Every trial that they asked for, with its record; None if it failed.
        """
        for chain in chains:
            self._advance(chain)
        while self._queue or self._running:
            while self._queue and len(self._running) < self._executor.capacity * _PREFETCH:
                trial = self._queue.popleft()
                self._running.add(trial.hash)
                self._executor.submit(trial)
            for event in self._executor.events():
                self._handle(event)
        return self._records

    def _advance(self, chain: Chain, records: list[Record | None] | None = None) -> None:
        """Let a chain go on until it asks for something that must be trained first."""
        while True:
            try:
                trials = next(chain) if records is None else chain.send(records)
            except StopIteration:
                return
            request = _Request(chain, trials)
            for trial in trials:
                record = self._tracker.finished(trial)
                if record is None:
                    self._queue.append(trial)
                    self._requests[trial.hash] = request
                else:
                    self._settle(request, trial, record)
            if not request.is_complete:
                return
            records = [request.records[trial.hash] for trial in trials]

    def _handle(self, event: Event) -> None:
        trial, content = event.trial, event.content
        if trial.hash not in self._logs:
            self._logs[trial.hash] = self._tracker.start_trial(trial)
        log = self._logs[trial.hash]
        if isinstance(content, Evaluation):
            log.log(content)
            self._display.evaluated(trial, content)
            return
        self._running.remove(trial.hash)
        del self._logs[trial.hash]
        if isinstance(content, Failure):
            log.fail(content.message, content.details)
            self._num_failures[trial.hash] += 1
            if self._num_failures[trial.hash] <= self._retries:
                self._display.note(f"{trial.name} failed, trying again: {content.message}")
                self._queue.append(trial)
                return
            self._display.note(f"{trial.name} failed: {content.message}")
        record = log.finish(content) if isinstance(content, Outcome) else None
        request = self._requests.pop(trial.hash)
        self._settle(request, trial, record)
        if request.is_complete:
            self._advance(request.chain, [request.records[t.hash] for t in request.trials])

    def _settle(self, request: _Request, trial: Trial, record: Record | None) -> None:
        request.records[trial.hash] = record
        self._records.append((trial, record))
        self._display.settled(trial, record)
