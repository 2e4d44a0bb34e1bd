"""Nothing phones home: no address beyond this machine is asked for, and telemetry is switched off by us."""

import os
import subprocess
import sys
from pathlib import Path

WATCH = """
import os, socket, sys

asked = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            asked.append((event, address))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        if arguments[0] not in (None, "", b"", "127.0.0.1", "::1", "localhost", socket.gethostname()):
            asked.append((event, arguments[0]))

sys.addaudithook(watch)
"""
USE = """
import benchmark.__main__, analysis.__main__
words = ["tiny.toml", "--device", "cpu", "--set", "execution.engine=eager", "--set", "budget.num_steps=2"]
words += ["--set", "budget.eval_every=2", "--set", "budget.confirm_eval_every=2"]
assert benchmark.__main__.main(["run", *words]) == 0
assert analysis.__main__.main(["claims", "tiny"]) == 0
import mlflow, optuna, seaborn, torch
assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == os.environ["DO_NOT_TRACK"] == "true"
assert not asked, asked
"""
CONTROL = """
try:
    socket.create_connection(("192.0.2.1", 9), timeout=0.01)
except OSError:
    pass
assert asked, "nothing was noticed"
"""


def in_a_process(code, folder):
    """Run it without what the user's environment may have said to MLflow, and with what Jupyter says."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_TRACKING_URI")
    }
    environment |= {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCH + code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_an_address_elsewhere_is_noticed(tmp_path):
    in_a_process(CONTROL, tmp_path)


def test_a_study_and_its_verdicts_ask_no_address_elsewhere(new_folder):
    """In a folder whose name a URL would decode, and under a backend that Jupyter names and is not here."""
    from running import TINY

    folder = new_folder("a%20b")
    (folder / "tiny.toml").write_text(TINY)
    in_a_process(USE, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["mlruns", "tiny.toml"]
