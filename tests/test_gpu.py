"""What must hold on a GPU, and between it and the CPU.

Every test runs twice: on the pretend GPU of `pretend_gpu`, everywhere, and on a real one where there is one
(`make test-gpu`). The pretend one computes with the CPU's kernels, so its numbers are the CPU's to the bit; a
real one rounds otherwise, and training amplifies that, so there only beginnings are compared.
"""

import math
from collections import deque

import pretend_gpu
import pytest
import torch
from gpu_checks import (
    BATCH,
    CASES,
    CUDA,
    OTHERS,
    check_evaluations,
    check_numbers,
    check_steps,
    everything,
    population_of,
    rows_for,
    waits,
)
from made_engines import engine_on
from made_trials import data_on, make_data, make_study, numbers_of, replica_of, score

from benchmark.base import seeding
from benchmark.cli.estimate import measure
from benchmark.contract import STAGES
from benchmark.data.datasets import DataSpec, load
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import ENGINES
from benchmark.training.evaluate import reestimate
from benchmark.training.loop import train
from benchmark.training.losses import LOSSES
from benchmark.training.optimizers import OPTIMIZERS
from benchmark.training.step import BatchOrder, StreamKeys, dropout_masks
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.norms import NORMALIZATIONS


@pytest.fixture(scope="module", autouse=True)
def deterministic():
    seeding.make_deterministic()


@pytest.fixture(params=[pretend_gpu.NAME, CUDA])
def device(request):
    return torch.device(request.param, 0)


@pytest.fixture(scope="module")
def data_of():
    """A function: the data of a case, on a device."""
    made = {}

    def get(case, device):
        key = case.image_shape, device
        if key not in made:
            made[key] = data_on(make_data(shape=case.image_shape), device)
        return made[key]

    return get


@pytest.mark.parametrize("case", CASES + OTHERS, ids=str)
def test_numbers_are_the_cpus(case, data_of, device, tmp_path):
    check_numbers(case, data_of, device, tmp_path)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("case", CASES[::3] + OTHERS[::2], ids=str)
def test_steps_do_not_wait_for_the_device(case, engine, data_of, device, tmp_path):
    """Nothing is read back while an engine advances, nor copied there, so the host can run ahead."""
    check_steps(case, data_of(case, device), engine_on(engine, device), device, tmp_path)


@pytest.mark.parametrize("case", CASES[1::4] + OTHERS[1::3], ids=str)
def test_evaluations_copy_nothing_and_read_little(case, data_of, device, tmp_path):
    check_evaluations(case, data_of(case, device), device, tmp_path)


def test_a_score_is_one_read_and_re_estimation_none(data_of, device, tmp_path):
    data = data_of(BATCH, device)
    replica = replica_of(BATCH.trial(), data, tmp_path)
    tensors = dict(replica.network.named_parameters()) | dict(replica.network.named_buffers())
    with waits(device) as found:
        tensors = reestimate(replica.network, tensors, data.reestimation, 16)
    assert found == []
    with waits(device) as found:
        score(replica.network, tensors, data.validation, data.clean_train, loss=BATCH.trial().loss)
    assert len(found) == 1


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("case", CASES[::5] + OTHERS[2:5:2], ids=str)
def test_every_engine_steps_as_eager_does(case, engine, data_of, device, tmp_path):
    """One step from the same state: the update within 1e-5 of its norm, row by row."""
    engine = engine_on(engine, device)
    data, trials = data_of(case, device), rows_for(case, engine)
    population = population_of(trials, data, tmp_path / "own")
    before = population.state.parameters.clone()
    engine.advance(population, 1)
    for position, trial in enumerate(trials):
        alone = population_of([trial], data, tmp_path / "eager")
        ENGINES["eager"].advance(alone, 1)
        update = alone.state.parameters[0] - before[position]
        difference = population.state.parameters[position] - alone.state.parameters[0]
        assert float(difference.norm()) <= 1e-5 * float(update.norm())


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_the_same_trials_twice_are_equal_to_the_bit(engine, data_of, device, tmp_path):
    engine = engine_on(engine, device)
    trials, data = rows_for(BATCH, engine), data_of(BATCH, device)
    runs = [everything(trials, data, engine, tmp_path / name) for name in ("once", "twice")]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_a_trial_that_was_killed_goes_on_to_the_same_numbers(engine, data_of, device, tmp_path):
    engine = engine_on(engine, device)
    trials, data = rows_for(BATCH, engine), data_of(BATCH, device)
    first = train(
        trials,
        data,
        lambda trial: Checkpoints(tmp_path / trial.hash),
        checkpoint_every_s=0.0,
        engine=engine,
    )
    for _ in range(3 * len(trials)):
        next(first)
    first.close()
    assert (tmp_path / trials[0].hash / "progress.pt").exists()
    saved = torch.load(tmp_path / trials[0].hash / "progress.pt", map_location=device)["state"]
    assert saved["parameters"].device == device
    again = everything(trials, data, engine, tmp_path)
    assert again == everything(trials, data, engine, tmp_path / "whole")


@pytest.mark.parametrize("engine", [e for e in ENGINES.values() if e.max_rows > 1], ids=lambda e: e.name)
def test_rows_of_trials_that_end_are_taken_by_others(engine, data_of, device, tmp_path):
    """Two at once of five, two of which diverge: each ends, and twice alike."""
    engine, data = engine_on(engine, device), data_of(BATCH, device)
    rates = (0.05, 1e30, 0.02, 1e30, 0.03)
    trials = [BATCH.trial(seed=seed, learning_rate=rate) for seed, rate in enumerate(rates)]

    def run(name):
        waiting = deque(trials)

        def more(room):
            return [waiting.popleft() for _ in range(min(room, len(waiting)))]

        found = {trial.hash: [] for trial in trials}
        where = tmp_path / name
        for event in train(more(2), data, lambda t: Checkpoints(where / t.hash), more, 2, engine=engine):
            found[event.trial.hash].append(event.content)
        return [numbers_of(contents) for contents in found.values()]

    once = run("once")
    assert ["diverged" in contents[-1] for contents in once] == [rate == 1e30 for rate in rates]
    assert once == run("twice")


def test_random_numbers_are_equal_to_the_bit(device):
    keys = [StreamKeys.of(3, where) for where in (torch.device("cpu"), device)]
    # 20 steps of 64 from the 10th on, of 1000 images: across an epoch's end.
    orders = [BatchOrder(key.order, 1000, 64).batches(10, 20).cpu() for key in keys]
    assert torch.equal(*orders)
    draws = [seeding.uniform(key.augmentation, 7, (64, 4)).cpu() for key in keys]
    assert torch.equal(*draws)


def test_initial_weights_and_dropout_masks_are_equal_to_the_bit(data_of, device, tmp_path):
    replicas = [
        replica_of(BATCH.trial(), data_of(BATCH, where), tmp_path) for where in (torch.device("cpu"), device)
    ]
    assert torch.equal(*(replica.state.parameters.cpu() for replica in replicas))
    masks = [
        dropout_masks(replica.network, 32, replica.row().keys.dropout, replica.state.step + 5)
        for replica in replicas
    ]
    for ours, theirs in zip(*masks, strict=True):
        assert torch.equal(ours, theirs.cpu())


def test_data_live_on_the_device(device, tmp_path):
    data = load(DataSpec(dataset="digits"), device, tmp_path)
    for split in (data.train, data.validation, data.test, data.clean_train, data.reestimation):
        assert split.images.device == split.labels.device == split.offset.device == device
        assert split.images.dtype == torch.uint8


def test_the_plan_is_measured_on_the_device(data_of, device):
    seconds = measure(make_study(network={"blocks": 2}), data_of(BATCH, device))
    assert set(seconds) == set(STAGES)
    assert all(0 < value < math.inf for value in seconds.values())


def test_every_entry_is_in_some_case():
    assert {case.normalization for case in CASES} == set(NORMALIZATIONS)
    assert {case.activation for case in CASES} == set(ACTIVATIONS)
    assert {case.optimizer["name"] for case in CASES} == set(OPTIMIZERS)
    assert {case.loss["name"] for case in CASES} == set(LOSSES)
