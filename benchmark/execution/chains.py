"""Drives the chains of a stage: runs what they ask for, skips what is finished, retries what failed.

A chain is a generator that yields trials to run side by side and is sent their outcomes, in the same order:
None for a trial that failed for good. The scheduler tells observers what happens, and knows none of them.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

from benchmark.base import interruption
from benchmark.execution.executor import Executor, Group
from benchmark.execution.observer import Observer
from benchmark.training.events import Evaluation, Event, Failure, Outcome
from benchmark.training.trial import Trial

Chain = Generator[list[Trial], list[Outcome | None], None]
Finished = Callable[[str, Trial], Outcome | None]
"""(stage, trial) -> what an earlier run of the study made of it; None: it is to be trained."""

_PREFETCH = 2  # groups handed to the executor per worker: the next one waits where the last one ends


@dataclass
class _Request:
    """What a chain waits for."""

    chain: Chain
    trials: list[Trial]
    outcomes: dict[str, Outcome | None] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return len(self.outcomes) == len(self.trials)


class Scheduler:
    """Runs the trials of a stage's chains.

    Args:
        stage: its name.
        executor: where they run.
        finished: knows the finished ones.
        observers: are told what happens, in this order.
        retries: further tries of a trial that failed by itself.
        rows: how many trials like one are to be trained at once.
    """

    def __init__(
        self,
        stage: str,
        executor: Executor,
        finished: Finished,
        observers: Sequence[Observer],
        retries: int,
        rows: Callable[[Trial], int] = lambda trial: 1,
    ) -> None:
        self._stage = stage
        self._executor = executor
        self._finished = finished
        self._observers = observers
        self._retries = retries
        self._rows = rows
        self._room: dict[str, int] = {}  # most rows, by shared hash, where memory has run out
        self._queue: deque[Trial] = deque()
        self._requests: dict[str, _Request] = {}  # by trial hash
        self._groups: list[set[str]] = []  # hashes of the trials that run, by group
        self._running_rows: dict[str, int] = {}  # trained at once with a trial, by hash
        self._alone: set[str] = set()  # hashes of trials that failed in company
        self._started: set[str] = set()
        self._num_failures: Counter[str] = Counter()
        self._outcomes: list[tuple[Trial, Outcome | None]] = []

    def run(self, chains: Iterable[Chain]) -> list[tuple[Trial, Outcome | None]]:
        """Run all chains to their ends.

        Returns:
            Every trial that they asked for, with its outcome; None if it failed.
        """
        for chain in chains:
            self._advance(chain)
        while self._queue or self._groups:
            share = -(-len(self._queue) // self._executor.capacity)
            while self._queue and len(self._groups) < self._executor.capacity * _PREFETCH:
                group = self._next_group(share)
                self._groups.append({trial.hash for trial in group.trials})
                self._running_rows |= {trial.hash: group.rows for trial in group.trials}
                self._executor.submit(group)
            for event in self._executor.events():
                interruption.check()
                self._handle(event)
        return self._outcomes

    def _next_group(self, share: int) -> Group:
        """The first trial that waits, and those behind it that can be rows of its population.

        Twice as many as are trained at once, so that rows of trials that diverge are taken by others; at most
        `share`, so that all workers have as many.
        """
        first = self._queue[0]
        rows = self._most_rows(first)
        if rows == 1 or first.hash in self._alone:
            return Group((self._queue.popleft(),), 1)
        alike = [
            trial
            for trial in self._queue
            if trial.shared_hash == first.shared_hash and trial.hash not in self._alone
        ]
        trials = alike[: min(2 * rows, max(share, 1))]
        if len(trials) > rows and len(trials) < 2 * rows:  # the last ones together would leave rows empty
            trials = trials[:rows]
        taken = {trial.hash for trial in trials}
        self._queue = deque(trial for trial in self._queue if trial.hash not in taken)
        return Group(tuple(trials), min(rows, len(trials)))

    def _most_rows(self, trial: Trial) -> int:
        rows = self._rows(trial)
        return min(rows, self._room.get(trial.shared_hash, rows))

    def _advance(self, chain: Chain, outcomes: list[Outcome | None] | None = None) -> None:
        """Let a chain go on until it asks for something that must be trained first."""
        while True:
            try:
                trials = next(chain) if outcomes is None else chain.send(outcomes)
            except StopIteration:
                return
            request = _Request(chain, trials)
            for trial in trials:
                outcome = self._finished(self._stage, trial)
                if outcome is None:
                    self._queue.append(trial)
                    self._requests[trial.hash] = request
                else:
                    self._settle(request, trial, outcome)
            if not request.is_complete:
                return
            outcomes = [request.outcomes[trial.hash] for trial in trials]

    def _handle(self, event: Event) -> None:
        trial, content = event.trial, event.content
        if trial.hash not in self._started:
            self._started.add(trial.hash)
            for observer in self._observers:
                observer.started(self._stage, trial)
        if isinstance(content, Evaluation):
            for observer in self._observers:
                observer.evaluated(trial, content)
            return
        self._started.remove(trial.hash)
        self._leave_group(trial)
        if isinstance(content, Failure):
            again = self._is_tried_again(trial, content)
            for observer in self._observers:
                observer.failed(trial, content, again=again)
            if again:
                self._queue.append(trial)
                return
        outcome = content if isinstance(content, Outcome) else None
        if outcome is not None:
            for observer in self._observers:
                observer.finished(trial, outcome)
        request = self._requests.pop(trial.hash)
        self._settle(request, trial, outcome)
        if request.is_complete:
            self._advance(request.chain, [request.outcomes[t.hash] for t in request.trials])

    def _is_tried_again(self, trial: Trial, failure: Failure) -> bool:
        """Whether a trial that failed is given another try.

        In company it always is, and by itself, as the failure may be another's; where memory ran out, among
        half as many. Only what fails alone counts, and not with its machine.
        """
        if failure.lost_machine:
            return True
        rows = self._running_rows[trial.hash]
        if rows > 1 and failure.out_of_memory:
            self._room[trial.shared_hash] = min(self._most_rows(trial), rows // 2)
            return True
        if rows > 1:
            self._alone.add(trial.hash)
            return True
        self._num_failures[trial.hash] += 1
        return self._num_failures[trial.hash] <= self._retries

    def _leave_group(self, trial: Trial) -> None:
        for group in self._groups:
            group.discard(trial.hash)
        self._groups = [group for group in self._groups if group]

    def _settle(self, request: _Request, trial: Trial, outcome: Outcome | None) -> None:
        request.outcomes[trial.hash] = outcome
        self._outcomes.append((trial, outcome))
        for observer in self._observers:
            observer.settled(trial, outcome)
