"""The findings that the repository ships are those of the data that it ships."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import hearing_hangups, wait_for_cpu

from analysis.findings import answer, compose, page_of, table_of

ROOT = Path(__file__).parents[1]
DATA, PAGE, README = ROOT / "docs" / "data", ROOT / "docs" / "findings.md", ROOT / "README.md"
MOST_BYTES = 2 * 2**20


@pytest.fixture(scope="module")
def composed():
    return compose(DATA, "findings")


def test_make_findings_gives_the_committed_page_table_and_answer(composed):
    content, verdicts = composed
    assert page_of(content) == PAGE.read_text()
    assert table_of(verdicts) == (PAGE.with_suffix("") / "verdicts.csv").read_text()
    assert answer(content, PAGE, README) in README.read_text()


def test_every_picture_of_the_page_is_there_and_no_other(composed):
    content, _ = composed
    wanted = {Path(picture.link).name for picture in content.pictures}
    assert wanted == {path.name for path in PAGE.with_suffix("").glob("*.png")}


def test_the_data_are_small_and_name_no_place_of_a_machine():
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for path in DATA.glob("*/run.json"):
        text = path.read_text()
        assert "/tmp" not in text
        assert "/home" not in text


def test_what_is_shipped_was_trained_by_a_commit_as_it_stands(composed):
    content, _ = composed
    ran = [*content.scales, *([content.notebook] if content.notebook else [])]
    for results in (run for one in ran for run in (one.results, *one.results.replications)):
        assert results.environment["git_dirty"] is False, results.study["name"]
        assert results.status == "complete"


@pytest.mark.parametrize(
    ("number", "after_s"),
    [(signal.SIGINT, 0.4), (signal.SIGINT, 1.2), (signal.SIGINT, 3.0), (signal.SIGHUP, 1.2)],
)
def test_an_interrupted_report_ends_in_a_line_and_leaves_nothing(tmp_path, number, after_s):
    """In imports, in the verdicts, in the figures; 11 of 20 such tries once ended in a traceback."""
    words = ["report", str(DATA / "quick"), "--out", str(tmp_path / "out" / "report")]
    with hearing_hangups():
        process = subprocess.Popen(
            [sys.executable, "-m", "analysis", *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
    wait_for_cpu(process, after_s)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    # Python ends itself by SIGINT, 130 to a shell, where that interrupted what `exec` runs.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert errors == "stopped; what there was before is as it was\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
