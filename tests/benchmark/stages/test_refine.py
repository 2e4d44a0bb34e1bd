"""Which rates the refinement tries, of a net whose stable rates are known."""

from types import SimpleNamespace

import pytest
from made_trials import make_study

from benchmark.stages.decisions import Decisions, Result
from benchmark.stages.refine import _chain
from benchmark.training.events import Outcome
from benchmark.variants.variant import Variant

BATCH, SEED = Variant("batch", "relu"), 3
GRID = (0.01, 0.1, 1.0, 10.0)


class Search:
    """Which cells were asked for, of the rates' search."""

    def __init__(self):
        self.tried = []

    def try_rate(self, rate, seed):
        self.tried.append((rate, seed))
        return rate


def refined(accuracy_of, num_bisections, known=()):
    """Refine one seed: (rate -> accuracy) of what was tried, the decisions, the search, what it was told."""
    decisions = Decisions(10, 0.9, GRID, best_accuracy={BATCH: 0.9})  # stable from 0.82 on
    results = {rate: {SEED: of(accuracy_of(rate))} for rate in GRID}
    told, search = [], Search()
    session = SimpleNamespace(
        study=make_study(search={"num_bisections": num_bisections}),
        decisions=decisions,
        sweep_results={BATCH: results},
        trials=lambda variant, rate, seeds, stage: [SimpleNamespace(learning_rate=rate)],
        tell=lambda tried, trials, outcomes: told.append(tried),
    )
    chain = _chain(session, BATCH, SEED, search, known)
    found, asked = {}, next(chain, None)
    while asked is not None:
        rates = [trial.learning_rate for trial in asked]
        found |= {rate: accuracy_of(rate) for rate in rates}
        try:
            asked = chain.send([outcome(of(found[rate])) for rate in rates])
        except StopIteration:
            break
    return found, decisions, search, told


def of(accuracy):
    return Result("trained" if accuracy > 0.15 else "stuck", 1 - accuracy, accuracy)


def outcome(result):
    metrics = {"final_val_loss": result.loss, "final_val_accuracy": result.accuracy}
    return Outcome(result.status, result.status, metrics)


def band(low, high, inside=0.9, outside=0.5):
    return lambda rate: inside if low <= rate <= high else outside


def test_both_edges_are_bisected_in_turn():
    """Stable from 0.05 to 2: each edge is first in a decade of the grid, after three rounds in an eighth."""
    found, decisions, search, told = refined(band(0.05, 2.0), 3)
    ups = sorted(rate for rate in found if rate > 1.0)
    downs = sorted(rate for rate in found if rate < 0.1)
    assert ups == pytest.approx([10 ** (1 / 4), 10 ** (3 / 8), 10 ** (1 / 2)], rel=1e-5)
    assert downs == pytest.approx([10 ** (-3 / 2), 10 ** (-11 / 8), 10 ** (-5 / 4)], rel=1e-5)
    assert decisions.searched == {}
    assert len(told) == len(search.tried) == 6
    assert {seed for _, seed in search.tried} == {SEED}


def test_a_seed_one_image_short_is_searched_and_its_edges_are_known_as_well_as_others():
    """Stable from 0.2 to 0.6 alone, which the grid steps over; at 0.1 it is an image short."""

    def accuracy(rate):
        return 0.9 if 0.2 <= rate <= 0.6 else 0.8194 if rate == 0.1 else 0.5

    found, decisions, _, _ = refined(accuracy, 3)
    assert decisions.searched == {BATCH: [SEED]}
    stable = [rate for rate, reached in found.items() if reached > 0.82]
    assert min(stable) == pytest.approx(10**-0.625, rel=1e-5)
    assert max(stable) == pytest.approx(10**-0.25, rel=1e-5)
    assert len(found) <= 2 * 3  # no more trials than any seed


def test_a_search_may_find_nothing():
    found, decisions, _, _ = refined(lambda rate: 0.6 if rate < 5 else 0.1, 2)
    assert decisions.searched == {BATCH: [SEED]}
    assert len(found) <= 4


def test_a_seed_that_trains_nowhere_is_left():
    found, decisions, search, _ = refined(lambda rate: 0.1, 2)
    assert (found, decisions.searched, search.tried) == ({}, {}, [])


def test_cells_that_an_earlier_session_told_are_not_tried_anew():
    every, _, _, _ = refined(band(0.05, 2.0), 2)
    again, _, search, told = refined(band(0.05, 2.0), 2, known={(rate, SEED) for rate in every})
    assert again == every
    assert (search.tried, told) == ([], [])
