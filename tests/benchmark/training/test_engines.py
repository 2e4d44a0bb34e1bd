"""Engines: every one gives the reference's numbers, and a second one takes a file of its own, no more."""

import math

import pytest
import torch
from made_engines import ON_CPU, Rerun
from made_trials import contents_of, make_data, make_study, make_trial, numbers_of

from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import ENGINES
from benchmark.training.engines.graphed import Graphed
from benchmark.training.events import Outcome
from benchmark.training.loop import train
from benchmark.training.population import Population
from benchmark.training.replica import Replica
from benchmark.training.trial import ROW_FIELDS

STUDY = make_study(
    variants={"normalizations": ["none", "batch", "batch-noisy"], "activations": ["relu", "tanh"]},
    budget={"num_steps": 50, "eval_every": 10},
    data={"augmentation": {}},
    network={"dropout": 0.2},
    probes={"enabled": ["gradients", "landscape", "covariate-shift"], "every": 2, "num_images": 20},
)


class Lockstep:
    """A second engine, for the test: up to three replicas, each taking its step before any takes the next."""

    name = "lockstep"
    max_rows = 3

    def check(self, device, threads):
        """It runs anywhere."""

    def advance(self, population, num_steps):
        for _ in range(num_steps):
            for position in range(len(population.rows)):
                ENGINES["eager"].advance(population.row(position), 1)
            population.stepped(1)

    def judge(self, population, splits, reestimation):
        return ENGINES["eager"].judge(population, splits, reestimation)


@pytest.fixture(scope="module")
def data():
    return make_data()


def together(trials, data, folder, engine, **options):
    """Trial hash -> what it produced, trained as one population."""
    found = {trial.hash: [] for trial in trials}
    for event in train(
        trials, data, lambda trial: Checkpoints(folder / trial.hash), engine=engine, **options
    ):
        found[event.trial.hash].append(event.content)
    return found


def own(variant="batch-relu", **fields):
    return make_trial(STUDY, variant, **fields)


ROWS = [
    {"learning_rate": 0.05, "seed": 0, "walk_rate": 0.1},
    {"learning_rate": 0.3, "seed": 1, "init_gain": 0.5},
    {"learning_rate": 0.05, "seed": 2, "walk_rate": 0.2},
]


@pytest.mark.parametrize("variant", ["none-tanh", "batch-relu", "batch-noisy-relu"])
def test_a_second_engine_gives_the_references_numbers(variant, data, tmp_path):
    """Each row its own rate, seed, gain and walk; to the bit, weights included."""
    trials = [own(variant, **row) for row in ROWS]
    found = together(trials, data, tmp_path / "rows", Lockstep())
    for trial in trials:
        alone = list(contents_of(trial, data, tmp_path / "alone" / trial.hash))
        assert isinstance(alone[-1], Outcome)
        assert numbers_of(found[trial.hash]) == numbers_of(alone)
        for name in ("last.pt", "best.pt"):
            a, b = (torch.load(tmp_path / where / trial.hash / name) for where in ("rows", "alone"))
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_row_that_diverges_leaves_the_others_untouched(data, tmp_path):
    trials = [own("none-tanh", **row) for row in ROWS]
    lost = own("none-tanh", learning_rate=1e30, seed=5)
    found = together([trials[0], lost, trials[2]], data, tmp_path / "rows", Lockstep())
    assert found[lost.hash][-1].status == "diverged"
    assert found[lost.hash][-1].metrics["num_steps_done"] < 50
    for trial in (trials[0], trials[2]):
        alone = contents_of(trial, data, tmp_path / "alone" / trial.hash)
        assert numbers_of(found[trial.hash]) == numbers_of(alone)


def test_rows_go_on_from_their_own_steps(data, tmp_path):
    """One of them was interrupted half-way, another had not begun."""
    trials = [own(**row) for row in ROWS]
    whole = together(trials, data, tmp_path / "whole", Lockstep())
    folder = tmp_path / "parts"
    first = train(
        trials[:1],
        data,
        lambda trial: Checkpoints(folder / trial.hash),
        engine=Lockstep(),
        checkpoint_every_s=0.0,
    )
    for _ in range(4):  # the checkpoint of the third is written when the fourth is asked for
        next(first)
    first.close()
    assert (folder / trials[0].hash / "progress.pt").exists()
    parts = together(trials, data, folder, Lockstep())
    assert {key: numbers_of(contents) for key, contents in parts.items()} == {
        key: numbers_of(contents) for key, contents in whole.items()
    }


def test_only_trials_that_can_share_a_population_are_trained_as_one(data, tmp_path):
    alike, other = [own(**row) for row in ROWS], own("none-relu")
    assert len({trial.shared_hash for trial in alike}) == 1
    assert {*ROWS[0], *ROWS[1]} == {*ROW_FIELDS}
    for trials, engine in (([*alike[:2], other], Lockstep()), (alike, ENGINES["eager"]), ([], Lockstep())):
        with pytest.raises(ValueError, match="trials: expected 1 to"):
            together(trials, data, tmp_path, engine)


@pytest.mark.parametrize(
    "engine", [*ON_CPU.values(), Graphed(Rerun), Lockstep()], ids=lambda engine: engine.name
)
def test_engines_advance_each_row_from_its_own_step(engine, data, tmp_path):
    """And take steps in one call or in two alike."""
    rows = [own(**row) for row in ROWS[: engine.max_rows]]
    replicas = [Replica(trial, data, Checkpoints(tmp_path / trial.hash)) for trial in rows]
    states = [replica.state for replica in replicas]
    population = Population.of(replicas[0].problem(), [replica.row() for replica in replicas], states)
    other = population.clone()
    engine.advance(population, 5)
    engine.advance(other, 2)
    engine.advance(other, 3)
    assert torch.equal(population.state.parameters, other.state.parameters)
    assert torch.equal(population.sums, other.sums)
    assert (
        population.state.step.tolist() == [row.num_steps_done for row in population.rows] == [5] * len(rows)
    )
    assert all(math.isfinite(total) for reading in population.read() for total in vars(reading).values())
    assert not population.sums.any()
    assert not torch.equal(population.state.parameters, torch.stack([state.parameters for state in states]))


def test_a_population_keeps_what_goes_on(data, tmp_path):
    replicas = [Replica(own(**row), data, Checkpoints(tmp_path / str(i))) for i, row in enumerate(ROWS)]
    states = [replica.state for replica in replicas]
    population = Population.of(replicas[0].problem(), [replica.row() for replica in replicas], states)
    kept = population.keep([0, 2])
    assert [row is population.rows[position] for row, position in zip(kept.rows, (0, 2), strict=True)]
    for position, replica in enumerate((replicas[0], replicas[2])):
        assert torch.equal(kept.state.row(position).parameters, replica.state.parameters)
        assert all(
            torch.equal(kept.state.row(position).buffers[name], value)
            for name, value in replica.state.buffers.items()
        )
    assert population.keep([0, 1, 2]) is population
