"""What only a real GPU can show, beside `test_gpu`. Skipped, with its reason, where there is none."""

import gc
import math

import pytest
import torch
from gpu_checks import CUDA, everything
from made_trials import data_on, make_data, make_study, make_trial, numbers_of, run_trial
from running import NARROW, main_of

from benchmark.base import seeding
from benchmark.base.environment import describe_environment
from benchmark.data.datasets import DataSpec
from benchmark.execution.choice import open_executor
from benchmark.execution.executor import Group, WorkerSetup
from benchmark.execution.in_process import InProcess
from benchmark.execution.workers import Workers
from benchmark.training.engines import ENGINES
from benchmark.training.events import Evaluation, Failure, Outcome

pytestmark = CUDA.marks
DEVICE = "cuda"
SMOKE = ("smoke", *NARROW[:2], "--device", "cuda:0")
STUDY = make_study(
    data={"augmentation": {}},
    network={"blocks": 3, "width": 12, "dropout": 0.15},
    probes={"enabled": ["gradients", "activations"]},
    budget={"num_steps": 50, "eval_every": 25},
)
NOTEBOOK = make_study(
    data={"augmentation": {}},
    network={"blocks": 5, "width": 60, "dropout": 0.15},
    budget={"num_steps": 50, "batch_size": 64, "eval_every": 25},
)


@pytest.fixture(scope="module", autouse=True)
def deterministic():
    seeding.make_deterministic()


@pytest.fixture
def setup(tmp_path):
    return WorkerSetup(DataSpec(dataset="digits"), DEVICE, tmp_path, checkpoint_every_s=1000.0)


def ends_of(executor, trials):
    """Run trials, each a group: what each ended with, and its numbers."""
    found = {trial.hash: [] for trial in trials}
    for trial in trials:
        executor.submit(Group((trial,), 1))
    while any(not found[key] or isinstance(found[key][-1], Evaluation) for key in found):
        for event in executor.events():
            found[event.trial.hash].append(event.content)
    return list(found.values())


def test_smoke_runs_and_its_plan_is_measured(new_folder):
    folder = new_folder("cuda")
    code, out, errors = main_of("benchmark", folder, "plan", *SMOKE)
    assert code == 0, errors
    assert "on cuda:0, 1 side by side" in out
    code, _, errors = main_of("benchmark", folder, "run", *SMOKE)
    assert code == 0, errors
    assert f"study smoke on cuda:0 ({torch.cuda.get_device_name(0)})" in errors


def test_what_drives_the_device_is_known():
    document = describe_environment(torch.device(DEVICE)).document()
    assert document["driver"]
    assert document["cuda_runtime"] == torch.version.cuda
    assert document["cudnn"] == torch.backends.cudnn.version()


def test_two_workers_give_the_numbers_of_one(setup):
    trials = [
        make_trial(STUDY, variant, seed=seed) for variant in ("none-relu", "batch-relu") for seed in (0, 1)
    ]
    with open_executor(setup, 1) as executor:
        assert isinstance(executor, Workers)
        alone = ends_of(executor, trials)
    with open_executor(setup, 2) as executor:
        together = ends_of(executor, trials)
    assert [numbers_of(contents) for contents in together] == [numbers_of(contents) for contents in alone]
    assert all(isinstance(contents[-1], Outcome) for contents in alone)


@pytest.mark.parametrize("engine", ENGINES)
def test_out_of_memory_fails_one_trial_and_the_next_ones_run(engine, setup):
    """In one process, whose share of the device's memory is small: it is not broken by that."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(256 * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    large = make_study(network={"blocks": 3, "width": 240}, budget={"batch_size": 1024})
    try:
        trials = [make_trial(study, engine=engine) for study in (large, STUDY)]
        (*_, failed), (*_, ended) = ends_of(InProcess(setup), trials)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert isinstance(failed, Failure)
    assert failed.message.startswith("OutOfMemoryError")
    assert failed.out_of_memory
    assert not failed.broke_device
    assert isinstance(ended, Outcome)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("variant", ["none-relu", "batch-relu"])
def test_the_notebooks_network_twice_is_equal_to_the_bit(variant, engine, tmp_path):
    """At its own size, for which cuDNN has several algorithms, and across the ends of epochs."""
    data = data_on(make_data(shape=(3, 32, 32), num_train=500), torch.device(DEVICE))
    trials = [
        make_trial(NOTEBOOK, variant, learning_rate=0.01, seed=seed)
        for seed in range(min(engine.max_rows, 4))
    ]
    once, twice = (everything(trials, data, engine, tmp_path / name) for name in ("once", "twice"))
    assert once == twice


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_does_not_grow(engine, tmp_path):
    data = data_on(make_data(), torch.device(DEVICE))
    used = []
    for seed in range(4):
        evaluations, _ = run_trial(make_trial(STUDY, seed=seed, engine=engine), data, tmp_path / str(seed))
        assert all(math.isfinite(evaluation.row["val_loss"]) for evaluation in evaluations)
        del evaluations
        gc.collect()
        used.append(torch.cuda.memory_allocated())
    assert used[-1] <= used[1]
