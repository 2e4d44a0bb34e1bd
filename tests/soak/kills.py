"""kill -9 at random moments: the whole group, the runner alone, one worker; at the start, in the report."""

import os
import signal
import time

from soak.attacked import ALONE, REPORT, Tally, check

MOST_PER_STUDY = 9


def kills(bench):
    """Kill a study again and again, going on with it each time, until it is done; then another."""
    tally = Tally("kills")
    number = 0
    while tally.tries < bench.num_kills:
        study = bench.study(f"kills-{number}", fresh=number == 0)
        what = f"study {number} killed"
        for _ in range(MOST_PER_STUDY):
            if _kill_once(bench, study, tally, what):
                break
        study.do(tally, ALONE, f"after {what}", codes={0})
        _kill_reports(bench, study, tally, what)
        check(study, bench.reference, tally, what, report=True)
        bench.done_with(study)
        number += 1
    return tally


def _kill_once(bench, study, tally, what):
    """Start the study, or go on with it, and kill something of it; whether it ended before that."""
    rng = bench.rng
    process = study.start()
    moment = rng.choice(["start", "work", "work"])
    if moment == "work":
        _wait(process, lambda: ": " in process.stderr.partition("study")[2].partition("\n")[2], 300.0)
    _wait(process, lambda: False, rng.uniform(0.0, bench.pace_s * (0.5 if moment == "start" else 0.3)))
    if not process.is_running():
        tally.heard(process, process.wait(), what, codes={0})
        return True
    tally.tries += 1
    whom = rng.choice(["group", "runner", "worker"])
    workers = process.workers()
    if whom == "worker" and workers:
        tally.met += 1
        os.kill(rng.choice(workers), signal.SIGKILL)
        # It is hired anew, and its trials are tried again: the study goes on.
        _wait(process, lambda: False, rng.uniform(0.0, 0.5 * bench.pace_s))
        if not process.is_running():
            tally.heard(process, process.wait(), what, codes={0, 1})
            return True
        whom = "group"
        tally.tries += 1
    tally.met += process.is_running()
    process.kill(group=whom == "group")
    deadline = time.monotonic() + 300.0  # one that still imports has not heard of it
    while process.has_orphans() and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.has_orphans():
        tally.other.append(f"{what}: workers outlive their runner")
        process.kill(group=True)
    tally.heard(process, 130, what)
    return False


def _kill_reports(bench, study, tally, what, count=2):
    """Kill the report of a finished study; there is an older one, which stays."""
    study.do(tally, REPORT, what, codes={0})
    for _ in range(count):
        process = study.start(REPORT)
        _wait(process, lambda: False, bench.rng.uniform(0.0, 0.3 * bench.pace_s))
        tally.tries += 1
        tally.met += process.is_running()
        process.kill(group=True)


def _wait(process, condition, seconds):
    """Until a condition holds, or the process has ended, or time is up."""
    deadline = time.monotonic() + seconds
    while process.is_running() and not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
