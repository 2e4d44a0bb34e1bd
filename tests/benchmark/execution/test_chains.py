"""Chains, retries and order, with an executor and a tracker made up for it."""

import contextlib
import signal
from collections import deque

import pytest
from made_trials import make_study, make_trial

from benchmark.base import interruption
from benchmark.execution.chains import Scheduler
from benchmark.execution.executor import Group
from benchmark.execution.observer import Observer
from benchmark.training.events import Evaluation, Event, Failure, Outcome

STUDY = make_study()


def trials(*rates, seed=0):
    return [make_trial(STUDY, learning_rate=rate, seed=seed) for rate in rates]


class FakeExecutor:
    """Ends the newest group first; trials whose rate is in `failing` fail as often as it says.

    Groups of more than `most_rows` at once find no memory: all of their trials fail.
    """

    def __init__(self, capacity=2, failing=None, most_rows=1000):
        self.capacity = capacity
        self.submitted = []
        self.groups = []
        self.rows = []
        self.most_at_once = 0
        self._waiting = deque()
        self._failing = dict(failing or {})
        self._most_rows = most_rows

    def submit(self, group):
        assert isinstance(group, Group)
        self.submitted += group.trials
        self.groups.append([trial.learning_rate for trial in group.trials])
        self.rows.append(group.rows)
        self._waiting.append(group)
        self.most_at_once = max(self.most_at_once, len(self._waiting))

    def events(self):
        group = self._waiting.pop()
        for trial in group.trials:
            if group.rows > self._most_rows:
                yield Event(trial, Failure("OutOfMemoryError: no", "Traceback ...", out_of_memory=True))
                continue
            if self._failing.get(trial.learning_rate, 0):
                self._failing[trial.learning_rate] -= 1
                yield Event(trial, Failure("ValueError: no", "Traceback ..."))
                continue
            yield Event(trial, Evaluation({"step": 0, "val_accuracy": 0.1}, []))
            yield Event(trial, outcome_of(trial))


def outcome_of(trial, status="trained"):
    return Outcome(status, status, {"final_val_loss": trial.learning_rate})


def knows(known=()):
    """What an earlier run of the stage has finished."""
    hashes = {trial.hash for trial in known}
    return lambda stage, trial: outcome_of(trial, "stuck") if (trial.hash in hashes) else None


NOTHING = knows()


class Ear(Observer):
    """Keeps what it hears."""

    def __init__(self):
        self.heard = []

    def started(self, stage, trial):
        self.heard.append(("started", stage, trial.learning_rate))

    def evaluated(self, trial, evaluation):
        self.heard.append(("evaluated", trial.learning_rate))

    def failed(self, trial, failure, *, again):
        self.heard.append(("failed", trial.learning_rate, failure.message, again))

    def finished(self, trial, outcome):
        self.heard.append(("finished", trial.learning_rate))

    def settled(self, trial, outcome):
        self.heard.append(("settled", trial.learning_rate, outcome is not None))

    def count(self, what):
        return sum(entry[0] == what for entry in self.heard)


@pytest.fixture
def ear():
    return Ear()


def rates_of(records):
    return [None if record is None else record.metrics["final_val_loss"] for record in records]


def asking(received, *batches):
    """A chain that asks for batches of trials and keeps the records that it gets."""
    for batch in batches:
        records = yield batch
        received.append(rates_of(records))


def test_a_chain_gets_its_records_in_order(ear):
    received = []
    executor = FakeExecutor(capacity=4)  # ends them in another order
    scheduler = Scheduler("sweep", executor, NOTHING, [ear], retries=0)
    results = scheduler.run([asking(received, trials(0.1, 0.2, 0.3), trials(0.4))])
    assert received == [[0.1, 0.2, 0.3], [0.4]]
    assert [trial.learning_rate for trial in executor.submitted] == [0.1, 0.2, 0.3, 0.4]
    assert sorted(trial.learning_rate for trial, _ in results) == [0.1, 0.2, 0.3, 0.4]
    assert ear.count("settled") == 4


def test_finished_trials_are_not_run(ear):
    received = []
    executor, finished = FakeExecutor(), knows(trials(0.1, 0.3, 0.4))
    scheduler = Scheduler("sweep", executor, finished, [ear], retries=0)
    results = scheduler.run([asking(received, trials(0.1, 0.2, 0.3), trials(0.4), trials(0.5))])
    assert received == [[0.1, 0.2, 0.3], [0.4], [0.5]]
    assert [trial.learning_rate for trial in executor.submitted] == [0.2, 0.5]
    assert {trial.learning_rate: outcome.status for trial, outcome in results} == {
        **dict.fromkeys((0.1, 0.3, 0.4), "stuck"),
        **dict.fromkeys((0.2, 0.5), "trained"),
    }


def test_nothing_to_do_ends_at_once(ear):
    received = []
    scheduler = Scheduler("sweep", FakeExecutor(), NOTHING, [ear], retries=0)
    assert scheduler.run([asking(received, []), asking(received)]) == []
    assert received == [[]]


@pytest.mark.parametrize(("num_failures", "expected"), [(1, 0.2), (2, 0.2), (3, None)])
def test_failures_are_retried_then_given_up(ear, num_failures, expected):
    received = []
    executor, finished = FakeExecutor(failing={0.2: num_failures}), NOTHING
    scheduler = Scheduler("sweep", executor, finished, [ear], retries=2)
    results = scheduler.run([asking(received, trials(0.1, 0.2), trials(0.3))])
    assert received == [[0.1, expected], [0.3]]
    assert sum(trial.learning_rate == 0.2 for trial in executor.submitted) == min(num_failures + 1, 3)
    failures = [entry for entry in ear.heard if entry[0] == "failed"]
    tries = [number <= 2 for number in range(1, num_failures + 1)]
    assert failures == [("failed", 0.2, "ValueError: no", again) for again in tries]
    assert dict.fromkeys(rates_of(record for _, record in results)) == dict.fromkeys((expected, 0.1, 0.3))


def test_a_trial_that_fails_with_its_machine_keeps_its_tries_and_its_company(ear):
    class Losing(FakeExecutor):
        """Loses its machine with each of the first four groups."""

        def events(self):
            if len(self.groups) > 4:
                yield from super().events()
                return
            for trial in self._waiting.pop().trials:
                yield Event(trial, Failure("its machine was lost", "...", lost_machine=True))

    executor = Losing(capacity=1)
    asked = trials(0.1, 0.2)
    scheduler = Scheduler("sweep", executor, NOTHING, [ear], 1, lambda trial: 2)
    outcomes = scheduler.run([asking([], asked)])
    assert rates_of([outcome for _, outcome in outcomes]) == [0.1, 0.2]
    assert executor.groups == [[0.1, 0.2]] * 5
    assert {entry[3] for entry in ear.heard if entry[0] == "failed"} == {True}


def test_chains_share_the_workers(ear):
    """Two bisections of three steps each: while one waits for its result, the other's trial runs."""
    received = {0: [], 1: []}
    executor = FakeExecutor(capacity=1)
    chains = [
        asking(received[seed], *([trial] for trial in trials(0.1, 0.2, 0.3, seed=seed))) for seed in (0, 1)
    ]
    Scheduler("sweep", executor, NOTHING, [ear], retries=0).run(chains)
    assert received[0] == received[1] == [[0.1], [0.2], [0.3]]
    assert executor.most_at_once == 2
    assert {trial.seed for trial in executor.submitted[:2]} == {0, 1}


def test_no_more_is_handed_out_than_the_workers_can_start(ear):
    """So that what a killed runner had begun is little, and chains take turns."""
    executor = FakeExecutor(capacity=3)
    rates = [0.1 * i for i in range(1, 21)]
    Scheduler("sweep", executor, NOTHING, [ear], retries=0).run([asking([], trials(*rates))])
    assert len(executor.submitted) == 20
    assert executor.most_at_once == 6  # one running and one waiting for each


def test_observers_hear_events_in_their_trials_order(ear):
    Scheduler("refine", FakeExecutor(), NOTHING, [ear, ear], retries=0).run([asking([], trials(0.1))])
    assert ear.heard == [
        entry
        for entry in (
            ("started", "refine", 0.1),
            ("evaluated", 0.1),
            ("finished", 0.1),
            ("settled", 0.1, True),
        )
        for _ in range(2)
    ]


def test_an_interruption_that_is_swallowed_ends_the_run_all_the_same(ear):
    """Python ignores what is raised in a finalizer or a weak reference's callback."""

    class Swallowing(Observer):
        def finished(self, trial, outcome):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        interruption.listen()
        scheduler = Scheduler("sweep", FakeExecutor(capacity=1), NOTHING, [Swallowing(), ear], retries=0)
        with pytest.raises(KeyboardInterrupt):
            scheduler.run([asking([], trials(*(0.1 * i for i in range(1, 10))))])
        assert ear.count("settled") == 1
        interruption.listen()  # the next run begins anew
        interruption.check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_groups_are_made_of_trials_that_can_share_a_population(ear):
    """Same variant, other rates and seeds; others wait for a group of their own."""
    executor = FakeExecutor(capacity=1)
    others = [make_trial(STUDY, "none-relu", learning_rate=rate) for rate in (1.0, 2.0)]
    mixed = [*trials(0.1, 0.2), others[0], *trials(0.3, 0.4), others[1]]
    received = []
    scheduler = Scheduler("sweep", executor, NOTHING, [ear], retries=0, rows=lambda trial: 3)
    scheduler.run([asking(received, mixed)])
    assert executor.groups == [[0.1, 0.2, 0.3], [1.0, 2.0], [0.4]]
    assert executor.rows == [3, 2, 1]
    assert received == [[0.1, 0.2, 1.0, 0.3, 0.4, 2.0]]
    assert executor.most_at_once == 2


def test_what_failed_in_a_group_is_tried_again_by_itself(ear):
    executor = FakeExecutor(capacity=1, failing={0.1: 1, 0.2: 1})
    received = []
    chain = asking(received, trials(0.1, 0.2, 0.3))
    Scheduler("sweep", executor, NOTHING, [ear], retries=1, rows=lambda trial: 3).run([chain])
    assert executor.groups == [[0.1, 0.2, 0.3], [0.1], [0.2]]
    assert received == [[0.1, 0.2, 0.3]]


@pytest.mark.parametrize(
    ("num_trials", "capacity", "sizes", "rows"),
    [
        (8, 1, [4, 4], [2, 2]),  # twice the rows: those that end early leave theirs to others
        (3, 1, [2, 1], [2, 1]),  # three together would leave a row empty for half of the time
        (5, 1, [4, 1], [2, 1]),
        (4, 2, [2, 2], [2, 2]),  # no worker takes another's share of what waits
        (2, 2, [1, 1], [1, 1]),
        (9, 2, [4, 4, 1], [2, 2, 1]),
    ],
)
def test_groups_are_of_up_to_twice_the_rows(ear, num_trials, capacity, sizes, rows):
    executor = FakeExecutor(capacity)
    rates = [0.1 * i for i in range(1, num_trials + 1)]
    received = []
    scheduler = Scheduler("sweep", executor, NOTHING, [ear], retries=0, rows=lambda trial: 2)
    scheduler.run([asking(received, trials(*rates))])
    assert [len(group) for group in executor.groups] == sizes
    assert executor.rows == rows
    assert [rate for group in executor.groups for rate in group] == rates
    assert received == [rates]


def test_each_variant_has_its_own_number_of_rows(ear):
    executor = FakeExecutor(capacity=1)
    others = [make_trial(STUDY, "none-relu", learning_rate=rate) for rate in (1.0, 2.0)]
    scheduler = Scheduler(
        "sweep",
        executor,
        NOTHING,
        [ear],
        retries=0,
        rows=lambda trial: 1 if trial.variant.normalization == "none" else 2,
    )
    scheduler.run([asking([], [*others, *trials(0.1, 0.2)])])
    assert executor.groups == [[1.0], [2.0], [0.1, 0.2]]
    assert executor.rows == [1, 1, 2]


def test_where_memory_runs_out_half_as_many_are_trained_at_once(ear):
    """Of trials like those alone, and it is no failure of theirs: they have all of their tries left."""
    executor = FakeExecutor(capacity=1, most_rows=3, failing={0.1: 1})
    others = [make_trial(STUDY, "none-relu", learning_rate=rate) for rate in (1.0, 2.0, 3.0)]
    received = []
    scheduler = Scheduler("sweep", executor, NOTHING, [ear], retries=1, rows=lambda trial: 8)
    scheduler.run([asking(received, [*others, *trials(*(0.1 * i for i in range(1, 9)))])])
    # The newest is first: eight at once, then four, then two; the others, three of them, have had room.
    assert [(len(group), rows) for group, rows in zip(executor.groups, executor.rows, strict=True)] == [
        (3, 3),
        (8, 8),
        (8, 4),
        (4, 2),
        (4, 2),
        (1, 1),  # the one that failed
    ]
    assert all(rate is not None for rate in received[0])
    failures = [entry for entry in ear.heard if entry[0] == "failed"]
    assert [entry[2] for entry in failures] == ["OutOfMemoryError: no"] * 16 + ["ValueError: no"]
    assert all(again for *_, again in failures)
    assert ear.count("finished") == 11


@pytest.mark.parametrize(("retries", "num_tries"), [(0, 1), (1, 2)])
def test_a_lone_trial_without_memory_has_failed(ear, retries, num_tries):
    """Two at once, then each alone: there it counts."""
    executor = FakeExecutor(capacity=1, most_rows=0)
    received = []
    scheduler = Scheduler("sweep", executor, NOTHING, [ear], retries=retries, rows=lambda trial: 2)
    scheduler.run([asking(received, trials(0.1, 0.2))])
    assert executor.rows == [2] + [1] * 2 * num_tries
    assert received == [[None, None]]
    assert [again for what, *_, again in ear.heard if what == "failed"].count(False) == 2


def test_a_trial_is_not_lost_by_a_neighbours_failure(ear):
    """Without any further tries: what fails in company is tried by itself, and only that counts."""

    class Fragile(FakeExecutor):
        """A group with the trial of rate 0.2 in it fails as a whole."""

        def events(self):
            group = self._waiting.pop()
            bad = any(trial.learning_rate == 0.2 for trial in group.trials)
            for trial in group.trials:
                yield Event(trial, Failure("ValueError: no", "Traceback ...") if bad else outcome_of(trial))

    received = []
    scheduler = Scheduler("sweep", Fragile(capacity=1), NOTHING, [ear], 0, lambda trial: 3)
    scheduler.run([asking(received, trials(0.1, 0.2, 0.3))])
    assert received == [[0.1, None, 0.3]]
