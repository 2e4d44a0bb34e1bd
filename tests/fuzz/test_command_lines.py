"""Command lines of both programs: they end well, or with code 2 and a line; and write in `mlruns/` alone."""

import contextlib
import os
from itertools import chain

import pytest
from fuzzing import ODD_WORDS, Watch, command, fuzzed, words
from hypothesis import strategies as st

import analysis.__main__
import analysis.commands
import analysis.report  # before anything is watched: matplotlib looks for its caches
import benchmark.__main__
import benchmark.cli.commands
import benchmark.throughput.command
from benchmark.base.environment import choose_device
from benchmark.study.files import load_studies

STORES = ["sqlite:///none.db", "sqlite:///", "sqlite:///garbage.db", "sqlite:///mlruns", "sqlite:///pipe"]
STUDIES = ["smoke", "quick", "own.toml", "bad.toml", "pipe.toml", "folder.toml", "./own.toml", "../x.toml"]
odd = st.one_of(st.sampled_from(ODD_WORDS), words)
studies = st.one_of(st.sampled_from(STUDIES), odd)


def joined(parts):
    return [*chain(*parts)]


def flag(name, values):
    return st.tuples(st.just(name), values).map(list)


stores = flag("--tracking-uri", st.sampled_from(STORES))
sets = flag("--set", st.one_of(odd, st.tuples(st.sampled_from(["network.width", "name"]), odd).map("=".join)))
devices = flag(
    "--device", st.one_of(st.sampled_from(["cpu", "auto", "cuda:99", "mps", "cuda:", "cuda:²"]), odd)
)
stray = odd.map(lambda word: [word])


def lines(verbs, *flags):
    """A verb, mostly one that there is, its words and flags, and others."""
    rest = st.lists(st.one_of(*flags, stray), max_size=3).map(joined)
    return st.tuples(st.one_of(st.sampled_from(verbs), odd), studies, rest).map(lambda it: [*it[:2], *it[2]])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a study, and what is called like one."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "own.toml").write_text('extends = "smoke"\nname = "own"\n')
    (folder / "bad.toml").write_bytes(b"name = \xff")
    (folder / "folder.toml").mkdir()
    (folder / "garbage.db").write_text("hello" * 1000)
    (folder / "garbage.csv").write_text("candidate,ratio\n1,2\n\x00")
    for name in ("pipe", "pipe.toml", "pipe.csv"):
        os.mkfifo(folder / name)
    (folder / "mlruns").mkdir()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder, patch


def read_alone(options, folder, again):
    """In place of training: what comes before it."""
    load_studies(options.study, options.overrides)
    choose_device(options.device)
    return 0


@fuzzed(
    "python -m benchmark",
    short=40,
    full=1500,
    line=lines(["plan", "run", "replicate", "status", "status"], sets, devices, stores),
)
def test_any_command_line_of_the_benchmark(place, line):
    folder, patch = place
    for verb in ("plan", "run", "replicate"):
        patch.setattr(benchmark.cli.commands, verb, read_alone)
    with Watch(folder / "mlruns"):
        command(benchmark.__main__.main, line)


outs = flag("--out", st.sampled_from(["mlruns/out", "mlruns/x.csv", "garbage.db/x", ".", "..", "", "mlruns"]))
runs = flag("--run", odd)
data = flag("--data", st.one_of(st.sampled_from([".", "mlruns", "pipe", "garbage.db"]), odd))


@fuzzed(
    "python -m analysis",
    short=40,
    full=1500,
    line=st.one_of(
        lines(["report", "claims", "replications"], stores, outs, runs),
        st.tuples(st.just(["export"]), st.lists(studies, max_size=3), outs).map(joined),
        st.tuples(st.just(["findings"]), data, outs).map(joined),
        st.tuples(st.just(["calibrate", "--studies"]), stray).map(joined),
        st.tuples(
            st.just(["throughput"]), st.sampled_from(["garbage.csv", "pipe.csv", ".", "x"]).map(lambda x: [x])
        ).map(joined),
    ),
)
def test_any_command_line_of_the_analysis(place, line):
    folder, patch = place
    patch.setattr(analysis.commands, "calibrate", lambda options: None)
    with Watch(folder / "mlruns"):
        command(analysis.__main__.main, line)
