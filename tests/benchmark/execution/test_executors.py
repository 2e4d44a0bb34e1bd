"""Where trials run must not change what they compute, and no trial may take another down."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from breaking import NUM_EVALUATIONS, BreaksAt, Talks
from made_trials import make_study, make_trial, numbers_of

from benchmark.base.environment import device_name
from benchmark.data.datasets import DataSpec
from benchmark.execution.choice import num_workers, open_executor
from benchmark.execution.executor import Group, WorkerSetup
from benchmark.execution.in_process import InProcess
from benchmark.execution.workers import Workers
from benchmark.training.events import Evaluation, Event, Failure, Outcome

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
    return WorkerSetup(DATA, "cpu", tmp_path_factory.mktemp("mlruns"), checkpoint_every_s=1000.0)


@pytest.fixture(scope="module")
def workers(setup):
    with Workers(setup, 2) as executor:
        yield executor


def alone(trial):
    return Group((trial,), 1)


def collect(executor, trials):
    """Run trials to their ends, each by itself: what each produced."""
    found, ended = {}, set()
    for trial in trials:
        executor.submit(alone(trial))
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
    here = WorkerSetup(DATA, "cpu", tmp_path, checkpoint_every_s=1000.0)
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


def test_a_group_larger_than_its_rows_is_trained_to_its_end(setup):
    """Rows that end, here one by divergence, are taken by those that wait."""
    rates = [0.1, 1e30, 0.03, 0.2, 0.05]
    trials = [
        make_trial(STUDY, learning_rate=rate, seed=seed, engine="fused") for seed, rate in enumerate(rates)
    ]
    data = setup.load()
    events = list(setup.run(Group(tuple(trials), 2), data))
    for trial in trials:
        found = [event.content for event in events if event.trial.hash == trial.hash]
        (setup.folder / "checkpoints" / trial.hash / "progress.pt").unlink(missing_ok=True)
        alone = [event.content for event in setup.run(Group((trial,), 1), data)]
        assert isinstance(found[-1], Outcome)
        assert numbers_of(found) == numbers_of(alone)
    order = [event.trial.seed for event in events if isinstance(event.content, Outcome)]
    assert order[0] == 1  # it diverges at its first evaluation, and the third begins while the first trains
    began = [event.trial.seed for event in events]
    assert began.index(2) < len(began) - 1 - began[::-1].index(0)


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
        workers.submit(alone(trial))
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


def test_a_lone_worker_does_not_wait_for_what_is_made_of_its_results(setup, tmp_path):
    """While nothing reads them, it ends its group, and the next."""
    talking = Talks(DATA, "cpu", tmp_path, 1000.0)
    trials = [make_trial(STUDY, seed=seed) for seed in (0, 1)]
    with Workers(talking, 1) as executor:
        for trial in trials:
            executor.submit(alone(trial))
        deadline = time.monotonic() + TIMEOUT_S
        while not (tmp_path / trials[1].hash).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        seen = []
        while len(seen) < 2 * (NUM_EVALUATIONS + 1):
            seen += executor.events()
    assert [event.trial for event in seen] == [trials[0]] * len(seen[::2]) + [trials[1]] * len(seen[::2])
    kinds = [type(event.content) for event in seen]
    assert kinds == [*[Evaluation] * NUM_EVALUATIONS, Outcome] * 2


def test_what_a_killed_worker_was_sent_ahead_is_trained_by_the_next(setup):
    endless, waiting = make_trial(ENDLESS, seed=2), make_trial(STUDY, seed=5)
    before = set(multiprocessing.active_children())
    with Workers(setup, 1) as executor:
        executor.submit(alone(endless))
        executor.submit(alone(waiting))
        next(executor.events())
        (process,) = set(multiprocessing.active_children()) - before
        os.kill(process.pid, signal.SIGKILL)
        found = {}
        while waiting.hash not in found or isinstance(found[waiting.hash], Evaluation):
            found |= {event.trial.hash: event.content for event in executor.events()}
    assert isinstance(found[endless.hash], Failure)
    assert isinstance(found[waiting.hash], Outcome)


def test_of_several_workers_none_is_sent_a_group_ahead(setup):
    """Where one ends before the other, it takes what waits."""
    trials = [make_trial(ENDLESS, seed=3), make_trial(STUDY, seed=6), make_trial(STUDY, seed=7)]
    with Workers(setup, 2) as executor:
        for trial in trials:
            executor.submit(alone(trial))
        assert [worker.next_group for worker in executor._workers] == [None, None]
        ended = set()
        while not ended >= {trial.hash for trial in trials[1:]}:
            ended |= {e.trial.hash for e in executor.events() if isinstance(e.content, Outcome)}


def test_leaving_ends_the_workers(setup):
    before = set(multiprocessing.active_children())
    with Workers(setup, 1) as executor:
        executor.submit(alone(make_trial(ENDLESS)))
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


@pytest.mark.parametrize("num_trials", [1, 2])
def test_a_process_whose_device_broke_runs_no_other_trial(setup, num_trials):
    """It is replaced, and a trial that waited for it does not fail with it."""
    broken = BreaksAt(DATA, "cpu", setup.folder, 1000.0, bad_seed=13)
    group = [make_trial(STUDY, seed=seed) for seed in (13, 14)[:num_trials]]
    waiting = make_trial(STUDY, seed=15)
    before = set(multiprocessing.active_children())
    with Workers(broken, 1) as executor:
        executor.submit(Group(tuple(group), 1))
        executor.submit(alone(waiting))
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
    ("error", "broke_device", "out_of_memory"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True, False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("a CUDA error: of other making"), False, False),
    ],
)
def test_which_errors_are_a_devices_own_and_which_of_memory(
    error, broke_device, out_of_memory, setup, monkeypatch
):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("benchmark.execution.executor.train", fail)
    (event,) = setup.run(alone(make_trial(STUDY)), None)
    assert event.content.broke_device is broke_device
    assert event.content.out_of_memory is out_of_memory


def test_where_a_cpu_has_no_memory_pytorch_says_so_in_its_own_way(setup, monkeypatch):
    def fail(*arguments, **options):
        torch.empty(2**50)

    monkeypatch.setattr("benchmark.execution.executor.train", fail)
    (event,) = setup.run(alone(make_trial(STUDY)), None)
    assert event.content.out_of_memory
    assert not event.content.broke_device


def test_a_group_gives_what_each_of_its_trials_gives_alone(setup, tmp_path):
    """Two at once; the others take the rows of those that end, or diverge."""
    rates = (0.1, 1e6, 0.03, 0.3, 0.01)
    trials = [
        make_trial(STUDY, learning_rate=rate, seed=seed, engine="fused") for seed, rate in enumerate(rates)
    ]
    data = setup.load()
    found = {trial.hash: [] for trial in trials}
    training, most = set(), 0
    for event in setup.run(Group(tuple(trials), 2), data):
        found[event.trial.hash].append(event.content)
        training.add(event.trial.hash)
        most = max(most, len(training))
        if not isinstance(event.content, Evaluation):
            training.discard(event.trial.hash)
    assert most == 2
    assert [contents[-1].status for contents in found.values()].count("diverged") == 1
    elsewhere = replace(setup, folder=tmp_path)
    for trial in trials:
        contents = [event.content for event in elsewhere.run(alone(trial), data)]
        assert isinstance(contents[-1], Outcome)
        assert numbers_of(found[trial.hash]) == numbers_of(contents)


def test_where_a_group_raises_those_that_have_ended_have_not_failed(setup, monkeypatch):
    trials = tuple(make_trial(STUDY, seed=seed) for seed in (20, 21, 22))

    def train(first, data, checkpoints, more, *arguments):
        yield Event(first[0], Outcome("trained", "trained", {}))
        yield Event(more(1)[0], Evaluation({}, []))
        raise ValueError("no")

    monkeypatch.setattr("benchmark.execution.executor.train", train)
    events = list(setup.run(Group(trials, 1), None))
    assert [event.trial for event in events] == [*trials[:2], *trials[1:]]
    kinds = [type(event.content) for event in events]
    assert kinds == [Outcome, Evaluation, Failure, Failure]
