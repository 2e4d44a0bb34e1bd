"""What a study logged, damaged: it is named, or read as it was; and what can be is found anew."""

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from running import TINY, Left, main_of

import analysis.errors
from analysis.data.files import read_json, read_table
from benchmark.base.errors import InputError
from benchmark.contract import CURVE_METRICS, PROBE_COLUMNS, local_artifacts
from benchmark.contract.files import unsealed
from benchmark.tracking.mlflow.store import Artifacts

URI = "sqlite:///mlflow.db"
ROWS = {
    "curves.parquet": [dict.fromkeys(CURVE_METRICS, 0.1) | {"step": 10 * step} for step in range(6)],
    "probes.parquet": [
        dict(zip(PROBE_COLUMNS, (step, "gradient_norm", f"conv{layer}", layer, 0.3 * layer), strict=True))
        for step in range(0, 60, 10)
        for layer in range(6)
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_no_flipped_bit_is_read_as_another_number(name, tmp_path, monkeypatch):
    """Of 400 flips 113 once were. Those in the names of columns are told by the names."""
    monkeypatch.chdir(tmp_path)
    Artifacts(None, URI, "made").write_table("run", name, ROWS[name])
    path = local_artifacts(URI, "made", "run") / name
    content, whole = path.read_bytes(), read_table(path)
    assert whole.to_pylist() == ROWS[name]
    rng = np.random.default_rng(0)
    refused = []
    for position, bit in zip(rng.integers(0, len(content), 400), rng.integers(0, 8, 400), strict=True):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            table = read_table(path)
        except analysis.errors.InputError as error:
            refused.append(str(error))
            continue
        assert table.to_pylist() == ROWS[name] or table.column_names != whole.column_names
    assert len(refused) > 100
    assert all(message.startswith(f"{path}: expected a parquet file, found ") for message in refused)


def test_no_flipped_bit_of_a_document_is_read_as_another(tmp_path, monkeypatch):
    document = {"name": "made", "seeds": {"sweep": 8}, "rates": [0.1, 1e-3, None], "words": "a, b"}
    monkeypatch.chdir(tmp_path)
    artifacts = Artifacts(None, URI, "made")
    artifacts.write_json("run", "study.json", document)
    assert artifacts.read_json("run", "study.json") == document
    path = local_artifacts(URI, "made", "run") / "study.json"
    content = path.read_bytes()
    for position, bit in itertools.product(range(len(content)), range(8)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        for read in (lambda: read_json(path), lambda: artifacts.read_json("run", "study.json")):
            with contextlib.suppress(InputError, analysis.errors.InputError):
                assert read().items() >= document.items()  # what the seal is called is no part of it


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ran")
    (folder / "tiny.toml").write_text(TINY)
    assert main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")[0] == 0
    return folder


@pytest.fixture
def copy(ran, tmp_path):
    return Path(shutil.copytree(ran, tmp_path / "copy"))


def document_of(folder, name):
    (path,) = folder.glob(f"mlruns/artifacts/tiny/*/artifacts/{name}.json")
    return path


def changed(path):
    path.write_text(path.read_text().replace("0", "1", 1))


def folder_instead(path):
    path.unlink()
    path.mkdir()


def pipe_instead(path):
    path.unlink()
    os.mkfifo(path)


def other_values(path):
    """An object with the same keys, and no checksum that could tell."""
    document = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps({key: ["other"] for key in document} | {"earlier": 1}))


DAMAGES = [changed, folder_instead, pipe_instead, lambda path: path.write_text("[]"), other_values]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["progress", "environment", "decisions", "schema", "study"])
def test_a_damaged_document_is_named_and_the_study_finds_it_anew(copy, caplog, name, damage):
    path, before = document_of(copy, name), Left(copy).trials()
    damage(path)
    code, _, errors = main_of("analysis", copy, "claims", "tiny")
    if (damage, name) != (other_values, "environment"):  # of which nothing is expected
        assert code == 2
        assert len(errors.splitlines()) == 1
        assert f"{name}.json" in errors
        assert ": expected " in errors
    if not path.is_dir():
        assert main_of("benchmark", copy, "run", "tiny.toml", "--device", "cpu")[0] == 0
        assert Left(copy).trials() == before
        assert main_of("analysis", copy, "claims", "tiny")[0] == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_engines_are_not_chosen_anew_unasked(copy, damage):
    """Others would train every trial again."""
    damage(document_of(copy, "engines"))
    for words in (
        ("benchmark", copy, "run", "tiny.toml", "--device", "cpu"),
        ("analysis", copy, "claims", "tiny"),
    ):
        code, _, errors = main_of(*words)
        assert code == 2
        assert "engines.json" in errors.splitlines()[-1]
        assert ": expected " in errors.splitlines()[-1]


def test_trials_whose_tables_are_damaged_are_trained_again_and_no_other(tmp_path, caplog):
    (tmp_path / "tiny.toml").write_text(TINY)
    watched = ("--set", 'probes.enabled=["gradients"]')
    run = ("benchmark", tmp_path, "run", "tiny.toml", "--device", "cpu", *watched)
    assert main_of(*run)[0] == 0
    whole, report = Left(tmp_path).trials(), ("analysis", tmp_path, "report", "tiny")
    curves = sorted(tmp_path.glob("mlruns/artifacts/tiny/*/artifacts/curves.parquet"))
    assert len(curves) == 10
    shutil.rmtree(curves[0].parent)
    curves[1].write_bytes(curves[1].read_bytes()[:-1])
    curves[2].with_name("probes.parquet").unlink()
    untouched = {path: path.stat().st_mtime_ns for path in curves[3:]}

    code, out, _ = main_of(*report)
    assert code == 0
    assert "3 trials are left out" in (tmp_path / out.strip().splitlines()[-1]).read_text()

    assert main_of(*run)[0] == 0
    assert caplog.text.count("is damaged or gone; it is trained again") == 3
    assert Left(tmp_path).trials() == whole
    assert Left(tmp_path).repeated_steps() == []
    assert {path: path.stat().st_mtime_ns for path in curves[3:]} == untouched
    code, out, _ = main_of(*report)
    assert code == 0
    page = (tmp_path / out.strip().splitlines()[-1]).read_text()
    assert "trials are left out" not in page
    assert "Nothing: every planned trial ended." in page


RUN = ("run", "tiny.toml", "--device", "cpu")
DATABASE_DAMAGES = [
    *(folder_instead, pipe_instead),
    lambda path: path.write_text("no database"),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(bytes(path.stat().st_size)),
    lambda path: os.truncate(path, 40_000),
]


@pytest.mark.parametrize("damage", DATABASE_DAMAGES)
def test_a_damaged_store_is_named_and_never_replaced(copy, damage):
    path = copy / "mlruns" / "mlflow.db"
    damage(path)
    damaged = path.read_bytes() if path.is_file() else None
    for words in (("benchmark", *RUN), ("benchmark", "status", *RUN[1:2]), ("analysis", "claims", "tiny")):
        code, _, errors = main_of(words[0], copy, *words[1:])
        assert code == 2, words
        assert "mlflow.db" in errors.splitlines()[-1], words
        assert "Traceback" not in errors
    assert (path.read_bytes() if path.is_file() else None) == damaged
    assert not list(path.parent.glob("mlflow.db.*"))


def test_what_follows_from_the_trials_is_made_anew(copy, caplog):
    """The rates' storage and the cached data; the trials are not trained again."""
    left, mlruns = Left(copy), copy / "mlruns"
    before, rates = left.trials(), left.rates()
    untouched = {
        path: path.stat().st_mtime_ns for path in mlruns.glob("artifacts/tiny/*/artifacts/*.parquet")
    }
    folder_instead(mlruns / "optuna.db")
    pipe_instead(mlruns / "data" / "digits.cache")
    (run,) = {path.parent for path in mlruns.glob("artifacts/tiny/*/artifacts/study.json")}
    (run / ".progress.json.partial").write_text("of a process that was killed")
    assert main_of("benchmark", copy, *RUN)[0] == 0
    assert "optuna.db is damaged (it is no file): it is kept as optuna.db.damaged" in caplog.text
    assert left.trials() == before
    assert [len(rows) for rows in left.rates().values()] == [len(rows) for rows in rates.values()]
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert not list(mlruns.rglob("*.partial"))


@pytest.mark.parametrize(
    ("table", "key"),
    [("tags", "stage"), ("tags", "status"), ("tags", "trial_hash"), ("latest_metrics", "final_val_loss")],
)
def test_what_the_store_has_lost_of_a_trial_is_named(copy, table, key):
    """As by a flipped bit in a key, which SQLite cannot tell."""
    with contextlib.closing(sqlite3.connect(copy / "mlruns" / "mlflow.db")) as connection:
        (run,) = connection.execute("select run_uuid from tags where key = 'trial_hash'").fetchone()
        change = f"update {table} set key = 'another' where key = ? and run_uuid = ?"
        connection.execute(change, (key, run))
        connection.commit()
    for words in (("benchmark", *RUN), ("analysis", "claims", "tiny")):
        code, _, errors = main_of(words[0], copy, *words[1:])
        assert code == 2
        kind = "tag" if table == "tags" else "metric"
        assert f"expected the {kind} {key}, found none" in errors.splitlines()[-1]
