"""Workers that are killed or crash, and too little memory for them, for all, or for anything."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from soak.attacked import LIMIT_S, RUN, Said, Tally, check, environment_of

MEBIBYTES_MORE = (16, 64, 160, 400)
"""Of address space, beyond what a command has once everything is imported."""
MEBIBYTES_IN_ALL = (300, 1600, 3000, 3500)
"""For a command with its imports, libraries of PyTorch alone among which take gibibytes of addresses."""


def workers(bench):
    """Kill workers, then run with little memory; each time go on undisturbed."""
    tally = Tally("workers")
    study = bench.study("workers")
    for number in (signal.SIGKILL, signal.SIGSEGV) * 4:
        process = study.start()
        deadline = time.monotonic() + 60.0
        while process.is_running() and not process.workers() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(bench.rng.uniform(0.0, 0.3 * bench.pace_s))
        tally.tries += 1
        if process.is_running() and (pids := process.workers()):
            tally.met += 1
            os.kill(bench.rng.choice(pids), number)
        tally.heard(process, process.wait(), f"a worker hit by signal {number}", codes={0, 1})
    check(study, bench.reference, tally, "workers hit by signals")
    bench.done_with(study)
    study = bench.study("memory")
    for size in MEBIBYTES_MORE:
        what = f"{size} MiB more than what is imported"
        tally.tries += 1
        code, _ = study.do(tally, RUN, what, first=lambda n=size: _limit_beyond(n), codes={0, 1, 2})
        tally.met += code != 0
    for size in MEBIBYTES_IN_ALL:
        tally.tries += 1
        code = _with_little(study, tally, size)
        tally.met += code != 0
    check(study, bench.reference, tally, "little memory")
    bench.done_with(study)
    return tally


def _limit_beyond(mebibytes):
    """Of this process, and of the workers that it starts."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _with_little(study, tally, mebibytes):
    """The command as a person gives it, with so much memory for each of its processes."""
    limit = mebibytes * 2**20
    try:
        done = subprocess.run(
            [sys.executable, "-m", *RUN],
            cwd=study.folder,
            env=os.environ | environment_of(study.folder),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        code, said = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, said = None, (error.stdout or b"").decode(errors="replace")
    tally.heard(Said(RUN, said), code, f"{mebibytes} MiB for each process", codes={0, 1, 2})
    return code
