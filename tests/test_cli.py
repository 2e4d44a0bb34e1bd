"""The command lines: their flags, pinned, and how bad input ends."""

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import analysis.__main__
import analysis.errors
import benchmark.__main__
from analysis.data.files import replacing

PARSERS = {"benchmark": benchmark.__main__.parser, "analysis": analysis.__main__.parser}
MAINS = {"benchmark": benchmark.__main__.main, "analysis": analysis.__main__.main}

STORE = {"--tracking-uri": None}
STUDY = {"STUDY": None}
TRACKED = {**STUDY, **STORE}
STORED = {**TRACKED, "--storage": None}
FLAGS = {
    "benchmark": {
        "plan": {**STORED, "--set": [], "--device": "auto"},
        "run": {**STORED, "--set": [], "--device": "auto"},
        "replicate": {**STORED, "--set": [], "--device": "auto"},
        "status": {**STORED, "--set": []},
        "deliver": STORE,
        "throughput": {"--device": "auto", "--quick": False, "--out": None},
    },
    "analysis": {
        "report": {**TRACKED, "--run": None, "--out": None},
        "claims": {**TRACKED, "--run": None},
        "replications": {**TRACKED, "--run": None},
        "export": {**TRACKED, "--out": Path("docs/data")},
        "findings": {"--data": Path("docs/data"), "--out": Path("docs/findings.md"), "--readme": None},
        "calibrate": {"--studies": 1000, "--out": None},
        "throughput": {"CSV": None},
    },
}
"""Every verb's flags and their defaults: scripts rely on them."""


def verbs_of(parser):
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return subparsers.choices


@pytest.mark.parametrize("package", PARSERS)
def test_flags_are_pinned(package):
    found = {
        verb: {
            (action.option_strings or [action.metavar])[0]: action.default
            for action in sub._actions
            if not isinstance(action, argparse._HelpAction)
        }
        for verb, sub in verbs_of(PARSERS[package]()).items()
    }
    assert found == FLAGS[package]


@pytest.mark.parametrize("package", PARSERS)
def test_every_verb_and_flag_is_explained(package):
    for sub in verbs_of(PARSERS[package]()).values():
        assert all(action.help for action in sub._actions)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Nothing lands in the repository, or comes from the user's own tracking server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "quik"], "unknown study 'quik': did you mean 'quick'?"),
        (["run", "quik"], "unknown study 'quik': did you mean 'quick'?"),
        (["status", "quik"], "unknown study 'quik': did you mean 'quick'?"),
        (["run", "missing.toml"], "expected a TOML file, found none at missing.toml"),
        (["run", "bad.toml"], "bad.toml: expected TOML, found"),
        (["run", "smoke", "--set", "network.width"], "--set: expected key=value, found 'network.width'"),
        (["plan", "smoke", "--set", "network.widht=7"], "smoke.toml: network.widht: no such key"),
        (["plan", "smoke", "--set", "network.width=seven"], "network.width: "),
        (["run", "smoke", "--set", "seeds.sweep=2"], "seeds.sweep: expected at least 5"),
        (["plan", "smoke", "--set", "network.blocks=9"], "network.blocks: expected at most 4"),
    ],
)
def test_bad_input_to_the_benchmark_is_one_line_and_code_2(words, said, tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("name =")
    assert MAINS["benchmark"](words) == 2
    err = capsys.readouterr().err
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda:99", "--device cuda:99: PyTorch finds"),
        ("tpu", "--device: expected auto, cpu, cuda, cuda:N or mps, found 'tpu': use --device auto"),
    ],
)
def test_a_device_that_is_not_there_is_one_line_and_code_2(verb, name, said, capsys):
    assert MAINS["benchmark"]([verb, "smoke", "--device", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("package", "words", "said"),
    [
        ("benchmark", ["train", "smoke"], "invalid choice: 'train'"),
        ("benchmark", ["run"], "the following arguments are required: STUDY"),
        ("benchmark", [], "the following arguments are required: verb"),
        ("benchmark", ["status", "smoke", "--device", "cpu"], "unrecognized arguments"),
        ("analysis", ["draw", "smoke"], "invalid choice: 'draw'"),
        ("analysis", ["calibrate", "--studies", "0"], "expected at least 1, found 0"),
    ],
)
def test_a_bad_command_line_is_code_2(package, words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        MAINS[package](words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("verb", ["report", "claims"])
@pytest.mark.parametrize(
    ("study", "said"), [("quick", "run a study first"), ("missing.toml", "found no file missing.toml")]
)
def test_bad_input_to_the_analysis_is_one_line_and_code_2(verb, study, said, capsys):
    assert MAINS["analysis"]([verb, study]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not list(Path.cwd().iterdir())  # and nothing was made


def test_the_command_that_goes_on_is_the_same_run():
    words = ["run", "my study.toml", "--set", "network.width=12", "--device", "cpu", "--tracking-uri", "x y"]
    options = PARSERS["benchmark"]().parse_args(words)
    assert benchmark.__main__._command_again(options) == (
        "python -m benchmark run 'my study.toml' --set network.width=12 --device cpu --tracking-uri 'x y'"
    )


def test_the_command_that_goes_on_names_a_teams_storage_without_its_password():
    words = ["run", "quick", "--storage", "postgresql://me:s3cret@db/optuna"]
    again = benchmark.__main__._command_again(PARSERS["benchmark"]().parse_args(words))
    assert again == "python -m benchmark run quick --storage 'postgresql://me:***@db/optuna'"


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("benchmark", ["status", "smoke"]),
        ("benchmark", ["run", "smoke", "--device", "cpu"]),
        ("analysis", ["claims", "smoke"]),
        ("analysis", ["report", "smoke"]),
    ],
)
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:s3cret@127.0.0.1:1", "Connection refused"),
        ("postgresql://me:s3cret@127.0.0.1:1/mlflow", "Connection refused"),
        ("postgresql+psychic://me:s3cret@127.0.0.1:1/mlflow", "Can't load plugin"),
    ],
)
def test_a_store_that_is_not_there_is_one_line_within_seconds(package, words, uri, said, capsys):
    for module in ("benchmark.cli.commands", "benchmark.cli.status", "analysis.commands", "sqlalchemy"):
        importlib.import_module(module)  # what a busy machine takes for that is not what is asked
    began = time.monotonic()
    assert MAINS[package]([*words, "--tracking-uri", uri]) == 2
    assert time.monotonic() - began < 10.0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert "s3cret" not in line
    assert not list(Path.cwd().glob("mlruns/locks"))


@pytest.mark.parametrize("asked_by", ["flag", "environment"])
def test_a_teams_storage_that_is_not_there_is_one_line(asked_by, monkeypatch, tmp_path, capsys):
    url = "postgresql://me:s3cret@127.0.0.1:1/optuna"
    monkeypatch.setenv("OPTUNA_STORAGE", "mysql://ignored" if asked_by == "flag" else url)
    words = ["--storage", url] if asked_by == "flag" else []
    assert MAINS["benchmark"](["run", "smoke", "--device", "cpu", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Connection refused" in line
    assert "s3cret" not in line
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()


@pytest.mark.parametrize("package", PARSERS)
def test_both_run_as_modules(package):
    done = subprocess.run(
        [sys.executable, "-m", package, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    for verb in FLAGS[package]:
        assert verb in done.stdout


@pytest.mark.parametrize(
    ("package", "words"), [("benchmark", ["status", "quik"]), ("analysis", ["claims", "x"])]
)
def test_both_run_without_telemetry_and_draw_into_files(package, words, monkeypatch):
    """Jupyter names a backend to every process, that need not be there."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "false")
    assert MAINS[package](words) == 2
    names = ("MPLBACKEND", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    assert [os.environ[name] for name in names] == ["agg", "true", "true"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "budget.batch_size=100000",
            "budget.batch_size: expected at most 1077, the training images there are, found 100000",
        ),
        ("network.width=100000", "network: expected at most 250,000,000 parameters, found "),
    ],
)
def test_what_is_far_too_large_is_refused_at_once_with_both_numbers(override, said, capsys):
    assert MAINS["benchmark"](["plan", "smoke", "--device", "cpu", "--set", override]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_folder_of_other_files_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with (
        pytest.raises(analysis.errors.InputError, match="expected a new folder"),
        replacing(tmp_path / "mine", "report.html"),
    ):
        pytest.fail("it was begun")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with replacing(tmp_path / "new", "report.html") as fresh:
        (fresh / "report.html").write_text("1")
    with replacing(tmp_path / "new", "report.html") as fresh:
        (fresh / "report.html").write_text("2")
    assert (tmp_path / "new" / "report.html").read_text() == "2"
