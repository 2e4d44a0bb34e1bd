"""What a person sees: on terminals of any width, and in a log file."""

import io
import re

import pytest
from made_trials import make_study, make_trial
from rich.console import Console

from benchmark.cli.display import Display
from benchmark.cli.printing import say
from benchmark.training.events import Evaluation, Failure, Outcome

STUDY = make_study()
WIDE = 200


def record(accuracy=0.875, status="trained"):
    return Outcome(status, status, {"final_val_accuracy": accuracy})


def evaluation(step=20):
    return Evaluation({"step": step, "examples_per_s": 1234.5, "val_accuracy": 0.5}, [])


def play(display):
    """Two trials of three: one from an earlier run, one trained now; the third is under way."""
    trials = [make_trial(STUDY, learning_rate=0.123456, seed=seed) for seed in range(3)]
    display.stage_started("sweep", 3)
    display.settled(trials[0], record())
    display.evaluated(trials[1], evaluation())
    display.settled(trials[1], record(0.1, "stuck"))
    display.evaluated(trials[2], evaluation(30))
    display.noted("something [bold]worth[/bold] a line of its own: " + "x" * 100)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on 6 s each time it is read."""
    ticks = iter(range(0, 100_000, 6))
    monkeypatch.setattr("benchmark.cli.display.time.monotonic", lambda: float(next(ticks)))


@pytest.mark.usefixtures("clock")
def test_a_log_has_one_plain_line_per_message():
    stream = io.StringIO()
    with Display(Console(file=stream, width=40)) as display:
        play(display)
        display.stage_ended("sweep")
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert lines[0] == "sweep: 3 trials"
    assert lines[-2] == "something [bold]worth[/bold] a line of its own: " + "x" * 100
    assert lines[-1] == "sweep done: 1 stuck 1 trained (1 from an earlier run)"
    (progress,) = lines[1:-2]
    assert re.fullmatch(
        r"sweep 2/3 \(about \d+ s left\) \| batch-relu lr=0.123 seed=1: stuck, val accuracy 0.100", progress
    )


def test_an_unknown_number_of_trials_has_no_end():
    stream = io.StringIO()
    with Display(Console(file=stream)) as display:
        display.stage_started("refine", None)
        display.stage_ended("refine")
    assert stream.getvalue().splitlines() == ["refine: some trials", "refine done: nothing yet"]


def test_a_failed_trial_is_not_one_from_an_earlier_run():
    stream = io.StringIO()
    with Display(Console(file=stream)) as display:
        display.stage_started("sweep", 1)
        for again in (True, False):
            display.failed(make_trial(STUDY), Failure("ValueError: no", "Traceback ..."), again=again)
        display.settled(make_trial(STUDY), None)
        display.stage_ended("sweep")
    assert stream.getvalue().splitlines()[1:] == [
        "batch-relu lr=0.1 seed=0 failed, trying again: ValueError: no",
        "batch-relu lr=0.1 seed=0 failed: ValueError: no",
        "sweep done: 1 failed",
    ]


@pytest.mark.parametrize("width", [40, 80, WIDE])
def test_on_a_terminal_no_line_overflows(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    display = Display(console)
    play(display)
    with console.capture() as captured:
        console.print(display._render())
    lines = captured.get().splitlines()
    assert len(lines) == 4  # a bar and three lines, whatever the width
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("sweep")
    assert "2/3" in lines[0]
    if width == WIDE:
        assert "batch-relu lr=0.123 seed=2  step 30/50  val accuracy 0.500  (1,234 examples/s)" in lines[1]
        assert "batch-relu lr=0.123 seed=1: stuck, val accuracy 0.100" in lines[2]
        assert "1 stuck 1 trained (1 from an earlier run)" in lines[3]


def test_messages_are_said_as_they_are():
    stream = io.StringIO()
    command = "python -m benchmark run smoke --set 'variants.normalizations=[batch]' " + "--set a=b " * 20
    say(Console(file=stream, width=30), command)
    assert stream.getvalue() == command + "\n"
