"""A team's stores on one machine, on the loopback: `python deploy/team.py up|down|status` (`make team-up`).

`up` starts PostgreSQL (databases `mlflow` and `optuna`), MLflow's server before it, and with --ray a Ray
head, whatever of them does not run yet, and prints what to export. `down` stops them. All lies in one folder,
which `down` keeps: the databases, artifacts, logs, and `pgpass`, the generated password in libpq's form,
readable by its owner alone. docs/team.md says more.
"""

import argparse
import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

HOST = "127.0.0.1"
USER = "benchmark"
SYSTEM_USER = "postgres"
"""Whom PostgreSQL runs as where root starts it: it refuses root."""
DATABASES = ("mlflow", "optuna")
READY_WITHIN_S = 300.0
STOPPED_WITHIN_S = 20.0
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # or seven processes more, for what no study asks
}


class TeamError(Exception):
    """What is in the way, in one line."""


class Postgres:
    """PostgreSQL, by its own `pg_ctl`.

    Args:
        folder: the team's.
        port: on the loopback.
    """

    name = "PostgreSQL"

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._data = folder / "postgres"
        self._log = folder / "postgres.log"
        self._passwords = folder / "pgpass"

    def url(self, database: str) -> str:
        """A database's address, which names the file of the password in its place."""
        return f"postgresql+psycopg://{USER}@{HOST}:{self.port}/{database}?passfile={quote(str(self._passwords))}"

    def running_at(self) -> int:
        """The port that the server of this folder has; 0: it does not run."""
        if (
            not (self._data / "PG_VERSION").exists()
            or self._tool("pg_ctl", "-D", self._data, "status").returncode
        ):
            return 0
        return int((self._data / "postmaster.pid").read_text().splitlines()[3])

    def start(self) -> None:
        """Start it, and make its databases, the first time."""
        if found := self.running_at():
            check_port(self.name, found, self.port, "TEAM_DATABASE_PORT")
        else:
            check_free(self.port, "TEAM_DATABASE_PORT")
            if not (self._data / "PG_VERSION").exists():
                self._make()
            options = f"-p {self.port} -c listen_addresses={HOST} -c unix_socket_directories="
            self._checked(
                "pg_ctl", "-D", self._data, "-l", self._log, "-o", options, "-w", "start", log=self._log
            )
        found = self._checked(*self._psql("postgres"), "-Atc", "SELECT datname FROM pg_database").split()
        for database in set(DATABASES) - set(found):
            self._checked(*self._psql("postgres"), "-qc", f"CREATE DATABASE {database}")

    def stop(self) -> None:
        """Stop it; connections are ended."""
        if self.running_at():
            self._checked("pg_ctl", "-D", self._data, "-m", "fast", "-w", "stop")

    def _make(self) -> None:
        """Make the data folder, beside its place: one that is there is whole."""
        partial = self._data.with_name("postgres.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        password = secrets.token_urlsafe(24)
        given = partial.with_name("postgres.password")
        write_private(given, password)
        self._log.touch()
        if os.geteuid() == 0:
            for path in (partial, given, self._log):
                shutil.chown(path, SYSTEM_USER)
        try:
            words = (
                "-U",
                USER,
                "--auth=scram-sha-256",
                f"--pwfile={given}",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            )
            self._checked("initdb", "-D", partial, *words)
        finally:
            given.unlink()
        write_private(self._passwords, f"{HOST}:*:*:{USER}:{password}\n")
        partial.rename(self._data)

    def _psql(self, database: str) -> tuple[str, ...]:
        address = f"host={HOST} port={self.port} user={USER} dbname={database} passfile={self._passwords}"
        return "psql", "-w", "-v", "ON_ERROR_STOP=1", "-d", address

    def _checked(self, tool: str, *words: str | Path, log: Path | None = None) -> str:
        done = self._tool(tool, *words)
        if done.returncode:
            said = done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ["nothing"]
            where = f"; see {log}" if log else ""
            raise TeamError(f"{tool} ended with {done.returncode}, and said: {said[-1].strip()}{where}")
        return done.stdout

    def _tool(self, tool: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [binary(tool), *map(str, words)]
        if os.geteuid() == 0 and tool != "psql":  # which reads the password, as its owner
            command = ["runuser", "-u", SYSTEM_USER, "--", *command]
        return subprocess.run(command, cwd="/", check=False, capture_output=True, text=True)


class Service:
    """A program that runs in a process group of its own, which its file in the folder names.

    Args:
        name: for people.
        folder: the team's.
        port: on the loopback.
        option: that gives the port.
        command: that runs it.
        path: what to ask it for by HTTP to see that it works; empty: that it takes a connection is enough.
    """

    def __init__(
        self, name: str, folder: Path, port: int, option: str, command: Sequence[str], path: str = ""
    ) -> None:
        self.name = name
        self.port = port
        self._option = option
        self._command = command
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        stem = name.lower().replace(" ", "-")
        self._pid_file = folder / f"{stem}.pid"
        self._log = folder / f"{stem}.log"

    def running_at(self) -> int:
        """The port that it has; 0: no process of its group is there, or none answers."""
        _, port = self._noted()
        return port if self._has_group() and self._answers(port) else 0

    def start(self) -> None:
        """Start it, and wait until it answers; what is left of one that does not is stopped first."""
        if found := self.running_at():
            check_port(self.name, found, self.port, self._option)
            return
        self.stop()
        check_free(self.port, self._option)
        with self._log.open("a") as log:
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | ENVIRONMENT,
                start_new_session=True,
            )
        self._pid_file.write_text(f"{process.pid} {self.port} {boot_id()}")
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                ended = process.poll() is not None
                self.stop()
                what = "ended at once" if ended else f"did not answer within {READY_WITHIN_S:g} s"
                raise TeamError(f"{self.name} {what}; see the end of {self._log}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop all of its group, by force if need be."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._has_group():
                break
            os.killpg(self._noted()[0], number)
            deadline = time.monotonic() + STOPPED_WITHIN_S
            while self._has_group() and time.monotonic() < deadline:
                time.sleep(0.1)
        self._pid_file.unlink(missing_ok=True)

    def _noted(self) -> tuple[int, int]:
        """The group's number and the port; zeros: none was started since the machine was."""
        if not self._pid_file.exists():
            return 0, 0
        pid, port, boot = self._pid_file.read_text().split()
        return (int(pid), int(port)) if boot == boot_id() else (0, 0)

    def _has_group(self) -> bool:
        group, _ = self._noted()
        if not group:
            return False
        if self._process is not None:
            self._process.poll()  # or one that has ended stays in its group
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _answers(self, port: int) -> bool:
        try:
            if self._path:
                address = f"http://{HOST}:{port}{self._path}"
                with build_opener(ProxyHandler({})).open(address, timeout=5):
                    return True
            with socket.create_connection((HOST, port), 5):
                return True
        except OSError:
            return False


class Team:
    """All of it.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder: Path = options.folder.resolve()
        self.database = Postgres(self.folder, options.database_port)
        python = sys.executable
        store = ("--backend-store-uri", self.database.url("mlflow"), "--serve-artifacts")
        place = ("--artifacts-destination", str(self.folder / "artifacts"), "--host", HOST)
        mlflow = (python, "-m", "mlflow", "server", *store, *place, "--port", str(options.port))
        mlflow += ("--workers", str(options.workers))
        asked = "/api/2.0/mlflow/experiments/get?experiment_id=0"  # which reads the database
        self.mlflow = Service("MLflow", self.folder, options.port, "TEAM_PORT", mlflow, asked)
        ray = (python, "-m", "ray.scripts.scripts", "start", "--head", "--block")
        ray += (f"--port={options.ray_port}", "--include-dashboard=false", "--disable-usage-stats")
        self.ray = Service("Ray", self.folder, options.ray_port, "TEAM_RAY_PORT", ray)
        self._wants_ray = options.ray

    def up(self) -> None:
        """Start what does not run, and say how to use it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        check_user(self.folder)
        for part in (self.database, self.mlflow, *((self.ray,) if self._wants_ray else ())):
            part.start()
        self.status()
        print("\nTo use them, in every shell; then any command, such as make benchmark STUDY=quick:\n")
        print(f"export MLFLOW_TRACKING_URI=http://{HOST}:{self.mlflow.port}")
        print(f"export OPTUNA_STORAGE='{self.database.url('optuna')}'")
        if self._wants_ray:
            print(f"export RAY_ADDRESS={HOST}:{self.ray.port}")
            print(
                "\nRay listens on all addresses of this machine, not the loopback alone: mind its firewall."
            )

    def down(self) -> None:
        """Stop all, the database last."""
        for part in (self.ray, self.mlflow, self.database):
            part.stop()
        self.status()

    def status(self) -> None:
        """Say what runs."""
        for part in (self.database, self.mlflow, self.ray):
            port = part.running_at()
            state = f"runs on {HOST}:{port}" if port else "does not run"
            print(f"{part.name:10} {state}")
        print(f"{'data':10} {self.folder}")


def binary(tool: str) -> str:
    """The path of one of PostgreSQL's programs: Debian keeps them out of the PATH."""
    installed = glob.glob(f"/usr/lib/postgresql/*/bin/{tool}")
    newest = max(installed, key=lambda path: float(Path(path).parts[-3]), default=None)
    found = shutil.which(tool) or newest
    if found is None:
        raise TeamError(
            f"expected PostgreSQL's {tool} in the PATH or in /usr/lib/postgresql, found none: install it"
        )
    return found


def check_free(port: int, option: str) -> None:
    """Refuse a port that another program has."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise TeamError(
                f"port {port} of {HOST}: {error.strerror.lower()}: give another, {option}=..."
            ) from None


def check_port(name: str, found: int, wanted: int, option: str) -> None:
    """Refuse another port than the one that is used."""
    if found != wanted:
        raise TeamError(f"{name} runs on port {found} already: say {option}={found}, or make team-down first")


def check_user(folder: Path) -> None:
    """Refuse root where PostgreSQL cannot run as another user, or that one cannot come to the folder."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise TeamError(
            f"PostgreSQL refuses root: make a user {SYSTEM_USER}, or give the command as another"
        ) from None
    if subprocess.run(["runuser", "-u", SYSTEM_USER, "--", "test", "-x", folder], check=False).returncode:
        raise TeamError(
            f"{folder}: user {SYSTEM_USER} cannot enter it: give another, TEAM_FOLDER=..., or its parents o+x"
        )


def boot_id() -> str:
    """What tells this start of the machine from others: after it, a process number is another's."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("up", "down", "status"))
    parser.add_argument("--folder", type=Path, default=Path("team"), help="(default: %(default)s)")
    parser.add_argument("--port", type=int, default=5001, help="of MLflow's server (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="of MLflow's server (default: %(default)s)")
    parser.add_argument("--database-port", type=int, default=5433, help="(default: %(default)s)")
    parser.add_argument("--ray", action="store_true", help="a Ray head, too")
    parser.add_argument("--ray-port", type=int, default=6379, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        getattr(Team(options), options.verb)()
    except (TeamError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
