"""Trials on Ray give the numbers that they give here, and none is lost with the process that trains it.

One Ray, of this machine alone, for all tests; `tests/team/test_ray.py` has clusters.
"""

import os
import signal
import time
from pathlib import Path

import pytest
from breaking import BROKEN, DIES, Elsewhere, Unlucky
from made_trials import make_data, make_study, make_trial, numbers_of

from benchmark.base import interruption
from benchmark.base.errors import InputError
from benchmark.data.datasets import DataSpec
from benchmark.data.shared import share
from benchmark.execution.chains import Scheduler
from benchmark.execution.choice import open_executor
from benchmark.execution.executor import WorkerSetup
from benchmark.execution.in_process import InProcess
from benchmark.execution.observer import Observer

DATA = DataSpec(dataset="digits")
STUDY = make_study(
    network={"width": 3},
    budget={"num_steps": 50, "eval_every": 25},
    probes={"enabled": ["gradients", "activations"]},
)
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module", autouse=True)
def ray():
    """Ray's package: here, for it takes seconds to import."""
    return pytest.importorskip("ray")


def on_ray(setup, address="auto", asked=0, threads=1, note=print):
    from benchmark.execution.on_ray import OnRay

    return OnRay(setup, address, asked, threads, note)


def connect(address, workers=1):
    from benchmark.execution import ray_cluster

    ray_cluster.connect(address, "cpu", workers, 1)


@pytest.fixture(scope="module")
def started(ray):
    """Ray, with room for a worker beside the executor's; the handlers of signals before it."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    connect("", workers=3)
    yield before
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mlruns")


@pytest.fixture(scope="module")
def executor(started, folder):
    notes = []
    setup = Unlucky(DATA, "cpu", folder, checkpoint_every_s=0.0)
    with open_executor(setup, 2, kind="ray", note=notes.append) as executor:
        assert executor.capacity == 2
        yield executor
    assert [note.partition(" on ")[0] for note in notes] == ["Ray: 2 workers"]
    assert list(folder.glob(".runner-*")) == []


class Ear(Observer):
    """Keeps what each trial's last try produced, and which tries have failed."""

    def __init__(self):
        self.contents, self.failures, self.ended = {}, [], []

    def started(self, stage, trial):
        self.contents[trial.hash] = []

    def evaluated(self, trial, evaluation):
        self.contents[trial.hash].append(evaluation)

    def failed(self, trial, failure, *, again):
        self.failures.append((trial.seed, failure))

    def finished(self, trial, outcome):
        self.contents[trial.hash].append(outcome)
        self.ended.append(trial.hash)


def heard(executor, trials, rows=1):
    """What is told of trials that one chain asks for; each has two tries."""

    def chain():
        yield trials

    ear = Ear()
    Scheduler("sweep", executor, lambda stage, trial: None, [ear], 1, lambda trial: rows).run([chain()])
    return ear


def ran(executor, trials, rows=1):
    """The same of trials that come to a result."""
    ear = heard(executor, trials, rows)
    assert sorted(ear.ended) == sorted(trial.hash for trial in trials)  # every trial, once
    return ear


def check_numbers(ear, trials, folder):
    with InProcess(WorkerSetup(DATA, "cpu", folder, checkpoint_every_s=1000.0)) as here:
        alone = ran(here, trials)
    for trial in trials:
        assert numbers_of(ear.contents[trial.hash]) == numbers_of(alone.contents[trial.hash]), trial.name


def test_the_numbers_are_those_of_this_process(executor, folder, tmp_path):
    """Of trials by themselves, one of which diverges, and of rows of a population; what they leave, too."""
    trials = [
        make_trial(STUDY, variant, learning_rate=rate, seed=seed)
        for variant in ("none-relu", "batch-relu")
        for rate, seed in ((0.1, 0), (1e6, 1))
    ]
    ear = ran(executor, trials)
    assert ear.failures == []
    assert {contents[-1].status for contents in ear.contents.values()} >= {"trained", "diverged"}
    check_numbers(ear, trials, tmp_path)
    rows = [make_trial(STUDY, seed=seed, engine="fused") for seed in range(4)]
    check_numbers(ran(executor, rows, rows=2), rows, tmp_path)
    for trial in trials:
        assert sorted(os.listdir(folder / "checkpoints" / trial.hash)) == ["best.pt", "last.pt"]


def test_a_killed_worker_costs_a_try_and_no_trial(executor, tmp_path):
    """It goes on from its checkpoint, in a process of its own, beside others."""
    trials = [make_trial(STUDY, seed=seed) for seed in (DIES, 20, 21)]
    ear = ran(executor, trials)
    ((seed, failure),) = ear.failures
    assert seed == DIES
    assert "its worker process on " in failure.message
    assert not failure.lost_machine
    check_numbers(ear, trials, tmp_path)
    assert executor.capacity == 2


@pytest.mark.team
def test_a_process_whose_device_broke_runs_no_other_trial(executor):
    """Each try of that trial breaks one, and what comes next does not fail."""
    broken = make_trial(STUDY, seed=BROKEN)
    ear = heard(executor, [broken])
    assert [failure.broke_device for _, failure in ear.failures] == [True, True]
    assert ear.ended == []
    assert ran(executor, [make_trial(STUDY, seed=seed) for seed in (32, 33, 34)]).failures == []


def test_a_machine_of_another_kind_is_not_used(started, tmp_path):
    notes = []
    setup = Elsewhere(DATA, "cpu", tmp_path, 1000.0, runner=os.getpid())
    refused = pytest.raises(
        InputError, match="expected a machine with this model and 1 free CPU cores, found"
    )
    with refused as error, on_ray(setup, "", 1, note=notes.append):
        pass
    assert "\n" not in str(error.value)
    assert len(notes) == 2
    assert notes[1].endswith("is not used: expected this model, found another model")
    (pid,) = (int(path.name) for path in (tmp_path / "pids").iterdir())
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "its worker is still there"
        time.sleep(0.1)


def test_rays_handlers_of_signals_do_not_take_the_place_of_the_runners(started):
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == started


def test_who_waits_for_trials_can_be_interrupted(executor, monkeypatch):
    """Also where no event comes at which the scheduler would look."""
    monkeypatch.setattr(interruption, "_asked", True)
    with pytest.raises(KeyboardInterrupt):
        list(executor.events())


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:1", "nothing answers"), ("no-such-host.invalid:6379", "nothing answers")],
)
def test_an_address_where_nothing_answers_is_refused_at_once(address, said):
    began = time.monotonic()
    with pytest.raises(InputError, match=said) as error:
        connect(address)
    assert time.monotonic() - began < 10.0
    assert "\n" not in str(error.value)
    assert repr(address) in str(error.value)


def test_where_ray_is_not_installed_it_is_said_how(monkeypatch, folder):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="found it not installed: pip install ray"):
        open_executor(WorkerSetup(DATA, "cpu", folder, 1.0), 2, kind="ray")


def test_ray_says_which_gpu_a_trial_has(folder):
    with pytest.raises(InputError, match="use --device cuda"):
        on_ray(WorkerSetup(DATA, "cuda:1", folder, 1.0))


@pytest.mark.parametrize(
    ("device", "asked", "threads", "expected"),
    [
        ("cpu", 0, 1, 8),
        ("cpu", 0, 3, 2),
        ("cpu", 5, 1, 5),
        ("cpu", 5, 2, 4),  # no more than there are cores for
        ("cuda", 0, 1, 2),
        ("cuda", 3, 1, 6),
        ("cuda", 3, 2, 4),
    ],
)
def test_how_many_run_side_by_side_on_a_machine(folder, device, asked, threads, expected):
    executor = on_ray(WorkerSetup(DATA, device, folder, 1.0), asked=asked, threads=threads)
    assert executor._num_workers({"CPU": 8.0, "GPU": 2.0}) == expected
    assert executor._num_workers({"memory": 1.0}) == 0


@pytest.mark.parametrize("is_shared", [True, False])
def test_checkpoints_are_the_runners_where_its_folder_is_shared(tmp_path, is_shared):
    from benchmark.execution.on_ray import _Actor

    mark = tmp_path / "mark"
    if is_shared:
        mark.touch()
    actor = _Actor(WorkerSetup(DATA, "cpu", tmp_path, 1.0), share(make_data()), mark)
    assert (actor._setup.folder == tmp_path) is is_shared
    assert actor._setup.folder.is_absolute()
