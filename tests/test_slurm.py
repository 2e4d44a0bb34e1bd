"""The Slurm script, with a Slurm that runs everything here."""

import importlib.util
import os
import socket
import subprocess
import sys

import pytest
from running import REPOSITORY, TINY, Left

SCRIPT = REPOSITORY / "deploy" / "slurm.sh"
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == -w ]] && shift; shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames made[1-2]" ]] && printf 'made1\\nmade2\\n'
"""

RAY = f"""#!{sys.executable}
import os, socket, sys, time
with open("said", "a") as said:
    print("ray", os.environ.get("RAY_AUTH_MODE"), *sys.argv[1:], file=said)
if sys.argv[1] == "start":
    if "--head" in sys.argv:
        one = socket.create_server(("", int(os.environ["RAY_PORT"])))
    time.sleep(60)
"""
PYTHON = """#!/bin/bash
sleep 1  # the other node's Ray is starting
echo "python $*" >> said
exit 7
"""


def free_port():
    with socket.socket() as one:
        one.bind(("", 0))
        return one.getsockname()[1]


@pytest.fixture
def slurm(tmp_path):
    """The environment of a job on two nodes of one core each."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return kept | {
        "HOME": str(tmp_path),  # which gets a token of Ray's
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SLURM_JOB_NODELIST": "made[1-2]",
        "SLURM_CPUS_ON_NODE": "1",
        "RAY_PORT": str(free_port()),
        "VENV": sys.prefix,
    }


@pytest.mark.team
@pytest.mark.xdist_group("ray")
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_study_runs_on_all_nodes_of_a_job(slurm, new_folder):
    folder = new_folder("slurm")
    (folder / "tiny.toml").write_text(TINY)
    done = subprocess.run(
        ["bash", SCRIPT, "tiny.toml", "--device", "cpu"],
        cwd=folder,
        env=slurm,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left = Left(folder)
    assert left.run_statuses("trial") == {"FINISHED": 10}
    assert "study tiny: all trials done" in done.stderr
    with pytest.raises(OSError, match="refused"):  # Ray has ended with the job
        socket.create_connection(("127.0.0.1", int(slurm["RAY_PORT"])), timeout=5)


def test_the_head_starts_first_and_the_runner_is_told_where(slurm, tmp_path):
    """With a Ray and a runner that only say how they were called."""
    (tmp_path / "bin").mkdir()
    for name, text in (("ray", RAY), ("python", PYTHON)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["bash", SCRIPT, "tiny", "--device", "cpu"],
        cwd=tmp_path,
        env=slurm | {"VENV": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr  # the runner's
    token, head, other, run = (tmp_path / "said").read_text().splitlines()
    assert token == "ray None get-auth-token --generate"
    address = run.rpartition("=")[2]
    host, _, port = address.rpartition(":")
    assert port == slurm["RAY_PORT"]
    assert head.startswith(f"ray token start --head --node-ip-address={host} --port={port} ")
    assert other.startswith(f"ray token start --address={address} --num-cpus=1 ")
    keys = f"--set execution.executor=ray --set execution.address={address}"
    assert run == f"python -m benchmark run tiny --device cpu {keys}"
    with pytest.raises(OSError, match="refused"):  # Ray has ended with the job
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)


def test_without_a_study_it_says_how_it_is_used(slurm):
    done = subprocess.run(["bash", SCRIPT], env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "usage: sbatch [options of Slurm] deploy/slurm.sh STUDY [options of run]\n"
