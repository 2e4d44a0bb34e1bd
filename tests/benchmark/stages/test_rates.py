"""Which learning rates are asked for, against what the samplers promise, and across interruptions."""

import itertools
import math

import optuna
import pytest
from optuna.trial import TrialState

from benchmark.stages.rates import RateSearch
from benchmark.stages.storage import open_storage
from benchmark.study.spec import SearchSpec

GRID = (0.01, 0.1, 1.0, 10.0, 100.0)


@pytest.fixture(scope="module")
def storage():
    """Holds what a process has left for the next one; the file that does it in earnest has its own test."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.InMemoryStorage()


@pytest.fixture
def opened(storage, request):
    """A function that opens the test's search, again and again, as processes do that go on with a study."""

    def open_search(sampler="grid", seed=0, name="", **options):
        spec = SearchSpec(sampler=sampler, low=GRID[0], high=GRID[-1], num_rates=len(GRID), **options)
        return RateSearch(storage, f"{request.node.name}/{name}", spec, GRID, seed)

    return open_search


def trials_of(storage, request, name=""):
    return optuna.load_study(study_name=f"{request.node.name}/{name}", storage=storage).get_trials()


def ask_all(search, count=5):
    return [search.ask() for _ in range(count)]


def finish(cells):
    for cell in cells:
        cell.finish([cell.learning_rate], ["run"])


def test_the_grid_is_visited_once(opened):
    search = opened()
    cells = ask_all(search)
    assert sorted(cell.learning_rate for cell in cells) == list(GRID)
    finish(cells)
    assert search.finished() == dict.fromkeys([(rate, None) for rate in GRID])


@pytest.mark.parametrize("num_finished", [0, 2, 4])
def test_the_grid_is_visited_once_though_interrupted(opened, storage, request, num_finished):
    first = ask_all(opened())
    finish(first[:num_finished])
    again = opened()
    rest = ask_all(again, len(GRID) - num_finished)
    assert sorted(cell.learning_rate for cell in first[:num_finished] + rest) == list(GRID)
    finish(rest)
    assert sorted(rate for rate, _ in opened().finished()) == list(GRID)
    states = [trial.state for trial in trials_of(storage, request)]
    assert states.count(TrialState.COMPLETE) == len(GRID)
    assert not {TrialState.RUNNING, TrialState.WAITING} & set(states)


def test_a_killed_process_may_leave_anything_behind(opened, storage, request):
    """Killed between Optuna's own steps: asked but without a rate, or enqueued but not asked for."""
    finish([opened().ask()])
    study = optuna.load_study(study_name=f"{request.node.name}/", storage=storage)
    study.ask()
    study.enqueue_trial({"learning_rate": 1000.0}, user_attrs={"enqueued": 1000.0})
    search = opened()
    (done,) = search.finished()
    rest = ask_all(search, len(GRID) - 1)
    assert sorted([done[0], *(cell.learning_rate for cell in rest)]) == list(GRID)


def test_extensions_lie_outside_the_grid(opened):
    search = opened()
    finish(ask_all(search))
    beyond = search.try_rate(1000.0)
    assert beyond.learning_rate == 1000.0
    assert opened().try_rate(1000.0).learning_rate == 1000.0  # that process was killed; this one tries anew
    below = search.try_rate(0.001)
    assert below.learning_rate == 0.001
    finish([below])
    assert (0.001, None) in opened().finished()


def test_a_cell_whose_trials_all_failed_is_asked_for_again(opened):
    cells = ask_all(opened())
    finish(cells[1:])
    cells[0].finish([], [])
    search = opened()
    assert (cells[0].learning_rate, None) not in search.finished()
    assert search.ask().learning_rate == cells[0].learning_rate


def test_bisections_carry_their_seed(opened, storage, request):
    search = opened()
    search.try_rate(0.05, seed=0)  # killed while it ran
    again = opened()
    other = again.try_rate(0.5, seed=1)
    assert other.learning_rate == 0.5
    finish([other, again.try_rate(0.05, seed=0)])
    assert opened().finished() == {(0.5, 1): None, (0.05, 0): None}
    by_state = {
        (trial.user_attrs["seed"], trial.state): trial.params["learning_rate"]
        for trial in trials_of(storage, request)
    }
    assert by_state == {
        (0, TrialState.FAIL): 0.05,
        (0, TrialState.COMPLETE): 0.05,
        (1, TrialState.COMPLETE): 0.5,
    }


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe"])
def test_samplers_stay_in_range_and_follow_their_seed(opened, sampler):
    def rates(name, seed):
        search = opened(sampler, seed=seed, name=name)
        found = []
        for _ in GRID:
            cell = search.ask()
            cell.finish([abs(math.log10(cell.learning_rate))], ["run"])
            found.append(cell.learning_rate)
        return found

    first = rates("first", 7)
    assert all(GRID[0] <= rate <= GRID[-1] for rate in first)
    assert len(set(first)) == len(GRID)
    assert rates("again", 7) == first
    assert rates("other", 8) != first


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_an_interrupted_search_asks_what_an_uninterrupted_one_asks(opened, sampler):
    whole, found = opened(sampler, name="whole"), []
    for _ in GRID:
        cell = whole.ask()
        finish([cell])
        found.append(cell.learning_rate)
    for rate in found:
        killed = opened(sampler, name="killed").ask()
        cell = opened(sampler, name="killed").ask()
        assert killed.learning_rate == cell.learning_rate == rate
        finish([cell])


def test_tpe_learns_from_the_losses(opened):
    """With the same seed, it goes down where low rates are good and up where high ones are."""

    def late_rate(direction):
        search = opened("tpe", name=str(direction))
        found = []
        for _ in range(30):
            cell = search.ask()
            found.append(math.log10(cell.learning_rate))
            cell.finish([direction * found[-1]], ["run"])
        return sum(found[10:]) / 20

    assert late_rate(1) < late_rate(-1) - 0.5


def run_seeds(cell, losses):
    """Report one seed after another; at which it was stopped, or None."""
    stopped = next((i for i, loss in enumerate(losses) if cell.should_stop(i, loss)), None)
    tried = losses if stopped is None else losses[: stopped + 1]
    cell.finish(tried, ["run"] * len(tried), pruned=stopped is not None)
    return stopped


def test_wilcoxon_prunes_a_clearly_worse_rate(opened, storage, request):
    search = opened("tpe", pruning=True)
    good, alike, bad, capped = (search.ask() for _ in range(4))
    assert run_seeds(good, [0.5, 0.6, 0.4, 0.55, 0.45, 0.5]) is None
    assert run_seeds(alike, [0.6, 0.5, 0.45, 0.5, 0.5, 0.45]) is None
    # The exact one-sided p of n seeds that are all worse is 2^-n: below 0.1 from the fourth on.
    assert run_seeds(bad, [2.0, 2.1, 1.9, 2.05, 2.0, 2.0]) == 3
    assert run_seeds(capped, [math.log(10)] * 6) == 3  # ties, as of rates at which every seed diverges
    finished = opened("tpe", pruning=True).finished()
    assert finished[good.learning_rate, None] is None
    assert finished[bad.learning_rate, None] == 4
    runs = {trial.state: trial.user_attrs["trials"] for trial in trials_of(storage, request)}
    assert runs == {TrialState.COMPLETE: ["run"] * 6, TrialState.PRUNED: ["run"] * 4}


def test_two_rates_that_both_diverge_are_not_told_apart(opened):
    search = opened("tpe", pruning=True)
    cells = [search.ask() for _ in range(2)]
    assert [run_seeds(cell, [math.log(10)] * 6) for cell in cells] == [None, None]


@pytest.mark.parametrize("sampler", ["grid", "qmc", "random", "tpe"])
def test_nothing_is_pruned_unless_asked_for(opened, sampler):
    search = opened(sampler)
    cells = ask_all(search)
    losses = itertools.cycle([[0.1, 0.2, 0.15] * 3, [2.0, 2.1, 1.9] * 3])
    assert [run_seeds(cell, next(losses)) for cell in cells] == [None] * len(GRID)


def test_the_value_is_the_mean_and_names_its_trials(opened, storage, request):
    opened().ask().finish([1.0, 2.0, 6.0], ["a", "b", "c"])
    (trial,) = trials_of(storage, request)
    assert trial.value == 3.0
    assert trial.user_attrs["trials"] == ["a", "b", "c"]


def test_the_storage_is_a_file_that_opens_again(tmp_path):
    path = tmp_path / "made" / "optuna.db"
    spec = SearchSpec(sampler="grid", low=GRID[0], high=GRID[-1], num_rates=len(GRID))
    cells = ask_all(RateSearch(open_storage(path), "study/variant/sweep", spec, GRID, 0), 3)
    finish(cells[:2])
    search = RateSearch(open_storage(path), "study/variant/sweep", spec, GRID, 0)
    rates = [cell.learning_rate for cell in cells[:2] + ask_all(search, 3)]
    assert sorted(rates) == list(GRID)
    # As optuna-dashboard finds it.
    assert optuna.get_all_study_names(f"sqlite:///{path}") == ["study/variant/sweep"]
