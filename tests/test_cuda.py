"""What must hold on a GPU, and between it and the CPU. Skipped, with its reason, where there is none."""

import math

import pytest
import torch
from made_trials import make_study, make_trial
from running import NARROW, main_of

from benchmark.base import seeding
from benchmark.data.datasets import DataSpec, load
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.loop import TrialLoop
from benchmark.training.step import BatchOrder, Keys, dropout_masks, step

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
def loop_on(tmp_path):
    """A function that sets up the same trial on a device, with data of its own there."""

    def make(device, variant="batch-relu"):
        data = load(DataSpec(dataset="digits"), torch.device(device), tmp_path / "data")
        return TrialLoop(make_trial(STUDY, variant), data, Checkpoints(tmp_path / device))

    return make


def test_smoke_runs(new_folder):
    folder = new_folder("cuda")
    code, _, errors = main_of("benchmark", folder, "run", "smoke", *NARROW[:2], "--device", "cuda")
    assert code == 0, errors
    assert f"study smoke on cuda ({torch.cuda.get_device_name()})" in errors


def test_random_numbers_are_equal_to_the_bit():
    on_cpu, on_gpu = Keys.of(3, torch.device("cpu")), Keys.of(3, torch.device("cuda"))
    orders = [BatchOrder(keys.order, 1000, 64).batches(10, 20).cpu() for keys in (on_cpu, on_gpu)]
    assert torch.equal(*orders)
    draws = [seeding.uniform(keys.augmentation, 7, (64, 4)).cpu() for keys in (on_cpu, on_gpu)]
    assert torch.equal(*draws)


def test_dropout_masks_are_equal_to_the_bit(loop_on):
    masks = []
    for device in ("cpu", "cuda"):
        loop = loop_on(device)
        masks.append(dropout_masks(loop.network, 32, loop.keys.dropout, loop.state.step + 5))
    for ours, theirs in zip(*masks, strict=True):
        assert torch.equal(ours, theirs.cpu())


def test_initial_weights_are_equal_to_the_bit(loop_on):
    assert torch.equal(loop_on("cpu").state.parameters, loop_on("cuda").state.parameters.cpu())


@pytest.mark.parametrize("variant", ["none-relu", "batch-relu"])
def test_the_first_steps_agree_to_rounding(loop_on, variant):
    """Later ones need not: training amplifies a rounding error."""
    curves = []
    for device in ("cpu", "cuda"):
        events = loop_on(device, variant).run()
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


def test_steps_do_not_wait_for_the_device(loop_on):
    """As `_train_interval` takes them: nothing is read back, so the host can run ahead."""
    loop = loop_on("cuda")
    loop._warm_up()
    sums = torch.zeros(3, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in loop._order.batches(0, 20):
            sums += step(loop.problem, loop.state, index, loop.keys, loop.lr)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sums.isfinite().all()
    assert loop.state.step == 20


def test_data_live_on_the_device(loop_on):
    data = loop_on("cuda").data
    for split in (data.train, data.validation, data.test, data.clean_train, data.reestimation):
        assert split.images.device.type == split.labels.device.type == "cuda"
        assert split.images.dtype == torch.uint8
