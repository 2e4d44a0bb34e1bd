"""Whether the soak would see what it looks for: its oracle, on a study from which something was taken."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from running import TINY, Left, main_of
from soak import attacked

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A study, run and reported on, in a folder as the soak has it."""
    folder = tmp_path_factory.mktemp("soak")
    study = attacked.Study(folder)
    (folder / f"{attacked.NAME}.toml").write_text(TINY.replace("tiny", attacked.NAME, 1))
    assert main_of(*("benchmark", folder, *attacked.RUN[1:]))[0] == 0
    code, out, errors = main_of("analysis", folder, "report", attacked.NAME)
    assert code == 0, out + errors
    return study


@pytest.fixture
def attacked_study(ran, tmp_path):
    shutil.copytree(ran.folder, tmp_path / "copy")
    return attacked.Study(tmp_path / "copy")


def change(study, statement):
    with contextlib.closing(sqlite3.connect(study.mlruns / "mlflow.db")) as connection:
        connection.execute(statement)
        connection.commit()


def found(study, reference):
    tally = attacked.Tally("made")
    attacked.compare(study, reference, tally, "something", report=True)
    kinds = ("lost", "doubled", "tracebacks", "other")
    return {kind: lines for kind in kinds if (lines := list(getattr(tally, kind)))}


def test_nothing_is_found_where_nothing_is_wrong(attacked_study, ran):
    assert found(attacked_study, ran) == {}


@pytest.mark.parametrize(
    ("statement", "kind", "words"),
    [
        ("delete from tags where key = 'trial_hash' and value = '{hash}'", "lost", "cannot be read"),
        (
            "update tags set value = '0' where key = 'trial_hash' and value = '{hash}'",
            "lost",
            "{hash} is gone",
        ),
        ("update tags set value = '{hash}' where key = 'trial_hash'", "doubled", "{hash} has 10 runs"),
        ("update runs set status = 'RUNNING' where name like '%seed=0'", "lost", "2 runs are RUNNING"),
        ("update metrics set value = value + 1e-15 where key = 'val_loss'", "lost", "metrics differ"),
    ],
)
def test_what_is_lost_or_doubled_in_the_store_is_found(attacked_study, ran, statement, kind, words):
    trial = min(Left(ran.folder).trial_hashes())
    change(attacked_study, statement.format(hash=trial))
    assert words.format(hash=trial) in "\n".join(found(attacked_study, ran)[kind])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("mlruns/.optuna.db.partial", "other"),
        ("mlruns/mlflow.db.half-made", "other"),
        ("mlruns/reports/.attacked.scratch-abcdefgh", "other"),
        ("elsewhere.txt", "other"),
        ("tmp/left", "other"),
    ],
)
def test_what_is_left_behind_is_found(attacked_study, ran, path, kind):
    (attacked_study.folder / path).write_text("half wri")
    (line,) = found(attacked_study, ran)[kind]
    assert Path(path).name in line


def test_another_verdict_is_found(attacked_study, ran):
    path = attacked_study.mlruns / "reports" / attacked.NAME / "verdicts.json"
    path.write_text(path.read_text().replace('"outcome": "', '"outcome": "NOT ', 1))
    assert found(attacked_study, ran) == {"lost": ["something: verdicts.json differs"]}


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (None, "", "other"),
        (-11, "", "other"),
        (0, "Traceback (most recent call last):", "tracebacks"),
        (0, "Exception ignored in: <module>", "tracebacks"),
    ],
)
def test_a_command_that_ends_otherwise_than_promised_is_found(code, said, kind):
    tally = attacked.Tally("made")
    tally.heard(attacked.Said(attacked.RUN, said), code, "something")
    assert len(getattr(tally, kind)) == 1
    assert not tally.is_clean


def test_a_command_is_forked_and_killed(ran, tmp_path):
    """What a person would give, at once: its imports are this process' own."""
    study = attacked.Study(tmp_path / "forked")
    process = study.start(("benchmark", "status", f"{attacked.NAME}.toml"))
    assert process.wait(120.0) == 0
    assert "was not run with these settings" in process.stderr
    process = study.start(("benchmark", "status", "none"), first=lambda: os.kill(os.getpid(), 9))
    assert process.wait(120.0) == -9
