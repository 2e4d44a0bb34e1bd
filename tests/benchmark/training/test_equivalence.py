"""Engines compute the same training: in double precision to 1e-8 over fifty steps, in single step by step.

Long comparisons in single precision would be empty: training amplifies a rounding error, until a twin that
began one unit in the last place away has gone elsewhere. Where even double precision is not enough for fifty
steps, as at rates that are too high, a row may differ by ten times as much as such a twin of it.
"""

from dataclasses import replace

import pytest
import torch
from made_engines import ON_CPU
from made_trials import make_data, make_study, make_trial

from benchmark.base import seeding
from benchmark.data.augment import NUM_DRAWS
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import ENGINES
from benchmark.training.optimizers import OPTIMIZERS
from benchmark.training.population import Population
from benchmark.training.replica import Replica
from benchmark.training.schedules import SCHEDULES
from benchmark.training.step import dropout_masks
from benchmark.variants.networks import FAMILIES
from benchmark.variants.norms import NORMALIZATIONS

pytestmark = pytest.mark.usefixtures("one_thread")
EAGER = ENGINES["eager"]
OTHERS = [engine for name, engine in ON_CPU.items() if name != "eager"]
WIDE = [engine for engine in OTHERS if engine.max_rows > 1]
ROWS = [
    {"learning_rate": 0.002, "seed": 0},
    {"learning_rate": 0.1, "seed": 1, "init_gain": 0.7},
    {"learning_rate": 0.02, "seed": 2},
]
NUM_STEPS = 50
USABLE = [name for name in NORMALIZATIONS if not name.endswith(("group4", "group5", "group10", "group20"))]
"""Those that networks of 6 and 10 filters can have."""


@pytest.fixture(scope="module")
def data():
    return make_data()


def population_of(data, folder, normalization="batch", rows=ROWS, activation="tanh", **sections):
    names = list(dict.fromkeys(["none", "batch", normalization]))
    if NORMALIZATIONS[normalization].residual_scale is not None:
        sections["network"] = {"family": "resnet", "width": 4, "blocks_per_stage": 1}
    study = make_study(
        variants={"normalizations": names, "activations": ["relu", "tanh", "selu"]},
        data={"augmentation": {}},
        **{"network": {"dropout": 0.2, "width": 6}, **sections},
    )
    replicas = [
        Replica(make_trial(study, f"{normalization}-{activation}", **row), data, Checkpoints(folder / str(i)))
        for i, row in enumerate(rows)
    ]
    return Population.of(
        replicas[0].problem(),
        [replica.row() for replica in replicas],
        [replica.state for replica in replicas],
    )


def in_double(population):
    """The same population in double precision."""
    state = population.state._each(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    problem = replace(population.problem, network=population.problem.network.double(), _bound={})
    rows = [replace(row, learning_rate=row.learning_rate.double()) for row in population.rows]
    return Population(problem, rows, state, population.sums.double())


def twin_of(population):
    """One that begins a unit in the last place away."""
    twin = population.clone()
    parameters = twin.state.parameters
    parameters.copy_(torch.nextafter(parameters, torch.full_like(parameters, torch.inf)))
    return twin


def distances(one, other):
    """How far rows of populations are apart, relative to the first's norms: [R], the greatest."""
    far = torch.zeros(len(one.rows), dtype=torch.float64)
    pairs = [*zip(one.state.tensors(), other.state.tensors(), strict=True), (one.sums, other.sums)]
    for mine, theirs in pairs:
        a, b = (tensor.double().reshape(len(one.rows), -1) for tensor in (mine, theirs))
        far = torch.maximum(far, (a - b).norm(dim=1) / a.norm(dim=1).clamp_min(1e-12))
    return far


def far_apart(population, engine):
    """The rows' distance after fifty steps, as a share of what is allowed."""
    ours = in_double(population)
    theirs, twin = ours.clone(), twin_of(ours)
    EAGER.advance(ours, NUM_STEPS)
    EAGER.advance(twin, NUM_STEPS)
    engine.advance(theirs, NUM_STEPS)
    allowed = (10 * distances(ours, twin)).clamp_min(1e-8)
    return (distances(ours, theirs) / allowed).max().item()


@pytest.mark.parametrize("engine", OTHERS, ids=lambda engine: engine.name)
@pytest.mark.parametrize("normalization", USABLE)
def test_in_double_precision_engines_agree_over_fifty_steps(data, tmp_path, normalization, engine):
    rows = ROWS[: engine.max_rows]
    assert far_apart(population_of(data, tmp_path, normalization, rows), engine) <= 1


@pytest.mark.parametrize("engine", WIDE, ids=lambda engine: engine.name)
@pytest.mark.parametrize("name", [*OPTIMIZERS, "sgd with decay"])
@pytest.mark.parametrize("normalization", ["none", "batch", "rms"])
def test_so_they_do_with_every_optimizer(data, tmp_path, normalization, name, engine):
    name, *decays = name.split(" with ")
    rows = ROWS if name == "sgd" else [{**row, "learning_rate": row["learning_rate"] / 20} for row in ROWS]
    optimizer = {"name": name} if name != "rmsprop" else {"name": name, "epsilon": 1e-3}
    optimizer |= {"weight_decay": 0.05} if decays else {}
    population = population_of(data, tmp_path, normalization, rows, optimizer=optimizer)
    assert far_apart(population, engine) <= 1


@pytest.mark.parametrize("engine", OTHERS, ids=lambda engine: engine.name)
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "constant"])
def test_and_every_schedule_each_row_at_its_own_step(data, tmp_path, name, engine):
    schedule = {"name": name, "share": 0.3}
    population = population_of(data, tmp_path, rows=ROWS[: engine.max_rows], schedule=schedule)
    for ahead, row in enumerate(population.rows):  # as rows are that joined later
        population.state.step[ahead] = 7 * ahead
        population.rows[ahead] = replace(row, num_steps_done=7 * ahead)
    assert far_apart(population, engine) <= 1


@pytest.mark.parametrize("engine", WIDE, ids=lambda engine: engine.name)
@pytest.mark.parametrize("loss", ["mse", "focal"])
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "cnn"])
def test_and_every_family_and_loss(data, tmp_path, family, loss, engine):
    sizes = {"mlp": {"units": 7, "dropout": 0.3}, "resnet": {"width": 4, "blocks_per_stage": 1}}
    network = {"family": family, **sizes[family]}
    assert far_apart(population_of(data, tmp_path, network=network, loss={"name": loss}), engine) <= 1


@pytest.mark.parametrize("engine", WIDE, ids=lambda engine: engine.name)
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_and_with_alpha_dropout(data, tmp_path, normalization, engine):
    population = population_of(data, tmp_path, normalization, activation="selu")
    assert far_apart(population, engine) <= 1


@pytest.mark.parametrize("engine", OTHERS, ids=lambda engine: engine.name)
@pytest.mark.parametrize("normalization", ["none", "batch", "layer", "batch-noisy", "none-noisy", "weight"])
def test_in_single_precision_each_step_is_the_same(data, tmp_path, normalization, engine):
    """From each of ten states along the reference's run: the update, to 1e-5 of its norm."""
    ours = population_of(data, tmp_path, normalization, ROWS[: engine.max_rows])
    for _ in range(10):
        before, theirs, twin = ours.state.clone(), ours.clone(), twin_of(ours)
        EAGER.advance(ours, 1)
        EAGER.advance(twin, 1)
        engine.advance(theirs, 1)
        update = ours.state.parameters - before.parameters
        off = (theirs.state.parameters - ours.state.parameters).norm(dim=1)
        drift = (twin.state.parameters - ours.state.parameters).norm(dim=1)
        assert (off <= torch.maximum(1e-5 * update.norm(dim=1), 10 * drift)).all()
        EAGER.advance(ours, 4)


def swapped_rates(population):
    rows = population.rows
    rates = [rows[1].learning_rate, rows[0].learning_rate, rows[2].learning_rate]
    rows = [replace(row, learning_rate=rate) for row, rate in zip(rows, rates, strict=True)]
    return Population(population.problem, rows, population.state, population.sums)


def shifted_dropout(population):
    rows = [replace(row, keys=replace(row.keys, dropout=row.keys.dropout + 1)) for row in population.rows]
    return Population(population.problem, rows, population.state, population.sums)


def neighbours_seed(population):
    keys = [row.keys for row in population.rows]
    rows = [
        replace(row, keys=other) for row, other in zip(population.rows, [keys[1], *keys[1:]], strict=True)
    ]
    return Population(population.problem, rows, population.state, population.sums)


def momentum_off(population):
    optimizer = population.problem.optimizer.model_copy(update={"momentum": 0.9 * 1.01})
    return replace(population, problem=replace(population.problem, optimizer=optimizer, _bound={}))


class Faulty:
    """An engine that does something else to a population than the reference."""

    def __init__(self, engine, fault):
        self._engine = engine
        self._fault = fault

    def advance(self, population, num_steps):
        self._engine.advance(self._fault(population), num_steps)


class Freezing(Faulty):
    """An engine that leaves running statistics as they were."""

    def advance(self, population, num_steps):
        buffers = {name: value.clone() for name, value in population.state.buffers.items()}
        self._engine.advance(population, num_steps)
        for name, value in buffers.items():
            population.state.buffers[name].copy_(value)


def schedule_off(population):
    factors = torch.full((100,), 1.01)
    problem = replace(population.problem, rate_factors=factors, _bound={})
    return replace(population, problem=problem)


FAULTS = [schedule_off, swapped_rates, shifted_dropout, neighbours_seed, momentum_off]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("engine", WIDE, ids=lambda engine: engine.name)
def test_faults_are_noticed(data, tmp_path, engine, fault):
    assert far_apart(population_of(data, tmp_path), Faulty(engine, fault)) > 1e3


@pytest.mark.parametrize("engine", WIDE, ids=lambda engine: engine.name)
def test_frozen_statistics_are_noticed(data, tmp_path, engine):
    assert far_apart(population_of(data, tmp_path), Freezing(engine, None)) > 1e3


MANY = [{"learning_rate": 0.01 * (1 + i), "seed": i} for i in range(7)]
TOGETHER = ([2, 5], [5, 2, 0], [6, 5, 4, 3, 2, 1, 0], [3], [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("engine", WIDE, ids=lambda engine: engine.name)
@pytest.mark.parametrize("normalization", USABLE)
def test_no_bit_of_a_row_depends_on_its_neighbours(data, tmp_path, normalization, engine):
    """Neighbours removed, in another order, or lost to NaN."""
    population = population_of(data, tmp_path, normalization, MANY)
    start = population.clone()
    splits = (data.validation, data.clean_train)
    reestimation = data.reestimation if NORMALIZATIONS[normalization].is_reestimated else None
    engine.advance(population, 3)
    judged = engine.judge(population, splits, reestimation)
    for positions in TOGETHER:
        others = start.keep(positions) if len(positions) < 7 else start._selected(positions)
        engine.advance(others, 3)
        assert_equal_rows(population, positions, others)
        again = engine.judge(others, splits, reestimation)
        assert again == [judged[position] for position in positions]
    lost = start.clone()
    lost.state.parameters[3] = torch.nan
    engine.advance(lost, 3)
    keep = [0, 1, 2, 4, 5, 6]
    assert_equal_rows(population, keep, lost.keep(keep))
    assert not lost.state.parameters[3].isfinite().any()


def assert_equal_rows(population, positions, others):
    for mine, theirs in zip(population.state.tensors(), others.state.tensors(), strict=True):
        assert torch.equal(mine[positions], theirs)
    assert torch.equal(population.sums[positions], others.sums)


def test_streams_side_by_side_are_those_of_each(data, tmp_path):
    """Masks, draws and orders: to the bit."""
    population = population_of(data, tmp_path)
    network, keys = population.problem.network, population.keys
    steps = torch.tensor([4, 0, 9])
    together = dropout_masks(network, 5, keys.dropout, steps)
    draws = seeding.uniform(keys.augmentation, steps, (5, NUM_DRAWS))
    batches = population.batches(4)
    for position, row in enumerate(population.rows):
        alone = dropout_masks(network, 5, row.keys.dropout, steps[position])
        for wide, mask in zip(together, alone, strict=True):
            channels = mask.shape[1]
            assert torch.equal(wide[:, position * channels : (position + 1) * channels], mask)
        own = seeding.uniform(row.keys.augmentation, steps[position], (5, NUM_DRAWS))
        assert torch.equal(draws[position], own)
        assert torch.equal(batches[:, position], row.order.batches(0, 4))
