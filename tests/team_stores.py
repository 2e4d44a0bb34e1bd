"""A team's stores for tests, started by deploy's own script; and what studies left in them."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
from running import REPOSITORY, Left

SETTINGS = (
    *("--set", "network.width=3", "--set", "execution.workers=1"),
    *("--set", "execution.engine=fused"),  # what `auto` would choose, a busy machine's timings decide
)
FORM = (*SETTINGS, "--device", "cpu")
"""Of studies in these tests."""
WAIT_S = 3600.0
SCRIPT = REPOSITORY / "deploy" / "team.py"


class Stores:
    """PostgreSQL and MLflow's server on free ports, in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.port, self.database_port = free_port(), free_port()
        self.tracking_uri = f"http://127.0.0.1:{self.port}"
        passwords = f"?passfile={folder}/pgpass"
        self.storage = f"postgresql+psycopg://benchmark@127.0.0.1:{self.database_port}/optuna{passwords}"

    @property
    def environment(self):
        """What `up` says to export."""
        return {"MLFLOW_TRACKING_URI": self.tracking_uri, "OPTUNA_STORAGE": self.storage}

    @property
    def password(self):
        return (self.folder / "pgpass").read_text().strip().rpartition(":")[2]

    def do(self, verb):
        """`deploy/team.py <verb>`, finished."""
        ports = ("--port", str(self.port), "--database-port", str(self.database_port), "--workers", "1")
        command = [sys.executable, str(SCRIPT), verb, "--folder", str(self.folder), *ports]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    def up(self):
        done = self.do("up")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self):
        """kill -9 of every process of both servers."""
        os.killpg(int((self.folder / "mlflow.pid").read_text().split()[0]), signal.SIGKILL)
        postmaster = int((self.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            os.kill(pid, signal.SIGKILL)

    def rows(self, database, query):
        where = f"host=127.0.0.1 port={self.database_port} user=benchmark dbname={database}"
        with psycopg.connect(f"{where} passfile={self.folder}/pgpass") as connection:
            return connection.execute(query).fetchall()


class SharedLeft(Left):
    """What one study left in a team's stores."""

    def __init__(self, stores, study):
        super().__init__(stores.folder)
        self._stores, self._study = stores, study

    def _rows(self, database, query):
        return self._stores.rows(Path(database).stem.replace(".db", ""), query)

    def tags(self):
        query = (
            "select run_uuid from runs join experiments using (experiment_id) where experiments.name = '{}'"
        )
        own = {run for (run,) in self._rows("mlflow.db", query.format(self._study))}
        return {run: tags for run, tags in super().tags().items() if run in own}

    def repeated_steps(self):
        return [row for row in super().repeated_steps() if row[0] in self.tags()]

    def rates(self):
        of_study = f"{self._study}/"
        return {
            state: [row for row in rows if row[0].startswith(of_study)]
            for state, rows in super().rates().items()
        }

    def artifact(self, name):
        (run,) = (run for run, tags in self.tags().items() if tags["kind"] == "study")
        (path,) = (self.folder / "artifacts").glob(f"*/{run}/artifacts/{name}")
        return json.loads(path.read_text())


def finish(process):
    """Wait for a run that is to end well; whatever comes between, it does not go on alone."""
    try:
        assert process.wait(WAIT_S) == 0, process.stderr
    finally:
        if process.is_running():
            process.kill(group=True)


def slow(num_steps):
    """Settings of a study whose trials take seconds."""
    every = ("--set", "budget.eval_every=50", "--set", "budget.confirm_eval_every=50")
    return ("--set", f"budget.num_steps={num_steps}", *every)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
