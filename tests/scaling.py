"""Where one writer saturates: the scheduler, the recorder and a real store, fed by workers that only sleep.

    python tests/scaling.py FOLDER

For each number of simulated workers a process of its own makes a store in FOLDER, plans 10,000 trials of a
study (`made_load.py`'s curves and probes) and runs them for a minute; each worker sleeps ten seconds a trial,
up to five more or less. It starts a trial when the runner has read the end of its last, as workers of a pool
or of Ray do: a runner that falls behind leaves them idle. Writes `scaling.csv` and `scaling.png` in `--out`.
"""

import argparse
import contextlib
import heapq
import json
import math
import random
import subprocess
import sys
import time
from collections import deque
from itertools import count, islice
from pathlib import Path
from statistics import median

from tracking_load import environment_of, overrides_for

WORKERS = (1, 10, 100, 1000)
NUM_PLANNED = 10_000
TRIAL_S = 10.0
WARM_UP_S = 10.0  # not counted: the first writes import libraries
ROWS = 16  # of a population, where groups of many are scheduled


class Over(Exception):  # noqa: N818 no error
    """The time is up."""


class Sleeping:
    """An executor whose workers sleep: what a trial produces comes in equal intervals.

    Attributes:
        lags: seconds between the moment when a worker had something to say and that when it was read.
        num_values: metrics in what was read.
        num_ended: trials.
        cpu_s: of this process; all of them after the warming up.
    """

    def __init__(self, capacity, made, seconds):
        self.capacity = capacity
        self.lags, self.num_values, self.num_ended, self.cpu_s = [], 0, 0, None
        self._made = made  # what trials produce, in turn
        self._seconds = seconds
        self._counts_from = self._until = math.inf  # from the first trial on
        self._numbers = count()
        self._random = random.Random(0)
        self._queue = deque()
        self._num_free = capacity
        self._due = []  # (when, number, event)

    def submit(self, group):
        if self._until == math.inf:
            self._counts_from = time.monotonic() + WARM_UP_S
            self._until = self._counts_from + self._seconds
        self._queue.append(group)
        self._start()

    def _start(self):
        from benchmark.training.events import Event

        while self._queue and self._num_free:
            self._num_free -= 1
            (trial,) = self._queue.popleft().trials
            contents = self._made[next(self._numbers) % len(self._made)]
            now, takes = time.monotonic(), TRIAL_S * self._random.uniform(0.5, 1.5)
            for number, content in enumerate(contents, 1):
                when = now + takes * number / len(contents)
                heapq.heappush(self._due, (when, next(self._numbers), Event(trial, content)))

    def events(self):
        from benchmark.training.events import Outcome

        time.sleep(max(0.0, min(self._due[0][0], self._until) - time.monotonic()))
        while self._due and self._due[0][0] <= time.monotonic():
            when, _, event = heapq.heappop(self._due)
            is_end = isinstance(event.content, Outcome)
            self._count(when, None if is_end else event.content.row)
            if is_end:
                self._num_free += 1
                self._start()
            yield event
        self._count()

    def _count(self, when=None, row=None):
        """What was read just now, due at `when`; a row of curves, or the end of a trial."""
        now = time.monotonic()
        if now < self._counts_from:
            return
        if self.cpu_s is None:
            self.cpu_s = time.process_time()
        if now > self._until:
            self.cpu_s = time.process_time() - self.cpu_s
            raise Over
        if when is not None:
            self.lags.append(now - when)
            self.num_ended += row is None
            self.num_values += 0 if row is None else sum(not math.isnan(value) for value in row.values()) - 1


def measure(num_workers, folder, seconds):
    """One line of the table."""
    import torch
    from made_load import contents_of

    from benchmark.base.environment import describe_environment
    from benchmark.data.datasets import load
    from benchmark.execution.chains import Scheduler
    from benchmark.study import plan
    from benchmark.study.files import load_study
    from benchmark.study.identity import cell
    from benchmark.tracking.mlflow.study_log import MlflowStudyLog
    from benchmark.tracking.recorder import Recorder

    class Timed(Scheduler):
        """Adds up what making groups takes."""

        seconds, num_groups = 0.0, 0

        def _next_group(self, share):
            began = time.perf_counter()
            group = super()._next_group(share)
            self.seconds += time.perf_counter() - began
            self.num_groups += 1
            return group

    study = load_study("quick", overrides_for(1000))
    cpu = torch.device("cpu")
    data = load(study.data, cpu, folder / "data")
    cells = [(variant, rate) for variant in study.variants.product() for rate in plan.grid(study)]
    seeds = range(-(-NUM_PLANNED // len(cells)))
    trials = [
        trial
        for variant, rate in cells
        for trial in cell(study, variant, rate, seeds, "sweep", data.fingerprint)
    ][:NUM_PLANNED]
    made = [list(contents_of(trial)) for trial in islice(trials, 0, None, NUM_PLANNED // 50)]

    def chain():
        yield trials

    uri = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    log = MlflowStudyLog(uri, folder, study, data, describe_environment(cpu), "")
    before_mib = memory_mib("VmRSS")
    executor = Sleeping(num_workers, made, seconds)
    scheduler = Timed("sweep", executor, log.finished, [Recorder(log)], 1)
    with contextlib.suppress(Over):
        scheduler.run([chain()])
    log.close(complete=False, interrupted=True)

    populations = Timed("sweep", executor, lambda stage, trial: None, [], 1, lambda trial: ROWS)
    populations._advance(chain())
    while populations._queue:
        populations._next_group(NUM_PLANNED)
    lags = sorted(executor.lags)
    return {
        "workers": num_workers,
        "trials": executor.num_ended,
        "trials_per_s": executor.num_ended / seconds,
        "offered_per_s": num_workers / TRIAL_S,
        "metrics_per_s": executor.num_values / seconds,
        "lag_median_s": median(lags),
        "lag_95_s": lags[int(0.95 * len(lags))],
        "cpu_share": executor.cpu_s / seconds,
        "mib_before": before_mib,
        "mib_peak": memory_mib("VmHWM"),
        "group_ms": 1e3 * scheduler.seconds / scheduler.num_groups,
        "population_ms": 1e3 * populations.seconds / populations.num_groups,
    }


def memory_mib(key):
    """This process' memory: `VmRSS`, what it has; `VmHWM`, the most it has had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if key in line)
    return int(line.split()[1]) / 1024


def draw(table, path):
    """Trials, lag and memory over workers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", context="paper")
    figure, (rates, lags, memory) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    names = {"offered_per_s": "if the runner took no time", "trials_per_s": "written"}
    long = table.melt("workers", list(names), "what", "trials/s").replace({"what": names})
    sns.lineplot(long, x="workers", y="trials/s", hue="what", style="what", markers=True, ax=rates)
    rates.set(yscale="log", ylabel="trials per second")
    rates.legend(title=None)
    names = {"lag_median_s": "median", "lag_95_s": "95% of them below"}
    long = table.melt("workers", list(names), "what", "lag").replace({"what": names})
    sns.lineplot(long, x="workers", y="lag", hue="what", style="what", markers=True, ax=lags)
    lags.set(yscale="log", ylabel="seconds until a result is read")
    lags.legend(title=None)
    sns.lineplot(table, x="workers", y="mib_peak", marker="o", ax=memory)
    memory.set(ylim=(0, 1.1 * table["mib_peak"].max()), ylabel="the runner's peak memory, MiB")
    for panel in (rates, lags, memory):
        panel.set(xscale="log", xlabel="simulated workers")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new, or empty")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="of each number of workers")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.one:
        print(json.dumps(measure(options.workers[0], options.folder, options.seconds)))
        return
    lines = []
    for number in options.workers:
        words = [__file__, str(options.folder / str(number)), "--one", "--workers", str(number)]
        done = subprocess.run(
            [sys.executable, *words, "--seconds", str(options.seconds)],
            check=True,
            stdout=subprocess.PIPE,
            env=environment_of(options.folder),
        )
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(lines[-1], flush=True)
    import pandas as pd

    table = pd.DataFrame(lines)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "scaling.csv", index=False, float_format="%.4g")
    draw(table, options.out / "scaling.png")


if __name__ == "__main__":
    main()
