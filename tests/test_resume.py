"""A study that is killed again and again gives the numbers of one that is not, and records nothing twice."""

import time

import pytest
from running import NARROW, Left, Process, main_of

# Each trial's progress saved at every evaluation: as many ways to be cut short as there are.
RUN = (
    *("run", "smoke", *NARROW, "--set", 'variants.normalizations=["batch"]'),
    *("--set", "execution.checkpoint_every_s=0.001", "--set", "execution.engine=fused"),
)
ONE = ("--set", "execution.workers=1")
TWO = ("--set", "execution.workers=2")


@pytest.fixture(scope="module")
def whole(new_folder):
    """The same study, uninterrupted, its trials one by one in this process."""
    folder = new_folder("whole")
    code, _, stderr = main_of("benchmark", folder, *RUN, *ONE)
    assert code == 0, stderr
    return Left(folder)


@pytest.fixture(scope="module")
def killed(new_folder):
    """A study killed during its sweep, killed while it confirms, stopped by Ctrl-C, and run to its end."""
    folder = new_folder("killed")
    left, seen = Left(folder), {}

    process = Process(folder, *RUN, *TWO)
    process.wait_until(lambda: left.num_checkpoints() >= 4)
    process.kill(group=False)
    deadline = time.monotonic() + 20.0
    while process.has_orphans() and time.monotonic() < deadline:
        time.sleep(0.1)
    seen["orphans"] = process.has_orphans()
    seen["running after kill"] = left.run_statuses("study")

    process = Process(folder, *RUN, *ONE)
    process.wait_until(lambda: "study smoke on cpu" in process.stderr)  # it has the lock, and imports MLflow
    seen["second"] = main_of("benchmark", folder, *RUN)
    process.wait_until(lambda: "confirm:" in process.stderr and left.num_checkpoints("progress.pt"))
    process.kill(group=True)
    seen["unfinished"] = left.num_checkpoints("progress.pt")

    process = Process(folder, *RUN, *TWO)
    process.wait_until(lambda: "confirm:" in process.stderr)
    num_done = left.num_checkpoints()
    process.wait_until(lambda: left.num_checkpoints() > num_done)
    seen["interrupt_s"] = process.interrupt()
    seen["interrupted"] = process.wait(), process.stderr
    seen["runs after interrupt"] = {kind: left.run_statuses(kind) for kind in ("study", "variant", "trial")}
    seen["wall_time_s"] = left.artifact("progress.json")["wall_time_s"]

    process = Process(folder, *RUN, *ONE)
    seen["code"] = process.wait(), process.stderr
    return left, seen


def test_it_ends_well(killed):
    _, seen = killed
    code, stderr = seen["code"]
    assert code == 0, stderr


def test_numbers_are_those_of_an_uninterrupted_run(killed, whole):
    """Nor do they depend on whether trials ran side by side in workers or one by one in the runner."""
    left, seen = killed
    assert left.trials() == whole.trials()
    assert seen["unfinished"]  # some trial went on from a checkpoint in its middle
    for name in ("decisions.json", "study.json", "schema.json"):
        ours, theirs = left.artifact(name), whole.artifact(name)
        assert ours == theirs


def test_nothing_is_recorded_twice(killed):
    left, _ = killed
    assert left.repeated_steps() == []
    assert set(left.trial_hashes().values()) == {1}
    assert sum(left.run_statuses("study").values()) == 1
    assert sum(left.run_statuses("variant").values()) == 1


def test_nothing_stays_running(killed, whole):
    left, seen = killed
    assert seen["running after kill"] == {"RUNNING": 1}
    for kind in ("study", "variant", "trial"):
        assert set(left.run_statuses(kind)) == {"FINISHED"}
        assert "RUNNING" not in seen["runs after interrupt"][kind]
    assert seen["runs after interrupt"]["study"] == {"KILLED": 1}
    rates = left.rates()
    assert rates.keys() <= {"COMPLETE", "FAIL"}
    assert rates["COMPLETE"] == whole.rates()["COMPLETE"]


def test_workers_end_with_a_killed_runner(killed):
    _, seen = killed
    assert not seen["orphans"]


def test_a_second_runner_is_refused_in_one_line(killed):
    _, seen = killed
    code, _, stderr = seen["second"]
    assert code == 2
    assert stderr.count("\n") == 1
    assert stderr.startswith("error: study 'smoke' is being run by another process")


def test_interrupting_says_how_to_go_on(killed):
    _, seen = killed
    code, stderr = seen["interrupted"]
    assert code == 130
    assert seen["interrupt_s"] < 10.0
    assert "Traceback" not in stderr
    command = stderr.strip().splitlines()[-1].partition("To go on: ")[2]
    assert command.split() == ["python", "-m", "benchmark", "run", "smoke", *command.split()[5:]]
    assert {"network.width=3", "execution.workers=2", "--device", "cpu"} <= set(command.split())


def test_wall_time_is_that_of_all_sessions(killed):
    left, seen = killed
    assert left.artifact("progress.json")["wall_time_s"] > seen["wall_time_s"] > 0.0
