"""From `run` to `report.html` on the study made for it, and on studies that go wrong on the way."""

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import NARROW, TINY, Left, main_of, make_unlucky
from scipy.stats import rankdata

import analysis.report
from benchmark.execution.chains import Scheduler

AXIS = """
[axis]
key = "network.width"
label = "filters"
values = [3, 4]
"""


AT_BEST_RATES = ("faster-at-best-rate", "faster-at-same-rate", "regularizes", "worth-its-cost")


def one_sided_p(effects):
    """The exact signed-rank p of "effects <= 0" by listing all sign flips (protocol, section 8)."""
    effects = np.round(effects, 9)
    ranks = rankdata(np.abs(effects))
    positive = np.array(list(itertools.product((0, 1), repeat=len(ranks))))
    return np.mean(positive @ ranks >= ranks[effects > 0].sum())


def outcome_by_hand(verdict):
    """What a verdict's pairs say, in a family of one."""
    pairs = verdict["samples"]
    if not pairs:
        return "NOT EVALUABLE"
    if one_sided_p([float(pair["low"]) - verdict["delta"] for pair in pairs]) <= 0.05:
        return "SUPPORTED"
    if one_sided_p([verdict["delta"] - float(pair["high"]) for pair in pairs]) <= 0.05:
        return "REFUTED"
    return "INCONCLUSIVE"


@pytest.fixture
def folder(new_folder):
    folder = new_folder("tiny")
    (folder / "tiny.toml").write_text(TINY)
    return folder


@pytest.fixture(scope="module")
def report(smoke):
    code, out, errors = main_of("analysis", smoke.folder, "report", "smoke")
    assert code == 0, errors
    return smoke.folder / out.strip().splitlines()[-1]


def test_a_run_is_complete(smoke):
    statuses = [tags["status"] for tags in smoke.tags().values() if tags["kind"] == "trial"]
    assert set(statuses) <= {"trained", "stuck", "diverged"}
    planned = smoke.artifact("progress.json")["planned"]
    assert planned["sweep"] == 2 * 3 * 5
    assert len(statuses) == sum(planned.values())
    stages = Counter(tags["stage"] for tags in smoke.tags().values() if tags["kind"] == "trial")
    assert stages == planned
    confirm = smoke.artifact("decisions.json")["confirm"]
    assert planned["confirm"] == 5 * len(confirm)


def test_confirm_runs_seed_by_seed_so_that_the_times_of_a_pair_compare(smoke):
    runs = smoke._rows("mlflow.db", "select run_uuid from runs order by start_time, rowid")
    tags = smoke.tags()
    confirm = [tags[run] for (run,) in runs if tags[run].get("stage") == "confirm"]
    # Of each variant: an engine that trains several trials at once takes several seeds of one.
    for variant in {(own["normalization"], own["activation"]) for own in confirm}:
        seeds = [int(own["seed"]) for own in confirm if (own["normalization"], own["activation"]) == variant]
        assert len(set(seeds)) == 5
        assert seeds == sorted(seeds)


def test_a_finished_study_is_not_trained_again(smoke):
    before = smoke.trials(), smoke.run_statuses("trial"), smoke.rates()
    code, _, errors = main_of("benchmark", smoke.folder, "run", "smoke", *NARROW)
    assert code == 0
    assert "30 from an earlier run" in errors
    assert (smoke.trials(), smoke.run_statuses("trial"), smoke.rates()) == before


def test_status_counts_what_was_logged(smoke):
    code, out, _ = main_of("benchmark", smoke.folder, "status", "smoke", *NARROW[:2])
    assert code == 0
    lines = [line.replace("│", " ").replace("┃", " ").split() for line in out.splitlines()]
    (head,) = (line for line in lines if line[:1] == ["stage"])
    counts = Counter(
        (tags["stage"], tags["status"]) for tags in smoke.tags().values() if tags["kind"] == "trial"
    )
    for stage in ("sweep", "refine", "confirm"):
        (row,) = (line for line in lines if line[:1] == [stage])
        found = dict(zip(head[1:-1], map(int, row[1 : len(head) - 1]), strict=True))
        assert found == {status: counts[stage, status] for status in head[1:-1]}


def test_the_report_is_one_file_and_its_parts(report):
    page = report.read_text()
    assert report.name == "report.html"
    assert report.parent.parts[-3:] == ("mlruns", "reports", "smoke")
    for elsewhere in ('src="http', "src='http", 'href="http://', "<link", '<script src="'):
        assert elsewhere not in page
    names = {path.name for path in report.parent.iterdir()}
    assert {"report.html", "report.md", "verdicts.json", "tables", "figures"} <= names
    figures = {path.name for path in (report.parent / "figures").iterdir()}
    assert {path.removesuffix(".svg") for path in figures if path.endswith(".svg")} == {
        path.removesuffix(".png") for path in figures if path.endswith(".png")
    }
    assert list((report.parent / "tables").glob("*.csv"))


def test_verdicts_add_up(smoke, report):
    verdicts = json.loads((report.parent / "verdicts.json").read_text())
    assert verdicts["study_hash"] in {tags.get("study_hash") for tags in smoke.tags().values()}
    assert verdicts["status"] == "complete"
    found = verdicts["verdicts"]
    for verdict in found:
        assert verdict["outcome"] == outcome_by_hand(verdict), verdict["claim"]
    # What cannot be told is what the study does not ask and, if a best rate lies on the grid's edge, what is
    # asked of best rates.
    untold = {verdict["claim"]: verdict["reason"] for verdict in found if not verdict["samples"]}
    expected = {"parameter-scale": "init.gains", "smoother-landscape": "landscape"}
    if any(variant["at_edge"] for variant in smoke.artifact("decisions.json")["variants"].values()):
        expected |= dict.fromkeys(AT_BEST_RATES, "the grid's last")
    assert untold.keys() == expected.keys()
    assert all(words in untold[claim] for claim, words in expected.items())
    # One per claim: the study has one normalizer and one activation.
    assert [verdict["claim"] for verdict in found] == list(verdicts["claims"])
    (primary,) = (verdict for verdict in found if verdict["claim"] == "higher-learning-rate")
    assert primary["n"] == 5


def test_the_report_is_among_the_runs_artifacts(smoke, report):
    (logged,) = smoke.folder.glob("mlruns/artifacts/smoke/*/artifacts/report/report.html")
    assert logged.read_bytes() == report.read_bytes()


def test_plan_trains_nothing_and_status_says_so(tmp_path):
    folder = tmp_path
    (folder / "tiny.toml").write_text(TINY)
    code, out, _ = main_of("benchmark", folder, "plan", "tiny.toml", "--device", "cpu")
    assert code == 0
    assert "Nothing was trained." in out
    assert "10" in out
    assert {path.name for path in (folder / "mlruns").iterdir()} == {"data"}
    code, out, _ = main_of("benchmark", folder, "status", "tiny.toml")
    assert code == 0
    assert "was not run with these settings on these data" in out
    assert "python -m benchmark run tiny.toml" in out
    assert not (folder / "mlruns" / "mlflow.db").exists()


def test_trials_that_fail_are_reported_and_tried_again(folder, monkeypatch):
    make_unlucky(monkeypatch, 1)
    left = Left(folder)
    code, _, errors = main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")
    assert code == 1
    assert "batch-relu lr=0.1 seed=1 failed: ValueError: seed 1 is unlucky" in errors.splitlines()
    assert "To try them again: python -m benchmark run tiny.toml --device cpu" in errors
    assert left.run_statuses("trial") == {"FINISHED": 8, "FAILED": 2}
    assert left.run_statuses("study") == {"FAILED": 1}

    monkeypatch.undo()
    code, _, _ = main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")
    assert code == 0
    assert left.run_statuses("trial") == {"FINISHED": 10}
    assert left.run_statuses("study") == {"FINISHED": 1}
    assert set(left.trial_hashes().values()) == {1}


def test_a_crash_leaves_an_incomplete_study_that_can_be_reported(folder, monkeypatch):
    """The report says what is missing, and the study goes on to its end."""
    real = Scheduler._handle

    def crashing(scheduler, event):
        real(scheduler, event)
        if len(scheduler._outcomes) == 6:
            raise RuntimeError("the disk is full")

    monkeypatch.setattr(Scheduler, "_handle", crashing)
    with pytest.raises(RuntimeError, match="the disk is full"):
        main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")
    left = Left(folder)
    statuses = left.run_statuses("trial")
    assert statuses.pop("FINISHED") == 6
    assert set(statuses) <= {"KILLED"}  # those that trained beside the last
    (study,) = (tags for tags in left.tags().values() if tags["kind"] == "study")
    assert (study["run_status"], study["status"]) == ("KILLED", "incomplete")

    code, out, errors = main_of("analysis", folder, "report", "tiny.toml")
    assert code == 0, errors
    page = (folder / out.strip().splitlines()[-1]).read_text()
    assert "sweep" in page
    verdicts = json.loads((folder / "mlruns/reports/tiny/verdicts.json").read_text())
    assert verdicts["status"] == "incomplete"
    # Of a single rate every claim says so.
    assert {verdict["outcome"] for verdict in verdicts["verdicts"]} == {"NOT EVALUABLE"}
    assert all(verdict["reason"] for verdict in verdicts["verdicts"])

    monkeypatch.undo()
    code, _, _ = main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")
    assert code == 0
    assert left.run_statuses("trial") == {"FINISHED": 10}


def test_a_study_in_which_nothing_trains_still_ends(folder):
    """Every trial diverges: no best rate, no target, nothing to confirm; the verdicts say so."""
    words = (
        "smoke",
        *NARROW,
        "--set",
        "search.low=1e6",
        "--set",
        "search.num_rates=2",
        "--set",
        "search.high=1e8",
    )
    code, _, errors = main_of("benchmark", folder, "run", *words, "--set", "execution.workers=1")
    assert code == 0, errors
    left = Left(folder)
    decisions = left.artifact("decisions.json")
    assert decisions["targets"] == {}
    assert decisions["confirm"] == []
    for variant in decisions["variants"].values():
        assert variant["best_learning_rate"] is None
        assert not variant["usable"]
    assert left.artifact("progress.json")["planned"] == {"sweep": 20, "refine": 0, "confirm": 0}
    statuses = Counter(tags["status"] for tags in left.tags().values() if tags["kind"] == "trial")
    assert statuses == {"diverged": 20}
    code, out, _ = main_of("analysis", folder, "claims", "smoke")
    assert code == 0
    assert "NOT EVALUABLE" in out


def test_bad_input_is_one_line_and_exit_code_2(folder):
    for words, message in (
        (("run", "smok"), "did you mean 'smoke'?"),
        (("run", "tiny.toml", "--set", "budget.num_steps=0"), "tiny.toml: budget.num_steps: "),
        (("run", "tiny.toml", "--set", "network.blocks=5"), "network.blocks: expected at most 4"),
        (
            ("run", "tiny.toml", "--tracking-uri", "nonsense://x"),
            "--tracking-uri: expected a usable MLflow store",
        ),
    ):
        code, _, errors = main_of("benchmark", folder, *words)
        assert code == 2
        assert errors.splitlines()[-1].startswith("error: ")
        assert message in errors.splitlines()[-1]


def test_a_study_with_an_axis_from_run_to_head_report(folder, monkeypatch):
    """Every value is a study run of its own; the head report lays them side by side."""
    monkeypatch.setattr(analysis.report, "FIGURES", {})  # a value's own figures are those of any study
    (folder / "widths.toml").write_text(TINY.replace('"tiny"', '"widths"') + AXIS)
    code, _, errors = main_of("benchmark", folder, "run", "widths.toml", "--device", "cpu")
    assert code == 0, errors
    left = Left(folder)
    assert left.run_statuses("study") == {"FINISHED": 2}
    assert left.run_statuses("trial") == {"FINISHED": 20}
    assert set(left.trial_hashes().values()) == {1}

    code, out, _ = main_of("benchmark", folder, "status", "widths.toml")
    assert code == 0
    assert out.index("filters = 3") < out.index("filters = 4")

    code, out, errors = main_of("analysis", folder, "report", "widths.toml")
    assert code == 0, errors
    head = folder / out.strip().splitlines()[-1]
    assert head == folder / "mlruns/reports/widths/report.html"
    page = head.read_text()
    for value in ("0-3", "1-4"):
        assert f'href="{value}/report.html"' in page
        assert (head.parent / value / "report.html").is_file()
    document = json.loads((head.parent / "verdicts.json").read_text())
    assert document["axis"]["key"] == "network.width"
    assert document["missing"] == []
    assert [one["value"] for one in document["members"]] == ["3", "4"]
    hashes = {one["verdicts"]["study_hash"] for one in document["members"]}
    assert hashes == {tags["study_hash"] for tags in left.tags().values() if tags["kind"] == "study"}
    trends = (head.parent / "tables" / "trends.csv").read_text()
    assert "highest stable rate" in trends


def draw_images(root, colours, per_class=40):
    """A folder of two classes whose images are noise around the class's colour; the same files each time."""
    rng = np.random.default_rng(0)
    for part, count in (("train", per_class), ("test", per_class // 4)):
        for name, colour in colours.items():
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                noisy = np.asarray(colour) + rng.integers(-20, 21, (8, 8, 3))
                Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")


OWN_IMAGES = """
[data]
dataset = "image-folder"
root = "images"
num_validation = 20
"""


def test_other_images_in_the_same_folder_are_another_study_run(folder, monkeypatch):
    """Same command, same names, other pixels: nothing is pooled, and each report tells of its own."""
    monkeypatch.setattr(analysis.report, "FIGURES", {})
    (folder / "tiny.toml").write_text(TINY + OWN_IMAGES)
    told = []
    for colours in (
        {"red": (200, 40, 40), "blue": (40, 40, 200)},
        {"red": (0, 0, 0), "blue": (0, 0, 0)},
    ):
        draw_images(folder / "images", colours)
        code, out, _ = main_of("benchmark", folder, "status", "tiny.toml")
        assert (code, "was not run with these settings on these data" in out) == (0, True)
        code, _, errors = main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")
        assert code == 0, errors
        code, out, errors = main_of("analysis", folder, "report", "tiny.toml")
        assert code == 0, errors
        told.append(json.loads((folder / "mlruns/reports/tiny/verdicts.json").read_text()))
    assert told[0]["study_hash"] != told[1]["study_hash"]
    left = Left(folder)
    assert left.run_statuses("study") == {"FINISHED": 2}
    assert set(left.trial_hashes().values()) == {1}  # no trial is of both
    members = Counter(key for tags in left.tags().values() for key in tags if key.startswith("in_study."))
    assert set(members) == {f"in_study.{one['study_hash']}" for one in told}
    # Back to the first images: that run is complete, and is the one that is told of.
    draw_images(folder / "images", {"red": (200, 40, 40), "blue": (40, 40, 200)})
    before = left.run_statuses("trial")
    code, _, errors = main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")
    assert code == 0, errors
    assert left.run_statuses("trial") == before
    code, _, errors = main_of("analysis", folder, "report", "tiny.toml")
    assert code == 0, errors
    again = json.loads((folder / "mlruns/reports/tiny/verdicts.json").read_text())
    assert again == told[0]


def everything_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_moved_and_a_copied_folder_work_as_they_stand(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis.report, "FIGURES", {})
    code, _, errors = main_of("benchmark", folder, "run", "tiny.toml", "--device", "cpu")
    assert code == 0, errors
    code, out, _ = main_of("analysis", folder, "claims", "tiny.toml")
    assert code == 0

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    before = everything_in(folder)
    for package, *words in (
        ("benchmark", "run", "tiny.toml", "--device", "cpu", "--set", "seeds.sweep=6"),
        ("analysis", "report", "tiny.toml"),
        ("benchmark", "status", "tiny.toml"),
    ):
        code, _, errors = main_of(package, copy, *words)
        assert code == 0, errors
    assert everything_in(folder) == before
    assert Left(copy).run_statuses("trial") == {"FINISHED": 12}  # two new ones

    moved = folder.rename(tmp_path / "moved")
    code, moved_out, errors = main_of("analysis", moved, "claims", "tiny.toml")
    assert (code, moved_out) == (0, out), errors
    code, _, errors = main_of("benchmark", moved, "run", "tiny.toml", "--device", "cpu")
    assert code == 0, errors
    assert Left(moved).run_statuses("trial") == {"FINISHED": 10}
    assert not folder.exists()
