"""Studies run through the command line, and what they left in their folder."""

import contextlib
import importlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

REPOSITORY = Path(__file__).parents[1]
TIMINGS = {"train_seconds", "examples_per_s", "probe_seconds"}
"""What differs between two runs of a trial that are otherwise equal to the bit."""

NARROW = ("--set", "network.width=3", "--device", "cpu")
"""For speed: what is tested here does not depend on the network's width."""

TINY = """
name = "tiny"
description = "One rate, ten trials: nothing is searched."

[variants]
activations = ["relu"]

[network]
blocks = 3
width = 3

[budget]
num_steps = 20
batch_size = 16
eval_every = 20
confirm_eval_every = 20

[search]
sampler = "fixed"
low = 0.1
high = 0.1
num_rates = 1

[seeds]
sweep = 5
confirm = 0

[execution]
workers = 1
"""
"""A study in a file."""


def main_of(package, folder, *words):
    """Run `python -m <package> <words>` in `folder`, but in this process: exit code, stdout, stderr."""
    main = importlib.import_module(f"{package}.__main__").main
    out, err = io.StringIO(), io.StringIO()
    # Said in full, because MLflow keeps the store that it once opened under a relative path.
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns/mlflow.db"}
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, store),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(words)
    return code, out.getvalue(), err.getvalue()


def make_unlucky(monkeypatch, seed):
    """Trials of this seed raise, in this process, until the patch is undone."""
    from benchmark.training import loop

    real = loop.Replica

    def sometimes_raising(trial, *arguments):
        if trial.seed == seed:
            raise ValueError(f"seed {seed} is unlucky")
        return real(trial, *arguments)

    monkeypatch.setattr(loop, "Replica", sometimes_raising)


@contextlib.contextmanager
def hearing_hangups():
    """Processes started meanwhile hear a terminal that closes, also where the tests themselves ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def wait_for_cpu(process, seconds):
    """Until a process has computed for so long, or has ended: on a busy machine that takes a while."""
    stat = Path(f"/proc/{process.pid}/stat")
    while process.poll() is None:
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        if (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") >= seconds:
            return
        time.sleep(0.01)


class Process:
    """`python -m benchmark <words>` in a process group of its own, working in `folder`.

    `stores`: environment variables that name others than the folder's.
    """

    def __init__(self, folder, *words, stores=None):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        for name in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE"):
            environment.pop(name, None)
        environment |= stores or {}
        self._errors = folder / f"stderr-{time.monotonic_ns()}.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmark", *words],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def stderr(self):
        return self._errors.read_text()

    def wait_until(self, condition, timeout_s=240.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self._process.poll() is None, f"ended with {self._process.returncode}: {self.stderr}"
            assert time.monotonic() < deadline, f"timed out: {self.stderr}"
            time.sleep(0.02)

    @property
    def pid(self):
        return self._process.pid

    def is_running(self):
        return self._process.poll() is None

    def wait(self, timeout_s=240.0):
        """Its exit code."""
        return self._process.wait(timeout_s)

    def kill(self, *, group):
        """kill -9 of its whole group; or of the runner alone, which its workers must notice."""
        if group:
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def interrupt(self):
        """Ctrl-C, which the terminal sends to the whole group; seconds until it has ended."""
        began = time.monotonic()
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(240.0)
        return time.monotonic() - began

    def has_orphans(self):
        """Whether a process of its group is left."""
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True


class Left:
    """What a study left in `folder`: its databases, read without the libraries that wrote them."""

    def __init__(self, folder):
        self.folder = folder

    def _rows(self, database, query):
        with contextlib.closing(sqlite3.connect(self.folder / "mlruns" / database)) as connection:
            return connection.execute(query).fetchall()

    def tags(self):
        """run id -> tags, with the run's status as `run_status`."""
        statuses = self._rows("mlflow.db", "select run_uuid, status from runs")
        runs = {run: {"run_status": status} for run, status in statuses}
        for run, key, value in self._rows("mlflow.db", "select run_uuid, key, value from tags"):
            if run in runs:  # or it has begun since
                runs[run][key] = value
        return runs

    def run_statuses(self, kind):
        return Counter(tags["run_status"] for tags in self.tags().values() if tags["kind"] == kind)

    def trial_hashes(self):
        return Counter(tags["trial_hash"] for tags in self.tags().values() if tags["kind"] == "trial")

    def trials(self):
        """trial hash -> (status, its metrics as (name, step, value, is NaN), sorted), without timings."""
        points = defaultdict(list)
        query = "select run_uuid, key, step, value, is_nan from metrics order by key, step"
        for run, key, step, value, is_nan in self._rows("mlflow.db", query):
            if key not in TIMINGS:
                points[run].append((key, step, value, is_nan))
        return {
            tags["trial_hash"]: (tags["status"], points[run])
            for run, tags in self.tags().items()
            if tags["kind"] == "trial"
        }

    def repeated_steps(self):
        query = "select run_uuid, key, step from metrics group by run_uuid, key, step having count(*) > 1"
        return self._rows("mlflow.db", query)

    def artifact(self, name):
        """A JSON artifact of the one study run."""
        (path,) = (self.folder / "mlruns" / "artifacts").glob(f"*/*/artifacts/{name}")
        return json.loads(path.read_text())

    def rates(self):
        """Optuna's trials by state: sets of (study, learning rate, value)."""
        query = (
            "select t.state, s.study_name, p.param_value, v.value from trials t"
            " join studies s using (study_id) left join trial_params p using (trial_id)"
            " left join trial_values v using (trial_id)"
        )
        states = defaultdict(list)
        for state, *row in self._rows("optuna.db", query):
            states[state].append(tuple(row))
        return {state: sorted(rows) for state, rows in states.items()}

    def num_checkpoints(self, name="last.pt"):
        return len(list(self.folder.glob(f"mlruns/checkpoints/*/{name}")))
