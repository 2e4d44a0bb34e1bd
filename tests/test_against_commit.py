"""Two commits timed in turn: what is run, in which order, and how the table is made of it."""

import json
import subprocess
import sys
from pathlib import Path

import against_commit
import pytest
import timed_trial
from against_commit import JOBS, Part, compare, table

# Children that burn a little CPU time, and are waited for.
BURN = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])"


def note(tree, words="pass"):
    """A part that notes in `tree` that it was run, where, and with which code in its path."""
    code = f"import os, pathlib; open('{tree}/order', 'a').write(os.environ['PYTHONPATH'][-1]); {words}"
    return Part("note", ("-c", code))


def test_both_sides_are_run_in_turn_each_with_its_own_code(tmp_path):
    trees = [tmp_path / "0", tmp_path / "1"]
    for tree in trees:
        tree.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        found = compare({"job": (note(tmp_path),)}, trees, 3)
    assert (tmp_path / "order").read_text() == "011001"
    assert list(found) == ["note"]
    assert len(found["note"]) == 3


def test_cpu_time_is_that_of_all_processes(tmp_path):
    (wall, cpu) = against_commit.run(Part("burn", ("-c", BURN)), tmp_path, tmp_path)["burn"]
    assert 0.05 < cpu < 2 * wall


def test_each_run_has_a_fresh_folder_shared_by_its_parts(tmp_path):
    first = Part("study, first", ("-c", "open('seen', 'x')"))
    second = Part("study, second", ("-c", "open('seen')"))
    for _ in range(2):
        found = against_commit.once((first, second), tmp_path)
        assert list(found) == ["study, first", "study, second", "study, whole"]
        for kind in (0, 1):
            assert found["study, whole"][kind] == pytest.approx(
                found["study, first"][kind] + found["study, second"][kind]
            )


def test_a_command_that_fails_says_its_own_words(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)exit code 3.*told"):
        against_commit.run(
            Part("bad", ("-c", "import sys; print('told', file=sys.stderr); sys.exit(3)")), tmp_path, tmp_path
        )


def test_telemetry_is_off(tmp_path):
    code = "import os; assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == os.environ['DO_NOT_TRACK'] == 'true'"
    against_commit.run(Part("quiet", ("-c", code)), tmp_path, tmp_path)


def test_the_table_has_medians_of_ratios_of_the_same_round():
    """Old 2, 4, 9; new 1, 4, 3: ratios 2, 1, 3. CPU seconds: 4 to 8, half."""
    found = {"job": [((2, 4), (1, 8)), ((4, 4), (4, 8)), ((9, 4), (3, 8))]}
    assert table(found).splitlines()[2:] == [
        "| job | 3 | 4 s | 3 s | 2.00 [1.50, 2.50] | 4 s | 8 s | 0.50 [0.50, 0.50] |"
    ]


def test_worktrees_are_of_the_commits_and_are_removed(capsys):
    against_commit.main(
        ["HEAD", "--rounds", "1", "--command", "-c 'import benchmark; print(benchmark.__file__)'"]
    )
    assert " 1 | " in capsys.readouterr().out
    listed = against_commit.git("worktree", "list")
    assert "/old " not in listed
    assert "/new " not in listed


def test_a_commit_that_is_not_there_ends_in_a_line():
    with pytest.raises(SystemExit, match="git rev-parse"):
        against_commit.main(["no-such-commit"])


def test_jobs_name_studies_and_trials():
    assert [part.name for part in JOBS["quick"]] == ["quick, study alone", "quick, report alone"]
    assert JOBS["confirm-60"][0].words[0] == str(Path(timed_trial.__file__))


def test_a_trial_is_composed_of_its_parts():
    """Of the cifar100 study: 10,000 steps, an evaluation every 200 and one at first."""
    done = subprocess.run(
        [sys.executable, timed_trial.__file__, "--width", "3", "--steps", "2", "--images", "160", "40"],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(against_commit.ROOT)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert list(found) == ["step", "evaluation", "whole"]
    for kind in (0, 1):
        step, evaluation, whole = (found[name][kind] for name in found)
        assert step > 0
        assert evaluation > 0
        assert whole == pytest.approx(10_000 * step + 51 * evaluation)
