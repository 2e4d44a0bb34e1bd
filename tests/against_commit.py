"""How much faster is one commit than another? Both are timed in turn, on this machine, in one run.

    python tests/against_commit.py OLD [--new NEW] [--rounds N] [--only NAME ...] [--command 'WORDS']

Each commit gets a git worktree of its own; what is not committed is not measured. Every round times each job
on both sides, in changing order, in a fresh folder: wall time, and CPU time of all its processes. Printed are
medians and quartiles of the ratios old / new of the same round: above 1 the new commit is faster.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
TRIAL = Path(__file__).with_name("timed_trial.py")


@dataclass(frozen=True)
class Part:
    """A command of a job, and what its seconds are called.

    Attributes:
        name: of its line in the table.
        words: after `python`.
        reports: whether it prints its seconds itself, as one JSON object, in place of its own duration.
    """

    name: str
    words: tuple[str, ...]
    reports: bool = False


def study(name):
    """A study from its start to its report; its two lines, and their sum."""
    return (
        Part(f"{name}, study alone", ("-m", "benchmark", "run", name, "--device", "cpu")),
        Part(f"{name}, report alone", ("-m", "analysis", "report", name)),
    )


def trial(width, normalization="batch"):
    """A confirm trial of the CIFAR net, composed of parts of it."""
    words = (str(TRIAL), "--width", str(width), "--normalization", normalization)
    return (Part(f"CIFAR confirm trial, width {width}", words, reports=True),)


JOBS = {
    "quick": study("quick"),
    "normalizers-small": study("normalizers-small"),
    "smoke": study("smoke"),
    "confirm-16": trial(16),
    "confirm-60": trial(60),
}
DEFAULT = ("quick", "normalizers-small", "confirm-60")


def run(part, tree, folder):
    """Run a part in `folder` with the code in `tree`: name of a line -> (wall, CPU) seconds."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH")))),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    for name in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE"):
        environment.pop(name, None)
    said, log = folder / "said.txt", folder / "log.txt"
    with said.open("w") as out, log.open("a") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *part.words], cwd=folder, env=environment, stdout=out, stderr=errors
        )
        # What `wait4` says of a process covers the processes that it has waited for: a study's workers.
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{shlex.join(part.words)} in {tree}: exit code {process.returncode}\n{log.read_text()}")
    if part.reports:
        return {f"{part.name}: {name}": tuple(pair) for name, pair in json.loads(said.read_text()).items()}
    return {part.name: (wall, used.ru_utime + used.ru_stime)}


def once(job, tree):
    """Run a job: name of a line -> (wall, CPU) seconds; of several parts also their sum."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for part in job:
            found |= run(part, tree, Path(folder))
    if len(job) > 1:
        name = job[0].name.partition(",")[0]
        found[f"{name}, whole"] = tuple(sum(column) for column in zip(*found.values(), strict=True))
    return found


def compare(jobs, trees, rounds, say=lambda message: None):
    """Time every job on both sides: name of a line -> [(wall, CPU) of the old, of the new] by round."""
    found = defaultdict(list)
    for number in range(rounds):
        for name, job in jobs.items():
            sides = {}
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                say(f"round {number + 1} of {rounds}: {name}, {('old', 'new')[side]}")
                sides[side] = once(job, trees[side])
            for line in sides[0]:
                found[line].append((sides[0][line], sides[1][line]))
    return found


def table(found):
    """The ratios as Markdown: wall and CPU seconds of both sides, medians, and the ratios' quartiles."""
    lines = [
        "| what | rounds | wall, old | new | ratio [quartiles] | CPU, old | new | ratio [quartiles] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, pairs in found.items():
        seconds = np.array(pairs)  # [rounds, old and new, wall and CPU]
        cells = [name, str(len(pairs))]
        for kind in (0, 1):
            old, new = seconds[:, 0, kind], seconds[:, 1, kind]
            low, middle, high = np.percentile(old / new, (25, 50, 75))
            cells += [
                f"{np.median(old):.3g} s",
                f"{np.median(new):.3g} s",
                f"{middle:.2f} [{low:.2f}, {high:.2f}]",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def worktree(commit, folder):
    """A worktree of a commit of this repository."""
    git("worktree", "add", "--quiet", "--detach", str(folder), commit)
    return folder


def git(*words):
    """Run git here; what it printed."""
    done = subprocess.run(("git", "-C", str(ROOT), *words), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"git {shlex.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def main(arguments=None):
    """Compare two commits."""
    parser = argparse.ArgumentParser(description="Time two commits in turn.")
    parser.add_argument("old", help="a commit")
    parser.add_argument("--new", default="HEAD", help="another (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=JOBS, help=f"(default: {', '.join(DEFAULT)})")
    parser.add_argument("--command", action="append", default=[], help="more: the words after `python`")
    options = parser.parse_args(arguments)
    names = options.only or (() if options.command else DEFAULT)
    jobs = {name: JOBS[name] for name in names}
    jobs |= {command: (Part(command, tuple(shlex.split(command))),) for command in options.command}
    commits = [git("rev-parse", "--short", f"{commit}^{{commit}}") for commit in (options.old, options.new)]
    with tempfile.TemporaryDirectory() as folder:
        trees = []
        try:
            for side, commit in zip(("old", "new"), commits, strict=True):
                trees.append(worktree(commit, Path(folder) / side))
            found = compare(jobs, trees, options.rounds, lambda message: print(message, file=sys.stderr))
        finally:
            for tree in trees:
                git("worktree", "remove", "--force", str(tree))
    print(f"old {commits[0]}, new {commits[1]}\n\n{table(found)}")


if __name__ == "__main__":
    main()
