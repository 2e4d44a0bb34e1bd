"""Requests to stop, a terminal that closes, Ctrl-C while Python imports, a process that is halted a while."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time

from running import Left

from soak.attacked import LIMIT_S, NAME, Cold, Said, Tally, check, environment_of

WORDS = ("run", f"{NAME}.toml", "--device", "cpu")
STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
MOMENTS_OF_IMPORTS = 24
FIRST_S = 0.15
"""Before, Python itself starts, and answers Ctrl-C by itself."""


def signals(bench):
    """Stop the study in every way, going on with it each time; then halt it."""
    tally = Tally("signals")
    study = bench.study("signals")
    for number in range(MOMENTS_OF_IMPORTS):
        process = Cold(study.folder, *WORDS)
        time.sleep(FIRST_S + bench.rng.uniform(0.0, 6.0) * number / MOMENTS_OF_IMPORTS)
        _stop(process, tally, STOPS[number % 3] if number % 4 == 0 else signal.SIGINT, "while it imports")
    for number in STOPS * 3:
        process = study.start()
        _until(process, lambda p=process: ": " in p.stderr, 60.0)
        time.sleep(bench.rng.uniform(0.0, 0.3 * bench.pace_s))
        _stop(process, tally, number, "while it trains")
    _close_terminal(study, tally)
    _nohup(study, tally)
    process = study.start()
    for _ in range(3):
        _until(process, lambda: False, bench.rng.uniform(0.5, 3.0))
        if not process.is_running():
            break
        tally.tries += 1
        tally.met += 1
        process.kill(group=True, number=signal.SIGSTOP)
        time.sleep(2.0)
        process.kill(group=True, number=signal.SIGCONT)
    tally.heard(process, process.wait(), "halted", codes={0})
    check(study, bench.reference, tally, "signals")
    bench.done_with(study)
    return tally


def _stop(process, tally, number, when):
    """Send a signal to its whole group, as a terminal and a service manager do."""
    tally.tries += 1
    tally.met += process.is_running()
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
    code = process.wait()
    what = f"{signal.Signals(number).name} {when}"
    said = tally.heard(process, code, what, codes={0, 130})
    if code == 130 and "To go on: python -m benchmark run" not in said and when == "while it trains":
        tally.other.append(f"{what}: it does not say how to go on: {said[-200:]}")


def _close_terminal(study, tally):
    """A study in a terminal that is closed: the system sends SIGHUP, and nothing can be printed any more."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", *WORDS],
        cwd=study.folder,
        env=os.environ | environment_of(study.folder),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 no thread runs here
    )
    os.close(theirs)
    said = b""
    while b"sweep" not in said and b"confirm" not in said and process.poll() is None:
        said += os.read(ours, 2**16)
    tally.tries += 1
    tally.met += process.poll() is None
    os.close(ours)
    code = process.wait(LIMIT_S)
    what = "a terminal that is closed"
    tally.heard(Said(("benchmark", *WORDS), said.decode(errors="replace")), code, what, codes={0, 130})
    if Left(study.folder).run_statuses("study")["RUNNING"]:
        tally.lost.append(f"{what}: the study's run says that it is running")


def _nohup(study, tally):
    """What is started by nohup goes on."""
    process = study.start(first=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    _until(process, lambda: ": " in process.stderr, 60.0)
    tally.tries += 1
    tally.met += process.is_running()
    process.kill(group=True, number=signal.SIGHUP)
    time.sleep(2.0)
    if not process.is_running() and process.wait() != 0:
        tally.other.append(f"nohup: a terminal that is closed ends it: {process.stderr[-200:]}")
    process.kill(group=True)


def _until(process, condition, seconds):
    deadline = time.monotonic() + seconds
    while process.is_running() and not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
