"""A study run once more, through the command line: `replicate`, `replications`, and the report's table."""

import json

import pytest
from running import TINY, Left, main_of, make_unlucky

CPU = ("--device", "cpu")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


def studies(folder):
    """The resolved studies that were run, by name."""
    found = [
        json.loads(path.read_text()) for path in folder.glob("mlruns/artifacts/*/*/artifacts/study.json")
    ]
    return {study["name"]: study for study in found}


def test_a_study_is_replicated_and_both_are_laid_side_by_side(folder, monkeypatch):
    assert main_of("benchmark", folder, "run", "tiny.toml", *CPU)[0] == 0
    code, _, errors = main_of("analysis", folder, "replications", "tiny.toml")
    assert (code, "python -m benchmark replicate tiny" in errors) == (2, True)

    make_unlucky(monkeypatch, 6)
    assert main_of("benchmark", folder, "replicate", "tiny.toml", *CPU)[0] == 1
    code, _, errors = main_of("analysis", folder, "replications", "tiny.toml")
    assert (code, "expected a complete replication, found none" in errors) == (2, True)

    monkeypatch.undo()  # what was stopped is gone on with; the next one comes after it
    before = Left(folder).trial_hashes()
    assert main_of("benchmark", folder, "replicate", "tiny.toml", *CPU)[0] == 0
    assert Left(folder).trial_hashes() == before
    assert set(studies(folder)) == {"tiny", "tiny-replication-1"}
    assert main_of("benchmark", folder, "replicate", "tiny.toml", *CPU)[0] == 0
    found = studies(folder)
    assert {
        name: (study["seeds"]["first"], study["data"]["split_seed"]) for name, study in found.items()
    } == {
        "tiny": (0, 0),
        "tiny-replication-1": (5, 1),
        "tiny-replication-2": (10, 2),
    }
    seeds = [tags["seed"] for tags in Left(folder).tags().values() if tags["kind"] == "trial"]
    assert sorted(map(int, set(seeds))) == list(range(15))

    code, out, _ = main_of("analysis", folder, "replications", "tiny.toml")
    assert code == 0
    for number in (1, 2):
        assert f"tiny-replication-{number}: " in out
    code, out, errors = main_of("analysis", folder, "report", "tiny.toml")
    assert code == 0, errors
    report = folder / out.strip().splitlines()[-1]
    assert "Does it replicate?" in report.read_text()
    rows = (report.parent / "tables" / "replications.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 9  # every claim but that on saturating activations, of each replication


def test_the_replications_own_command_repeats_it(folder):
    assert main_of("benchmark", folder, "replicate", "tiny.toml", *CPU)[0] == 0
    progress = next(folder.glob("mlruns/artifacts/tiny-replication-1/*/artifacts/progress.json"))
    command = json.loads(progress.read_text())["command"]
    settings = "--set name=tiny-replication-1 --set seeds.first=5 --set data.split_seed=1"
    assert command == f"python -m benchmark run tiny.toml --device cpu {settings}"
    before = Left(folder).trials()
    assert main_of("benchmark", folder, *command.split()[3:])[0] == 0
    assert Left(folder).trials() == before
