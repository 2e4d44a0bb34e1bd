"""A study on several machines: Ray's, each of which is a process of this one."""

import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest
from running import NARROW, Left, Process, main_of

pytestmark = [
    pytest.mark.team,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]
RUN = (
    *("run", "smoke", *NARROW, "--set", "execution.engine=eager"),
    *("--set", "execution.checkpoint_every_s=0.001"),
)
LOCAL = ("--set", "execution.workers=1")


@pytest.fixture(scope="module")
def local(new_folder):
    """The study, trial after trial in this process."""
    folder = new_folder("local")
    code, _, errors = main_of("benchmark", folder, *RUN, *LOCAL)
    assert code == 0, errors
    return Left(folder)


@pytest.fixture(scope="module")
def cluster():
    """A head that trains nothing, and two machines of one core."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.machines = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made
    made.shutdown()


def raylet_of(machine):
    return machine.all_processes["raylet"][0].process.pid


def workers_of(machine):
    """The numbers of the processes that train there."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name, status = (path / "cmdline").read_text(), (path / "status").read_text()
        except OSError:
            continue  # it has ended
        if name.startswith("ray::_Actor") and f"PPid:\t{raylet_of(machine)}\n" in status:
            yield int(path.name)


@pytest.fixture(scope="module")
def spread(cluster, new_folder):
    """A study of which a worker is killed, and a machine, as another joins; Ctrl-C; run to its end."""
    left, seen = Left(new_folder("spread")), {}
    on_ray = ("--set", "execution.executor=ray", "--set", f"execution.address={cluster.address}")
    process = Process(left.folder, *RUN, *on_ray)
    process.wait_until(lambda: left.num_checkpoints() >= 4)
    (worker,) = workers_of(cluster.machines[0])
    os.kill(worker, signal.SIGKILL)
    process.wait_until(lambda: "its worker process on" in process.stderr)
    num_done = left.num_checkpoints()
    process.wait_until(lambda: left.num_checkpoints() > num_done)
    os.kill(raylet_of(cluster.machines[1]), signal.SIGKILL)
    cluster.machines.append(cluster.add_node(num_cpus=1))
    process.wait_until(lambda: "confirm:" in process.stderr)
    seen["interrupt_s"] = process.interrupt()
    seen["first"] = process.wait(), process.stderr
    deadline = time.monotonic() + 30
    while any(list(workers_of(cluster.machines[number])) for number in (0, 2)):
        assert time.monotonic() < deadline, "workers are still there"
        time.sleep(0.1)
    seen["after interrupt"] = left.run_statuses("trial")
    process = Process(left.folder, *RUN, *on_ray)
    seen["second"] = process.wait(600.0), process.stderr
    return left, seen


def test_every_trial_is_there_once_with_the_numbers_of_one_process(spread, local):
    left, seen = spread
    code, stderr = seen["second"]
    assert code == 0, stderr
    assert left.trials() == local.trials()
    assert left.repeated_steps() == []
    assert set(left.trial_hashes().values()) == {1}
    for kind in ("study", "variant", "trial"):
        assert set(left.run_statuses(kind)) == {"FINISHED"}
    assert left.artifact("decisions.json") == local.artifact("decisions.json")


def test_what_was_lost_is_said_in_a_line_each(spread):
    _, seen = spread
    code, stderr = seen["first"]
    assert code == 130
    assert "Traceback" not in stderr
    assert stderr.count("its worker process on") == 1
    assert stderr.count(", trying again: its machine") == 1
    assert stderr.count("Ray: 1 workers on") == 3  # the third had joined


def test_an_interruption_loses_nothing(spread):
    _, seen = spread
    assert seen["interrupt_s"] < 15.0
    assert "RUNNING" not in seen["after interrupt"]
