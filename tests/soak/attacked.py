"""The study under attack, commands on it that can be killed, and what must be true of it afterwards."""

import contextlib
import importlib
import io
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from running import Left, Process
from same_numbers import Store, differences

STUDY = """
extends = "smoke"
name = "attacked"

[network]
width = 3

[budget]
num_steps = 50
eval_every = 25
confirm_eval_every = 1

[seeds]
sweep = 5
confirm = 5

[init]
gains = [0.5, 1.0]

[probes]
enabled = ["gradients"]
every = 25

[execution]
engine = "fused"
workers = 2
checkpoint_every_s = 0.001
"""
"""Every stage, the gains among them, and each trial's progress saved at every evaluation."""

NAME = "attacked"
RUN = ("benchmark", "run", f"{NAME}.toml", "--device", "cpu")
ALONE = (*RUN, "--set", "execution.workers=1")
"""The same in one process, whose numbers are the same."""
CLAIMS, REPORT = ("analysis", "claims", NAME), ("analysis", "report", NAME)
CODES = {0, 1, 2, 130}
LIMIT_S = 900.0
"""A command that takes longer hangs, however busy the machine."""

_TRACE = re.compile(r"Traceback \(most recent call last\)|Exception ignored in|Fatal Python error")
_SCRATCH = re.compile(r"\.partial(-journal|-wal|-shm)?$|\.half-made$|^\.[\w.-]+-[a-z0-9_]{8}$")
_MAY_APPEAR = {"mlruns", "home", "tmp", f"{NAME}.toml"}
_CACHES = {".cache", ".config"}
"""Of libraries, in the home folder: fonts that matplotlib has found."""


def preload():
    """Import what every command does, so that one forked from here starts at once."""
    for name in (
        "mlflow.store.tracking.sqlalchemy_store",
        "optuna",
        "sklearn.datasets",
        "analysis.commands",
        "analysis.report",
        "benchmark.cli.commands",
    ):
        importlib.import_module(name)


class Forked:
    """A command in a process group of its own, like `running.Process`, but forked from this process.

    Args:
        folder: where it works.
        words: package and arguments.
        first: is called in it before anything else: a limit, a patch.
    """

    def __init__(self, folder, *words, first=None):
        self.words = words
        self._said = folder / "tmp" / f"said-{time.monotonic_ns()}.txt"
        self._process = multiprocessing.get_context("fork").Process(
            target=_command, args=(folder, words, self._said, first)
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def stderr(self):
        """All that it printed."""
        return self._said.read_text(errors="replace") if self._said.exists() else ""

    def is_running(self):
        return self._process.is_alive()

    def wait(self, timeout_s=LIMIT_S):
        """Its exit code; None if it hangs, and is killed for it."""
        self._process.join(timeout_s)
        if self._process.is_alive():
            self.kill(group=True)
            return None
        return self._process.exitcode

    def kill(self, *, group, number=signal.SIGKILL):
        """Send a signal, kill -9, to its whole group or to the runner alone."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)
        if number == signal.SIGKILL:
            self._process.join()

    def workers(self):
        """Ids of its worker processes."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with contextlib.suppress(OSError):
            return [int(pid) for pid in path.read_text().split() if _is_worker(pid)]
        return []

    def has_orphans(self):
        """Whether a process of its group is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, 0)
            return True
        return False


def _is_worker(pid):
    with contextlib.suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _command(folder, words, said, first):
    """The life of a forked command."""
    os.setsid()
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), line_buffering=True)
    for name, value in environment_of(folder).items():
        os.environ[name] = value
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    tempfile.tempdir = None
    os.chdir(folder)
    if first is not None:
        first()
    package, *arguments = words
    main = __import__(f"{package}.__main__", fromlist=["main"]).main
    sys.exit(main(arguments))


def environment_of(folder):
    """What a command of the study has in its environment."""
    return {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}


class Cold(Process):
    """A command as a person gives it, with all its imports."""

    def __init__(self, folder, *words):
        with _environment(environment_of(folder)):
            super().__init__(folder, *words)
        self.words, self.pid = ("benchmark", *words), self._process.pid

    def is_running(self):
        return self._process.poll() is None


@contextlib.contextmanager
def _environment(values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class Complaints(list[str]):
    """Lines, each printed as it comes: a soak takes long."""

    def append(self, line):
        print(f"  {line}", file=sys.stderr, flush=True)
        super().append(line)

    def __iadd__(self, lines):
        for line in lines:
            self.append(line)
        return self


@dataclass
class Tally:
    """What came of a scenario.

    Attributes:
        name: of the scenario.
        tries: faults made.
        met: those that something was there to meet: a process that ran, a file that was read.
        lost: numbers, trials, verdicts that are not those of the reference.
        doubled: runs and steps recorded twice.
        tracebacks: commands that printed one.
        other: whatever else was not as promised.
        notes: what could not be tried here, and why.
        seconds: that it took.
    """

    name: str
    tries: int = 0
    met: int = 0
    lost: list[str] = field(default_factory=Complaints)
    doubled: list[str] = field(default_factory=Complaints)
    tracebacks: list[str] = field(default_factory=Complaints)
    other: list[str] = field(default_factory=Complaints)
    notes: list[str] = field(default_factory=Complaints)
    seconds: float = 0.0

    @property
    def is_clean(self):
        return not (self.lost or self.doubled or self.tracebacks or self.other)

    def heard(self, process, code, what, *, codes=CODES):
        """Look at how a command ended, and at what it said."""
        said = process.stderr
        where = f"{what}: {' '.join(process.words[:3])}"
        if code is None:
            self.other.append(f"{where}: hangs, after {LIMIT_S:.0f} s: {_end_of(said)}")
        elif code not in codes:
            self.other.append(f"{where}: exit code {code}: {_end_of(said)}")
        if _TRACE.search(said):
            self.tracebacks.append(f"{where}: {_end_of(said)}")
        return said


@dataclass
class Said:
    """A command that has ended, and what it said."""

    words: tuple[str, ...]
    stderr: str


def _end_of(said):
    return " / ".join(said.strip().splitlines()[-3:])[-400:]


class Study:
    """One folder in which the study is run.

    Args:
        folder: to make, with an empty store if `store` is given.
        store: of another study, whose making takes seconds.
    """

    def __init__(self, folder, store=None):
        self.folder = Path(folder)
        for name in ("mlruns", "home", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / f"{NAME}.toml").write_text(STUDY)
        if store is not None:
            shutil.copy(store, self.folder / "mlruns" / "mlflow.db")

    @property
    def mlruns(self):
        return self.folder / "mlruns"

    def start(self, words=RUN, first=None):
        return Forked(self.folder, *words, first=first)

    def do(self, tally, words, what, first=None, **expected):
        """Run a command to its end: its exit code and what it said."""
        process = self.start(words, first)
        code = process.wait()
        return code, tally.heard(process, code, what, **expected)


def check(study, reference, tally, what, *, report=False):
    """Run the study to its end undisturbed, and hold what is there against the reference.

    Args:
        study: that was attacked.
        reference: that was not.
        tally: takes note of what differs.
        what: was done to it, in words.
        report: whether its report is written too, and compared.
    """
    study.do(tally, ALONE, f"after {what}", codes={0})
    study.do(tally, CLAIMS, f"after {what}", codes={0})
    if report:
        study.do(tally, REPORT, f"after {what}", codes={0})
    compare(study, reference, tally, what, report=report)


def compare(study, reference, tally, what, *, report=False):
    """Hold what is there against the reference."""
    left, whole = Left(study.folder), Left(reference.folder)
    try:
        planned, found = whole.trial_hashes(), left.trial_hashes()
        tally.lost += [f"{what}: trial {one} is gone" for one in planned.keys() - found.keys()]
        tally.lost += [f"{what}: trial {one} is none of the study's" for one in found.keys() - planned.keys()]
        tally.doubled += [f"{what}: trial {one} has {n} runs" for one, n in found.items() if n > 1]
        for kind in ("study", "variant"):
            if (count := sum(left.run_statuses(kind).values())) != sum(whole.run_statuses(kind).values()):
                tally.doubled.append(f"{what}: {count} runs of kind {kind}")
        tally.doubled += [
            f"{what}: {run} has {key} twice at {step}" for run, key, step in left.repeated_steps()
        ]
        statuses = Counter(tags["run_status"] for tags in left.tags().values())
        tally.lost += [f"{what}: {n} runs are {name}" for name, n in statuses.items() if name != "FINISHED"]
        if left.trials() != whole.trials():
            tally.lost.append(f"{what}: metrics differ")
        unlike = differences(Store(reference.mlruns, NAME), Store(study.mlruns, NAME))
        tally.lost += [f"{what}: {line}" for line in unlike if report or "verdicts" not in line]
    except Exception as error:
        tally.lost.append(f"{what}: cannot be read: {type(error).__name__}: {error}")
    tally.other += [f"{what}: {line}" for line in leftovers(study.folder)]


def leftovers(folder):
    """What dead processes left behind, and what lies where it should not."""
    for path in sorted(folder.iterdir()):
        if path.name not in _MAY_APPEAR and not path.name.startswith("stderr-"):
            yield f"left outside mlruns: {path.name}"
    for path in sorted((folder / "home").iterdir()):
        if path.name not in _CACHES:
            yield f"left in the home folder: {path.name}"
    for path in sorted((folder / "tmp").iterdir()):
        if not path.name.startswith("said-"):
            yield f"left in the folder for temporary files: {path.name}"
    for path in sorted((folder / "mlruns").rglob("*")):
        if _SCRATCH.search(path.name):
            yield f"left behind: {path.relative_to(folder)}"
