"""Measuring: every candidate of a net in turn, round after round, so that what disturbs one disturbs all."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark.throughput.ceilings import CEILINGS, Machine, Work, binding, shares
from benchmark.throughput.nets import NETS
from benchmark.throughput.ours import TrialTook
from benchmark.throughput.processes import Built, Candidate, Home, ask_all
from benchmark.throughput.timing import Took
from benchmark.throughput.with_keras import BACKENDS
from benchmark.training.engines import ENGINES

REPLICAS = (1, 4, 8, 16)
SIDE_BY_SIDE = 2  # threads of one process against processes of one thread
BASELINE = Candidate("conventional", threads=0)

Row = dict[str, Any]
COLUMNS = (
    "net", "normalization", "candidate", "processes", "threads", "replicas", "batch_size", "rounds", "steps",
    "images_per_s", "images_per_s_q1", "images_per_s_q3", "images_per_s_per_replica",
    "ratio", "ratio_q1", "ratio_q3", "cpu_s_per_1000", "cpu_s_per_1000_q1", "cpu_s_per_1000_q3", "cpu_ratio",
    "launches", *(f"share_{name}" for name in CEILINGS), "limit", "skipped",
)  # fmt: skip
"""Of the table.

Every quantity is a median over the rounds, `_q1` and `_q3` its quartiles. `images_per_s` is of all replicas
and processes together. `ratio` (of images per second; above 1 is faster) and `cpu_ratio` (of CPU seconds per
image; below 1 is cheaper) are taken to the conventional script within each round. A share is a ceiling's time
over the measured time of a step; `limit` names the greatest.
"""
TRIAL_COLUMNS = (
    "net", "normalization", "candidate", "replicas", "rounds", "step_ms", "evaluation_s",
    "trial_s", "trial_s_q1", "trial_s_q3", "evaluation_share", "auto_against_best", "skipped",
)  # fmt: skip
"""Of whole trials: medians over the rounds, of one replica, its share of what its population takes.

`evaluation_share` is that of all evaluations in the trial. `auto_against_best` is known of the engine and the
replicas that `auto` takes: the least `trial_s` of the round over its own; 1 where it has chosen the best.
"""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        nets: names of `NETS`.
        trials: of which of them whole trials are timed, too, with the last normalization.
        normalizations: of each net.
        rounds: of steps.
        trial_rounds: of whole trials.
        seconds: that a candidate trains in each round, about.
        large: whether ceilings are sought among what takes long.
    """

    nets: tuple[str, ...] = tuple(NETS)
    trials: tuple[str, ...] = ("digits", "cifar-16")  # of the widest one minutes: see tests/against_commit.py
    normalizations: tuple[str, ...] = ("none", "batch")
    rounds: int = 7
    trial_rounds: int = 3
    seconds: float = 0.5
    large: bool = True


FULL = Settings()
QUICK = Settings(("digits",), ("digits",), ("batch",), 2, 1, 0.02, large=False)
"""Whether it works, in seconds: its numbers are worth little."""


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        rows: by `COLUMNS`.
        trials: by `TRIAL_COLUMNS`.
        machines: (processes, threads) -> what the machine could do with them.
    """

    rows: list[Row]
    trials: list[Row]
    machines: dict[tuple[int, int], Machine]


def candidates(device: str, *, quick: bool = False) -> list[Candidate]:
    """All there is: the conventional script as people run it, and with one thread; Keras; every engine.

    Args:
        device: `cpu`, `cuda` or `mps`; processes and threads are compared on the first alone.
        quick: only the script as people run it and the engines, alone: each process takes seconds to start.
    """
    found = [BASELINE]
    if not quick:
        found.append(Candidate("conventional"))
        found += [Candidate("keras", backend, threads=0) for backend in BACKENDS]
    for name, engine in ENGINES.items():
        rows = [count for count in REPLICAS if count <= engine.max_rows]
        found += [Candidate("ours", name, count) for count in rows]
        if device == "cpu" and not quick:
            found.append(Candidate("ours", name, rows[-1], threads=SIDE_BY_SIDE))
            found.append(Candidate("ours", name, rows[-1], processes=SIDE_BY_SIDE))
    return found


def at_most(asked: Sequence[Candidate], replicas: int) -> list[Candidate]:
    """The candidates with no more than so many replicas; what is then alike is there once."""
    return list(dict.fromkeys(replace(c, replicas=min(c.replicas, replicas)) for c in asked))


class Meter:
    """Measures candidates on a device. A context manager: it has their processes.

    Args:
        asked: the candidates; the first is what the others are compared with.
        settings: how much is measured.
        device: `cpu`, `cuda` or `mps`.
        say: called with a line about what is being done.
    """

    def __init__(
        self, asked: Sequence[Candidate], settings: Settings, device: str, say: Callable[[str], None]
    ) -> None:
        self._asked, self._settings, self._say = asked, settings, say
        self._device = device
        self._homes: dict[tuple[str, int, int], Home] = {}
        self._machines: dict[tuple[int, int], Machine] = {}

    def __enter__(self) -> "Meter":
        for place in dict.fromkeys(place for candidate in self._asked for place in candidate.homes):
            self._homes[place] = Home(*place[:2], self._device)
        return self

    def __exit__(self, *exc: object) -> None:
        for home in self._homes.values():
            home.close()

    def measure(self) -> Measured:
        """Everything, net by net."""
        pending: list[Callable[[], list[Row]]] = []
        trials: list[Row] = []
        for name in self._settings.nets:
            for normalization in self._settings.normalizations:
                self._say(f"{name}, {normalization}: setting up")
                work = ask_all(list(self._homes.values()), "take", NETS[name], normalization)[0]
                pending.append(self._net(name, normalization, work))
                if name in self._settings.trials and normalization == self._settings.normalizations[-1]:
                    trials += self._trials(name, normalization)
        # The ceilings are the best of what each net's turn has found.
        return Measured([row for rows in pending for row in rows()], trials, self._machines)

    def _net(self, name: str, normalization: str, work: Work) -> Callable[[], list[Row]]:
        """Measure one net; its rows are made in the end."""
        asked = self._asked if self._device != "cpu" else at_most(self._asked, NETS[name].most_replicas)
        built: dict[Candidate, Built] = {}
        skipped: dict[Candidate, str] = {}
        for candidate in asked:
            answers = ask_all(self._of(candidate), "build", candidate)
            if isinstance(answers[0], str):
                skipped[candidate] = answers[0]
            else:
                built[candidate] = answers[0]
        # Once for all that have the machine alike.
        for key, candidate in {(c.processes, built[c].threads): c for c in built}.items():
            self._ceilings(key, candidate)
        steps = {candidate: self._steps(candidate) for candidate in built}
        rounds: dict[Candidate, list[Took]] = {candidate: [] for candidate in built}
        for number in range(self._settings.rounds):
            self._say(f"{name}, {normalization}: round {number + 1} of {self._settings.rounds}")
            order = list(built) if number % 2 == 0 else list(built)[::-1]
            for candidate in order:
                rounds[candidate].append(self._took(candidate, steps[candidate]))

        base = [] if BASELINE not in built else _base(
            steps[BASELINE] * built[BASELINE].num_images, rounds[BASELINE]
        )  # fmt: skip

        def row(candidate: Candidate) -> Row:
            head = _head(name, normalization, candidate, COLUMNS)
            if candidate in skipped:
                return head | {"skipped": skipped[candidate]}
            facts, took = built[candidate], rounds[candidate]
            images = steps[candidate] * facts.num_images * candidate.processes
            launches = float(len(work.sizes)) if candidate.kind == "conventional" else facts.launches
            ceilings = self._machines[candidate.processes, facts.threads].seconds(
                work, launches, candidate.replicas
            )
            share = shares(ceilings, statistics.median(t.wall for t in took) / steps[candidate])
            return head | _speeds(images, candidate.processes * candidate.replicas, took, base) | {
                "threads": facts.threads, "batch_size": facts.num_images // candidate.replicas,
                "rounds": len(took), "steps": steps[candidate], "launches": launches,
                **{f"share_{ceiling}": value for ceiling, value in share.items()}, "limit": binding(share),
            }  # fmt: skip

        return lambda: [row(candidate) for candidate in asked]

    def _ceilings(self, key: tuple[int, int], candidate: Candidate) -> None:
        """Measure the machine as the candidate has it; the best that was ever found is kept."""
        found = ask_all(self._of(candidate), "machine", self._settings.seconds / 5, self._settings.large)
        for machine in found:
            self._machines[key] = machine.best(self._machines.get(key, machine))

    def _steps(self, candidate: Candidate) -> int:
        """How many steps fill a round."""
        steps = 1
        while True:
            wall = self._took(candidate, steps).wall
            if wall > self._settings.seconds / 4 or steps > 2000:
                return max(1, round(steps * self._settings.seconds / wall))
            steps *= 4

    def _took(self, candidate: Candidate, steps: int) -> Took:
        """The slowest process's wall time, and all processes' CPU time."""
        found = ask_all(self._of(candidate), "measure", candidate, steps)
        return Took(max(took.wall for took in found), sum(took.cpu for took in found))

    def _of(self, candidate: Candidate) -> list[Home]:
        return [self._homes[place] for place in candidate.homes]

    def _trials(self, name: str, normalization: str) -> list[Row]:
        """Whole trials of each engine, and which one `auto` takes."""
        counts = NETS[name].trial_replicas
        asked = [c for c in self._asked if c == Candidate("ours", c.name, c.replicas)]
        asked = [c for c in asked if c.replicas in counts]
        if not asked:
            return []
        (choice,) = ask_all(self._of(asked[0]), "chosen", max(counts))
        auto = Candidate("ours", *choice)
        asked += [] if auto in asked else [auto]
        rounds: list[dict[Candidate, TrialTook]] = []
        skipped: dict[Candidate, str] = {}
        for number in range(self._settings.trial_rounds):
            self._say(f"{name}, {normalization}: whole trials, {number + 1} of {self._settings.trial_rounds}")
            rounds.append({})
            for candidate in asked if number % 2 == 0 else asked[::-1]:
                (took,) = ask_all(self._of(candidate), "trial", candidate.name, candidate.replicas)
                if isinstance(took, str):
                    skipped[candidate] = took
                else:
                    rounds[-1][candidate] = took
        return [
            _head(name, normalization, c, TRIAL_COLUMNS)
            | ({"skipped": skipped[c]} if c in skipped else _trial_row(rounds, c, is_auto=c == auto))
            for c in asked
        ]


def _head(net: str, normalization: str, candidate: Candidate, columns: Sequence[str]) -> Row:
    """A row that says what it is about, and nothing yet of how fast it is."""
    known: Row = {"net": net, "normalization": normalization, "candidate": candidate.label}
    known |= {name: getattr(candidate, name) for name in ("processes", "threads", "replicas")}
    return dict.fromkeys(columns) | {name: value for name, value in known.items() if name in columns}


def _base(images: int, took: Sequence[Took]) -> list[tuple[float, float]]:
    """Images per second and CPU seconds per image, by round."""
    return [(images / t.wall, t.cpu / images) for t in took]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile, interpolated linearly."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(low), float(middle), float(high)


def _speeds(images: int, replicas: int, took: Sequence[Took], base: Sequence[tuple[float, float]]) -> Row:
    """The speeds of a candidate over the rounds.

    Args:
        images: of a round.
        replicas: all of them.
        took: by round.
        base: images per second, and CPU seconds per image, of the baseline; by round.
    """
    own = _base(images, took)
    row: Row = {}
    quantities = {
        "images_per_s": [speed for speed, _ in own],
        "cpu_s_per_1000": [1000 * cpu for _, cpu in own],
    }
    if base:
        pairs = list(zip(own, base, strict=True))
        quantities["ratio"] = [speed / theirs for (speed, _), (theirs, _) in pairs]
        row["cpu_ratio"] = statistics.median(cpu / theirs for (_, cpu), (_, theirs) in pairs)
    for name, values in quantities.items():
        row[f"{name}_q1"], row[name], row[f"{name}_q3"] = quartiles(values)
    return row | {"images_per_s_per_replica": row["images_per_s"] / replicas}


def _trial_row(rounds: Sequence[dict[Candidate, TrialTook]], candidate: Candidate, *, is_auto: bool) -> Row:
    """What the rounds say of a candidate's trials."""
    took = [turn[candidate] for turn in rounds]
    low, middle, high = quartiles([t.whole for t in took])
    row: Row = {
        "rounds": len(took),
        "step_ms": 1000 * statistics.median(t.step for t in took),
        "evaluation_s": statistics.median(t.evaluation for t in took),
        "trial_s_q1": low,
        "trial_s": middle,
        "trial_s_q3": high,
        "evaluation_share": statistics.median(t.evaluation_share for t in took),
    }
    if is_auto:
        best = [min(t.whole for t in turn.values()) / turn[candidate].whole for turn in rounds]
        row["auto_against_best"] = statistics.median(best)
    return row
