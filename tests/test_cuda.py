"""What must hold on a GPU, and between it and the CPU. Skipped, with its reason, where there is none."""

import math

import pytest
import torch
from made_trials import contents_of, make_study, make_trial, replica_of
from running import NARROW, main_of

from benchmark.base import seeding
from benchmark.data.datasets import DataSpec, load
from benchmark.training.engines import ENGINES
from benchmark.training.population import Population
from benchmark.training.step import BatchOrder, StreamKeys, dropout_masks

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here"),
]

STUDY = make_study(
    data={"augmentation": {"flip": True, "zoom": [0.8, 1.2], "shear": 0.2}},
    probes={"enabled": ["gradients", "activations"]},
    budget={"num_steps": 50, "eval_every": 1, "confirm_eval_every": 1},
)


@pytest.fixture(scope="module", autouse=True)
def deterministic():
    seeding.make_deterministic()


@pytest.fixture
def data_on(tmp_path):
    """A function that brings the data to a device."""
    return lambda device: load(DataSpec(dataset="digits"), torch.device(device), tmp_path / "data")


@pytest.fixture
def replica_on(data_on, tmp_path):
    """A function that sets up the same trial on a device, with data of its own there."""
    return lambda device: replica_of(make_trial(STUDY), data_on(device), tmp_path / device)


def test_smoke_runs(new_folder):
    folder = new_folder("cuda")
    code, _, errors = main_of("benchmark", folder, "run", "smoke", *NARROW[:2], "--device", "cuda")
    assert code == 0, errors
    assert f"study smoke on cuda ({torch.cuda.get_device_name()})" in errors


def test_random_numbers_are_equal_to_the_bit():
    on_cpu, on_gpu = StreamKeys.of(3, torch.device("cpu")), StreamKeys.of(3, torch.device("cuda"))
    orders = [BatchOrder(keys.order, 1000, 64).batches(10, 20).cpu() for keys in (on_cpu, on_gpu)]
    assert torch.equal(*orders)
    draws = [seeding.uniform(keys.augmentation, 7, (64, 4)).cpu() for keys in (on_cpu, on_gpu)]
    assert torch.equal(*draws)


def test_dropout_masks_are_equal_to_the_bit(replica_on):
    masks = []
    for device in ("cpu", "cuda"):
        replica = replica_on(device)
        masks.append(dropout_masks(replica.network, 32, replica.row().keys.dropout, replica.state.step + 5))
    for ours, theirs in zip(*masks, strict=True):
        assert torch.equal(ours, theirs.cpu())


def test_initial_weights_are_equal_to_the_bit(replica_on):
    assert torch.equal(replica_on("cpu").state.parameters, replica_on("cuda").state.parameters.cpu())


@pytest.mark.parametrize("variant", ["none-relu", "batch-relu"])
def test_the_first_steps_agree_to_rounding(data_on, tmp_path, variant):
    """Later ones need not: training amplifies a rounding error."""
    curves = []
    for device in ("cpu", "cuda"):
        events = contents_of(make_trial(STUDY, variant), data_on(device), tmp_path / device)
        curves.append([next(events) for _ in range(4)])
        events.close()
    for ours, theirs in zip(*curves, strict=True):
        for name in ("train_loss", "gradient_norm", "parameter_norm", "val_loss", "clean_train_loss_ema"):
            expected = ours.row[name]
            if math.isnan(expected):
                assert math.isnan(theirs.row[name])
            else:
                assert theirs.row[name] == pytest.approx(expected, rel=1e-3), name
        for own, other in zip(ours.probes, theirs.probes, strict=True):
            assert other["value"] == pytest.approx(own["value"], rel=1e-2, abs=1e-4, nan_ok=True), own


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_steps_do_not_wait_for_the_device(replica_on, engine):
    """Nothing is read back while an engine advances, so the host can run ahead."""
    replica = replica_on("cuda")
    population = Population.of(replica.problem(), [replica.row()], [replica.state])
    engine.advance(population.clone(), 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.advance(population, 20)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert population.sums.isfinite().all()
    assert population.state.step.tolist() == [20]


def test_data_live_on_the_device(data_on):
    data = data_on("cuda")
    for split in (data.train, data.validation, data.test, data.clean_train, data.reestimation):
        assert split.images.device.type == split.labels.device.type == "cuda"
        assert split.images.dtype == torch.uint8
