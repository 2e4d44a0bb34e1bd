"""What a person sees while a study runs: a live display on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from benchmark.cli.printing import say
from benchmark.stages.session import StageObserver
from benchmark.training.events import Evaluation, Failure, Outcome
from benchmark.training.trial import Trial

_LINE_EVERY_S = 10.0  # between plain lines


class Display(StageObserver):
    """Progress of a study run. A context manager.

    Args:
        console: where to print; whether it is a terminal decides the form.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bars.add_task("starting", total=None)
        self._stage = ""
        self._total: int | None = None
        self._began = self._printed_at = time.monotonic()
        self._statuses: Counter[str] = Counter()
        self._num_skipped = 0
        self._examples_per_s: dict[str, float] = {}
        self._now = ""
        self._latest = ""
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def stage_started(self, stage: str, num_trials: int | None) -> None:
        """A stage begins; `num_trials` is None where it depends on what comes out."""
        self._stage, self._total = stage, num_trials
        self._statuses.clear()
        self._num_skipped = 0
        self._began = time.monotonic()
        self._bars.reset(self._task, total=num_trials, description=stage)
        self._line(f"{stage}: {'some' if num_trials is None else num_trials} trials")

    def stage_ended(self, stage: str) -> None:
        """The stage is done."""
        self._line(f"{stage} done: {self._summary()}")

    def evaluated(self, trial: Trial, evaluation: Evaluation) -> None:
        """A running trial was evaluated."""
        row = evaluation.row
        self._examples_per_s[trial.hash] = 0.0 if row["step"] == 0 else row["examples_per_s"]
        self._now = (
            f"{trial.name}  step {row['step']:.0f}/{trial.num_steps}  val accuracy {row['val_accuracy']:.3f}"
        )

    def failed(self, trial: Trial, failure: Failure, *, again: bool) -> None:
        """A trial has failed."""
        self.noted(f"{trial.name} failed{', trying again' if again else ''}: {failure.message}")

    def settled(self, trial: Trial, outcome: Outcome | None) -> None:
        """A trial has ended, or had ended before."""
        status = "failed" if outcome is None else outcome.status
        self._statuses[status] += 1
        if self._examples_per_s.pop(trial.hash, None) is None and outcome is not None:
            self._num_skipped += 1
        self._latest = f"{trial.name}: {status}"
        if outcome is not None:
            self._latest += f", val accuracy {outcome.metrics['final_val_accuracy']:.3f}"
        self._bars.advance(self._task)
        if time.monotonic() - self._printed_at > _LINE_EVERY_S:
            self._line(f"{self._stage} {self._count()} {self._eta()} | {self._latest}")

    def noted(self, message: str) -> None:
        """Something worth a line of its own."""
        say(self._console, message)

    def _render(self) -> Group:
        speed = sum(rate for rate in self._examples_per_s.values())
        lines = (
            f"now     {self._now}  ({speed:,.0f} examples/s)",
            f"latest  {self._latest}",
            f"so far  {self._summary()}",
        )
        return Group(self._bars, *(Text(line, overflow="ellipsis", no_wrap=True) for line in lines))

    def _line(self, message: str) -> None:
        self._printed_at = time.monotonic()
        if not self._console.is_terminal:
            self.noted(message)

    def _summary(self) -> str:
        parts = [f"{count} {status}" for status, count in sorted(self._statuses.items())]
        if self._num_skipped:
            parts.append(f"({self._num_skipped} from an earlier run)")
        return " ".join(parts) or "nothing yet"

    def _count(self) -> str:
        done = sum(self._statuses.values())
        return f"{done}" if self._total is None else f"{done}/{self._total}"

    def _eta(self) -> str:
        done = sum(self._statuses.values())
        fresh = done - self._num_skipped
        if self._total is None or not fresh:
            return ""
        seconds = (time.monotonic() - self._began) / fresh * (self._total - done)
        return f"(about {seconds:.0f} s left)"
