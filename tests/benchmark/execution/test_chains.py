"""Chains, retries and order, with an executor and a tracker made up for it."""

from collections import deque

import pytest
from made_trials import make_study, make_trial

from benchmark.execution.chains import Scheduler
from benchmark.execution.executors import Event, Failure
from benchmark.tracking import Record
from benchmark.training.loop import Evaluation, Outcome

STUDY = make_study()


def trials(*rates, seed=0):
    return [make_trial(STUDY, learning_rate=rate, seed=seed) for rate in rates]


class FakeExecutor:
    """Ends the newest trial first; those whose rate is in `failing` fail as often as it says."""

    def __init__(self, capacity=2, failing=None):
        self.capacity = capacity
        self.submitted = []
        self.most_at_once = 0
        self._waiting = deque()
        self._failing = dict(failing or {})

    def submit(self, trial):
        self.submitted.append(trial)
        self._waiting.append(trial)
        self.most_at_once = max(self.most_at_once, len(self._waiting))

    def events(self):
        trial = self._waiting.pop()
        if self._failing.get(trial.learning_rate, 0):
            self._failing[trial.learning_rate] -= 1
            yield Event(trial, Failure("ValueError: no", "Traceback ..."))
            return
        yield Event(trial, Evaluation({"step": 0, "val_accuracy": 0.1}, []))
        yield Event(trial, Outcome("trained", "trained", {"final_val_loss": trial.learning_rate}))


class FakeTracker:
    def __init__(self, known=()):
        self.known = {trial.hash for trial in known}
        self.log = []

    def finished(self, trial):
        if trial.hash not in self.known:
            return None
        return Record("known", "trained", {"final_val_loss": trial.learning_rate})

    def start_trial(self, trial):
        self.log.append(("start", trial.learning_rate))
        return FakeLog(trial, self.log)


class FakeLog:
    def __init__(self, trial, log):
        self._trial, self._log = trial, log

    def log(self, evaluation):
        self._log.append(("log", self._trial.learning_rate))

    def finish(self, outcome):
        self._log.append(("finish", self._trial.learning_rate))
        return Record("fresh", outcome.status, outcome.metrics)

    def fail(self, message, details):
        self._log.append(("fail", message))


class FakeDisplay:
    def __init__(self):
        self.settled_trials = []
        self.notes = []

    def evaluated(self, trial, evaluation):
        pass

    def settled(self, trial, record):
        self.settled_trials.append(trial)

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def display():
    return FakeDisplay()


def rates_of(records):
    return [None if record is None else record.metrics["final_val_loss"] for record in records]


def asking(received, *batches):
    """A chain that asks for batches of trials and keeps the records that it gets."""
    for batch in batches:
        records = yield batch
        received.append(rates_of(records))


def test_a_chain_gets_its_records_in_order(display):
    received = []
    executor = FakeExecutor(capacity=4)  # ends them in another order
    scheduler = Scheduler(executor, FakeTracker(), display, retries=0)
    results = scheduler.run([asking(received, trials(0.1, 0.2, 0.3), trials(0.4))])
    assert received == [[0.1, 0.2, 0.3], [0.4]]
    assert [trial.learning_rate for trial in executor.submitted] == [0.1, 0.2, 0.3, 0.4]
    assert sorted(trial.learning_rate for trial, _ in results) == [0.1, 0.2, 0.3, 0.4]
    assert len(display.settled_trials) == 4


def test_finished_trials_are_not_run(display):
    received = []
    executor, tracker = FakeExecutor(), FakeTracker(known=trials(0.1, 0.3, 0.4))
    scheduler = Scheduler(executor, tracker, display, retries=0)
    results = scheduler.run([asking(received, trials(0.1, 0.2, 0.3), trials(0.4), trials(0.5))])
    assert received == [[0.1, 0.2, 0.3], [0.4], [0.5]]
    assert [trial.learning_rate for trial in executor.submitted] == [0.2, 0.5]
    assert {trial.learning_rate: record.run_id for trial, record in results} == {
        **dict.fromkeys((0.1, 0.3, 0.4), "known"),
        **dict.fromkeys((0.2, 0.5), "fresh"),
    }


def test_nothing_to_do_ends_at_once(display):
    received = []
    scheduler = Scheduler(FakeExecutor(), FakeTracker(), display, retries=0)
    assert scheduler.run([asking(received, []), asking(received)]) == []
    assert received == [[]]


@pytest.mark.parametrize(("num_failures", "expected"), [(1, 0.2), (2, 0.2), (3, None)])
def test_failures_are_retried_then_given_up(display, num_failures, expected):
    received = []
    executor, tracker = FakeExecutor(failing={0.2: num_failures}), FakeTracker()
    scheduler = Scheduler(executor, tracker, display, retries=2)
    results = scheduler.run([asking(received, trials(0.1, 0.2), trials(0.3))])
    assert received == [[0.1, expected], [0.3]]
    assert sum(trial.learning_rate == 0.2 for trial in executor.submitted) == min(num_failures + 1, 3)
    assert tracker.log.count(("fail", "ValueError: no")) == num_failures
    assert dict.fromkeys(rates_of(record for _, record in results)) == dict.fromkeys((expected, 0.1, 0.3))
    assert len(display.notes) == num_failures
    assert all("batch-relu lr=0.2 seed=0 failed" in note for note in display.notes)


def test_chains_share_the_workers(display):
    """Two bisections of three steps each: while one waits for its result, the other's trial runs."""
    received = {0: [], 1: []}
    executor = FakeExecutor(capacity=1)
    chains = [
        asking(received[seed], *([trial] for trial in trials(0.1, 0.2, 0.3, seed=seed))) for seed in (0, 1)
    ]
    Scheduler(executor, FakeTracker(), display, retries=0).run(chains)
    assert received[0] == received[1] == [[0.1], [0.2], [0.3]]
    assert executor.most_at_once == 2
    assert {trial.seed for trial in executor.submitted[:2]} == {0, 1}


def test_no_more_is_handed_out_than_the_workers_can_start(display):
    """So that what a killed runner had begun is little, and chains take turns."""
    executor = FakeExecutor(capacity=3)
    rates = [0.1 * i for i in range(1, 21)]
    Scheduler(executor, FakeTracker(), display, retries=0).run([asking([], trials(*rates))])
    assert len(executor.submitted) == 20
    assert executor.most_at_once == 6  # one running and one waiting for each


def test_events_are_logged_in_their_trials_order(display):
    tracker = FakeTracker()
    Scheduler(FakeExecutor(), tracker, display, retries=0).run([asking([], trials(0.1))])
    assert tracker.log == [("start", 0.1), ("log", 0.1), ("finish", 0.1)]
