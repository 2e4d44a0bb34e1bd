"""Ctrl-C, a request to terminate, a terminal that closes: one answer, whatever the program was doing."""

import signal
import subprocess
import sys

import pytest
from running import REPOSITORY, hearing_hangups

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def answer(code, number):
    """Run code that prints `ready` and waits, and send it a signal: exit code, what it printed after that."""
    with hearing_hangups():
        process = subprocess.Popen(
            [sys.executable, "-c", f"import signal, time\nfrom benchmark.base import interruption\n{code}"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    said, _ = process.communicate(timeout=30.0)
    return process.returncode, said


@pytest.mark.parametrize("number", STOPS)
def test_each_is_raised_and_remembered(number):
    code = """
interruption.listen()
try:
    print("ready", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print(interruption.was_asked())
"""
    assert answer(code, number) == (0, "True\n")


@pytest.mark.parametrize("number", STOPS)
def test_while_there_is_nothing_to_undo_the_process_ends_at_once(number):
    code = """
interruption.leave_at_once(lambda: print("stopped", flush=True))
try:
    print("ready", flush=True)
    time.sleep(30)
finally:
    print("an exception")
"""
    assert answer(code, number) == (130, "stopped\n")


def test_one_that_python_ignores_is_not_printed_and_comes_again():
    code = """
class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(30)

interruption.listen()
Slow()
print("goes on")
interruption.check()
"""
    returned, said = answer(code, signal.SIGINT)
    assert returned == -signal.SIGINT
    assert said.startswith("goes on\nTraceback")
    assert "ignored" not in said


def test_what_was_started_by_nohup_does_not_hear_of_the_terminal():
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
interruption.leave_at_once()
interruption.listen()
interruption.let_go()
print("ready", flush=True)
time.sleep(0.5)
print("goes on")
"""
    assert answer(code, signal.SIGHUP) == (0, "goes on\n")
