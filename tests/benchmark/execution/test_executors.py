"""Where trials run must not change what they compute, and no trial may take another down."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from breaking import BreaksAt
from made_trials import make_study, make_trial, numbers_of

from benchmark.base.environment import device_name
from benchmark.data.datasets import DataSpec
from benchmark.execution.choice import num_workers, open_executor
from benchmark.execution.executor import WorkerSetup
from benchmark.execution.in_process import InProcess
from benchmark.execution.workers import Workers
from benchmark.training.events import Evaluation, Failure, Outcome

DATA = DataSpec(dataset="digits")
STUDY = make_study(
    network={"width": 3},
    budget={"num_steps": 50, "eval_every": 25},
    probes={"enabled": ["gradients", "activations"]},
)
ENDLESS = make_study(budget={"num_steps": 1_000_000, "eval_every": 1, "confirm_eval_every": 1})
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return WorkerSetup(
        DATA, "cpu", tmp_path_factory.mktemp("mlruns"), checkpoint_every_s=1000.0, engine="eager"
    )


@pytest.fixture(scope="module")
def workers(setup):
    with Workers(setup, 2) as executor:
        yield executor


def collect(executor, trials):
    """Run trials to their ends: what each produced."""
    found, ended = {}, set()
    for trial in trials:
        executor.submit([trial])
    while not ended >= {trial.hash for trial in trials}:
        for event in executor.events():
            found.setdefault(event.trial.hash, []).append(event.content)
            if not isinstance(event.content, Evaluation):
                ended.add(event.trial.hash)
    return [found[trial.hash] for trial in trials]


def test_the_numbers_do_not_depend_on_where_a_trial_runs(setup, workers, tmp_path):
    trials = [
        make_trial(STUDY, variant, learning_rate=rate, seed=seed)
        for variant in ("none-relu", "batch-relu")
        for rate, seed in ((0.1, 0), (1e6, 1))
    ]
    side_by_side = collect(workers, trials)
    here = WorkerSetup(DATA, "cpu", tmp_path, checkpoint_every_s=1000.0, engine="eager")
    with InProcess(here) as executor:
        one_by_one = collect(executor, trials[::-1])[::-1]
    assert [numbers_of(contents) for contents in side_by_side] == [numbers_of(c) for c in one_by_one]
    assert {contents[-1].status for contents in side_by_side} >= {"trained", "diverged"}
    for trial in trials:
        assert sorted(os.listdir(tmp_path / "checkpoints" / trial.hash)) == ["best.pt", "last.pt"]


def test_a_trials_progress_knows_its_machine(setup, monkeypatch):
    """So that it is not gone on with on another, or with other kernels, under another name of the study."""
    trial = make_trial(STUDY)
    machine = setup._checkpoints(trial)._machine
    assert torch.__version__ in machine
    assert device_name(torch.device("cpu")) in machine
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert setup._checkpoints(trial)._machine == f"{machine}, oneDNN SSE41"


def unbuildable():
    return make_trial(STUDY, "nonsense-relu")


def test_a_trial_that_raises_is_a_failure_and_others_go_on(workers, setup):
    for executor in (workers, InProcess(setup)):
        failed, done = collect(executor, [unbuildable(), make_trial(STUDY, seed=2)])
        (failure,) = failed
        assert isinstance(failure, Failure)
        assert "'nonsense'" in failure.message
        assert failure.details.startswith("Traceback")
        assert isinstance(done[-1], Outcome)


def test_a_killed_worker_is_a_failure_and_others_go_on(workers):
    trials = [make_trial(ENDLESS, seed=0), make_trial(ENDLESS, seed=1)]
    for trial in trials:
        workers.submit([trial])
    killed = False
    survivor_went_on = 0
    failure = None
    deadline = time.monotonic() + TIMEOUT_S
    while (failure is None or survivor_went_on < 3) and time.monotonic() < deadline:
        for event in workers.events():
            if isinstance(event.content, Failure):
                failure = event
            elif failure is not None and event.trial.hash != failure.trial.hash:
                survivor_went_on += 1
        if not killed:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
            killed = True
    assert failure.content.message == "its worker process died with exit code -9"
    assert survivor_went_on == 3
    (again,) = collect(workers, [make_trial(STUDY, seed=3)])  # by a worker hired in its place
    assert isinstance(again[-1], Outcome)


def test_leaving_ends_the_workers(setup):
    before = set(multiprocessing.active_children())
    with Workers(setup, 1) as executor:
        executor.submit([make_trial(ENDLESS)])
        (process,) = set(multiprocessing.active_children()) - before
        assert process.is_alive()
    assert process.exitcode == -signal.SIGKILL


def test_how_many_run_side_by_side(monkeypatch, setup):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert num_workers(asked=0, threads=1, device="cpu") == 8
    assert num_workers(asked=0, threads=3, device="cpu") == 2
    assert num_workers(asked=0, threads=16, device="cpu") == 1
    assert num_workers(asked=0, threads=1, device="cuda") == 1
    assert num_workers(asked=5, threads=1, device="cuda") == 5
    assert isinstance(open_executor(setup, 1), InProcess)
    assert open_executor(setup, 2).capacity == 2
    on_a_gpu = open_executor(replace(setup, device="cuda:1"), 1)  # in a process of its own all the same
    assert isinstance(on_a_gpu, Workers)
    assert on_a_gpu.capacity == 1


@pytest.mark.parametrize("group_size", [1, 2])
def test_a_process_whose_device_broke_runs_no_other_trial(setup, group_size):
    """It is replaced, and a trial that waited for it does not fail with it."""
    broken = BreaksAt(DATA, "cpu", setup.folder, 1000.0, "eager", bad_seed=13)
    group = [make_trial(STUDY, seed=seed) for seed in (13, 14)[:group_size]]
    waiting = make_trial(STUDY, seed=15)
    before = set(multiprocessing.active_children())
    with Workers(broken, 1) as executor:
        executor.submit(group)
        executor.submit([waiting])
        (first,) = set(multiprocessing.active_children()) - before
        found = {}
        while waiting.hash not in found or isinstance(found[waiting.hash], Evaluation):
            found |= {event.trial.hash: event.content for event in executor.events()}
        assert first not in multiprocessing.active_children()
    for trial in group:
        assert found[trial.hash].broke_device
        assert found[trial.hash].message.startswith("AcceleratorError: CUDA error: an illegal memory access")
    assert isinstance(found[waiting.hash], Outcome)


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("a CUDA error: of other making"), False),
    ],
)
def test_which_errors_are_a_devices_own(error, broken, setup, monkeypatch):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("benchmark.execution.executor.train", fail)
    (event,) = setup.run([make_trial(STUDY)], None)
    assert event.content.broke_device is broken
