"""What was logged is read strictly, through the loader and on a real store: what does not fit is named."""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from logged_results import log_study, new_experiment

from analysis.__main__ import main
from analysis.data.load import load
from analysis.errors import InputError
from benchmark.contract import FINAL_METRICS


class Copy:
    """A copy of the store, to be damaged.

    Attributes:
        uri: MLflow's.
        trials: by trial hash, the folder of the artifacts of each trial with an outcome in study `quick`.
        study: the folder of the study run's.
    """

    def __init__(self, folder: Path, results):
        self.folder = folder
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        artifacts = folder / "artifacts" / "quick"
        ended = results.trials[results.trials["status"] != "failed"]
        self.trials = {
            trial: artifacts / run_id / "artifacts"
            for trial, run_id in zip(ended["trial_hash"], ended["run_id"], strict=True)
        }
        self.study = artifacts / results.run_id / "artifacts"

    def change(self, trial, name, change):
        """Change a table of a trial; None takes the file away."""
        path = self.trials[trial] / f"{name}.parquet"
        if change is None:
            path.unlink()
        else:
            change(pd.read_parquet(path)).to_parquet(path, index=False)

    def edit(self, name, edit):
        """Edit a JSON document of the study run in place."""
        path = self.study / f"{name}.json"
        document = json.loads(path.read_text())
        edit(document)
        path.write_text(json.dumps(document))

    def execute(self, statement, *values):
        """Change MLflow's records."""
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            assert database.execute(statement, values).rowcount > 0
        database.close()


@pytest.fixture(scope="module")
def whole(store):
    """Study `quick` as it was logged."""
    return load("quick", store[0])


@pytest.fixture
def copy(store, whole, tmp_path):
    shutil.copytree(Path(store[0].removeprefix("sqlite:///")).parent, tmp_path / "mlruns")
    return Copy(tmp_path / "mlruns", whole)


def refusal(copy):
    """The one line with which the copy is refused."""
    with pytest.raises(InputError) as error:
        load("quick", copy.uri)
    assert "\n" not in str(error.value)
    return str(error.value)


def left_out(copy, trial):
    """The one line with which a trial, and no other, is left out."""
    results = load("quick", copy.uri)
    (line,) = results.damaged
    assert "\n" not in line
    gone = results.trials.set_index("trial_hash").loc[trial]
    assert gone["status"] == "damaged"
    assert gone[list(FINAL_METRICS)].isna().all()
    assert (results.trials["status"] == "damaged").sum() == 1
    for frame in (results.curves, results.probes):
        assert len(frame)
        assert trial not in set(frame["trial_hash"])
    return line


def test_a_metric_renamed_in_every_curve_is_refused_with_its_name(copy, capsys):
    """It once turned three verdicts INCONCLUSIVE without a word."""
    for trial in copy.trials:
        copy.change(trial, "curves", lambda frame: frame.rename(columns={"val_accuracy": "valid_accuracy"}))
    assert main(["claims", "quick", "--tracking-uri", copy.uri]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    found = re.fullmatch(
        r"error: trial (\S+) \((.+)\), curves.parquet: expected the column val_accuracy, "
        r"found the columns valid_accuracy instead; read it with .*, or run the study again",
        line,
    )
    assert found
    assert found[1] in copy.trials


TABLES = {
    "no curves": ("curves", None, "curves.parquet: expected this file, found none"),
    "a metric less": (
        "curves",
        lambda f: f.drop(columns="val_loss"),
        "expected the column val_loss, found none",
    ),
    "a metric more": (
        "curves",
        lambda f: f.assign(new=1.0),
        "expected 18 columns, found new besides",
    ),
    "no steps": ("curves", lambda f: f.drop(columns="step"), "expected the column step, found none"),
    "a metric as text": (
        "curves",
        lambda f: f.assign(val_accuracy=f["val_accuracy"].astype(str)),
        "curves.parquet, column val_accuracy: expected number, found",
    ),
    "a metric without any value": (
        "curves",
        lambda f: f.assign(val_accuracy=None),
        "curves.parquet, column val_accuracy: expected number, found null",
    ),
    "no rows": ("curves", lambda f: f.iloc[:0], "curves.parquet: expected rows, found none"),
    "no probes": ("probes", None, "probes.parquet: expected this file, found none"),
    "a column of probes less": (
        "probes",
        lambda f: f.rename(columns={"layer": "where"}),
        "probes.parquet: expected the column layer, found the columns where instead",
    ),
    "a layer as number": (
        "probes",
        lambda f: f.assign(layer=1),
        "probes.parquet, column layer: expected text, found int64",
    ),
    "an evaluation less": (
        "curves",
        lambda f: f.iloc[:-1],
        "curves.parquet, column step: expected ",
    ),
    "an evaluation twice": (
        "curves",
        lambda f: pd.concat([f, f.tail(1)]),
        "curves.parquet, column step: expected ",
    ),
    "accuracies that are NaN": (
        "curves",
        lambda f: f.assign(val_accuracy=float("nan")),
        "curves.parquet, column val_accuracy: expected a share at every evaluation, found NaN",
    ),
    "a probe without readings": (
        "probes",
        lambda f: f[~f["probe"].str.startswith(("gradient", "weight", "update"))],
        "probes.parquet, column probe: expected what gradients reads, found ",
    ),
    "a probe that is not declared": (
        "probes",
        lambda f: f.replace({"probe": {"gradient_norm": "gradient_size"}}),
        "probes.parquet, column probe: expected names that schema.json declares, found gradient_size",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_one_trials_table_that_does_not_fit_is_named_and_left_out(copy, case):
    name, change, words = TABLES[case]
    trial = list(copy.trials)[3]
    copy.change(trial, name, change)
    said = left_out(copy, trial)
    assert said.startswith(f"trial {trial} (")
    assert words in said


@pytest.mark.parametrize("damage", ["text", "cut", "zeroed", "folder", "empty"])
def test_a_table_that_is_none_is_named_and_left_out(copy, damage):
    trial, folder = next(iter(copy.trials.items()))
    path = folder / "curves.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        parts = {"text": b"no parquet", "cut": content[:-50], "zeroed": bytes(len(content)), "empty": b""}
        path.write_bytes(parts[damage])
    said = left_out(copy, trial)
    assert "curves.parquet: expected" in said
    assert ", found " in said


def test_the_claims_and_the_report_say_what_is_left_out_and_how_it_comes_back(copy, tmp_path, capsys):
    """A trial's files gone, the report once said that nothing was missing."""
    trial, folder = next(iter(copy.trials.items()))
    shutil.rmtree(folder)
    assert main(["claims", "quick", "--tracking-uri", copy.uri]) == 0
    assert f"left out: trial {trial} (" in capsys.readouterr().err
    assert main(["report", "quick", "--tracking-uri", copy.uri, "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.md").read_text()
    assert "1 trial is left out, for what was logged is damaged or gone" in page.split("## ")[0]
    missing = page.split("## What is missing")[1]
    assert "1 trial damaged" in missing
    assert f"trial {trial} (" in missing


def test_columns_in_another_order_are_the_same(copy, whole):
    copy.change(next(iter(copy.trials)), "curves", lambda frame: frame[sorted(frame.columns)])
    pd.testing.assert_frame_equal(load("quick", copy.uri).curves, whole.curves)


def test_a_study_without_probes_needs_none(copy):
    copy.edit("study", lambda study: study["probes"].update(enabled=["landscape"]))  # which walks at confirm
    for trial in copy.trials:
        copy.change(trial, "probes", None)
    assert load("quick", copy.uri).probes.empty


def test_what_reads_steps_reads_nothing_of_a_trial_that_is_watched_at_its_start_alone(copy):
    """Which ended, diverged, before its next reading; where there are others, it is asked for."""
    copy.edit("study", lambda study: study["probes"]["enabled"].append("covariate-shift"))
    for trial in copy.trials:
        copy.change(
            trial,
            "probes",
            lambda frame: frame[(frame["step"] == 0) & ~frame["probe"].str.startswith("covariate")],
        )
    assert not load("quick", copy.uri).probes.empty
    other = next(iter(copy.trials))
    copy.change(other, "probes", lambda frame: frame.assign(step=5))
    assert "column probe: expected what covariate-shift reads, found " in left_out(copy, other)


DOCUMENTS = {
    "study": (
        lambda d: d["budget"].pop("num_steps"),
        "study.json: expected the key budget.num_steps, found none",
    ),
    "metrics": (
        lambda d: d["metrics"].pop("val_loss"),
        "schema.json: expected the metric val_loss, found none",
    ),
    "probes": (lambda d: d.pop("probes"), "schema.json: expected the section probes, found none"),
    "words": (
        lambda d: d["normalizations"]["batch"].pop("words"),
        "schema.json: expected normalizations.batch.words as str, found None",
    ),
    "section": (
        lambda d: d.pop("variants"),
        "decisions.json: expected the key variants with dict, found none",
    ),
    "variant": (
        lambda d: d["variants"].pop("batch-relu"),
        "decisions.json: expected the variants none-relu, batch-relu, found none-relu",
    ),
    "threshold": (
        lambda d: d["variants"]["none-relu"].pop("stability_threshold"),
        "variants.none-relu: expected the key stability_threshold with float or int, found none",
    ),
    "usable": (
        lambda d: d["variants"]["none-relu"].update(usable="yes"),
        "variants.none-relu: expected the key usable with bool, found 'yes'",
    ),
    "target": (
        lambda d: d["targets"]["relu"].update(accuracy=None),
        "targets.relu: expected the key accuracy with float or int, found None",
    ),
    "role": (
        lambda d: d["confirm"][0].update(roles=["greatest"]),
        "confirm: expected a planned variant in roles of best, x1, x5, x30, found ",
    ),
}
DOCUMENTS |= {
    case: (edit, "engines.json: expected batch-relu.steps_s with 2 times in seconds, found ")
    for case, edit in {
        "a variant not timed": lambda d: d.pop("batch-relu"),
        "a round less": lambda d: d["batch-relu"]["steps_s"].pop(),
        "a time of zero": lambda d: d["batch-relu"].update(steps_s=[0.0, 0.1]),
        "times as text": lambda d: d["batch-relu"].update(steps_s=["0.1", "0.1"]),
    }.items()
}
FILES = dict.fromkeys(
    ("a variant not timed", "a round less", "a time of zero", "times as text"), "engines"
) | {"study": "study", "metrics": "schema", "probes": "schema", "words": "schema"}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_document_of_the_study_run_that_does_not_fit_is_named(copy, whole, case):
    edit, words = DOCUMENTS[case]
    copy.edit(FILES.get(case, "decisions"), edit)
    said = refusal(copy)
    assert said.startswith(f"study run {whole.run_id}, ")
    assert words in said


def test_a_complete_study_has_decided(copy, whole):
    (copy.study / "decisions.json").unlink()
    assert f"study run {whole.run_id}, decisions.json: expected the key num_classes" in refusal(copy)
    copy.execute("update tags set value = 'running' where key = 'status' and run_uuid = ?", whole.run_id)
    assert load("quick", copy.uri).decisions == {}  # nothing is decided yet


def test_a_document_that_is_no_json_is_named(copy):
    (copy.study / "progress.json").write_text("{")
    assert refusal(copy).startswith(f"{copy.study / 'progress.json'}: expected JSON, found ")
    (copy.study / "progress.json").write_text("[]")
    assert "expected a JSON object, found list" in refusal(copy)


def run_of(whole, trial):
    return whole.trials.set_index("trial_hash").loc[trial, "run_id"]


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ("latest_metrics", "final_val_loss", "expected the metric final_val_loss, found none"),
        ("latest_metrics", "num_parameters", "expected the metric num_parameters, found none"),
        ("params", "init_gain", "expected the parameter init_gain, found none"),
        ("tags", "normalization", "expected the tag normalization, found none"),
    ],
)
def test_what_a_trials_run_lacks_is_named(copy, whole, table, key, words):
    trial = list(copy.trials)[2]
    copy.execute(
        f"update {table} set key = 'other' where key = ? and run_uuid = ?", key, run_of(whole, trial)
    )
    said = refusal(copy)
    assert said.startswith(f"trial {trial} (")
    assert words in said


def test_the_test_split_is_asked_for_where_it_is_read(copy, whole):
    by_hash = whole.trials.set_index("trial_hash")["stage"]
    trial = next(one for one in copy.trials if by_hash[one] == "confirm")
    copy.execute(
        "delete from latest_metrics where key = 'test_accuracy' and run_uuid = ?", run_of(whole, trial)
    )
    assert f"trial {trial} (" in refusal(copy)
    assert "expected the metric test_accuracy, found none" in refusal(copy)
    assert whole.trials.loc[whole.trials["stage"] == "sweep", "test_accuracy"].isna().all()


@pytest.mark.parametrize(
    ("tag", "value", "words"),
    [
        ("learning_rate", "fast", "expected the tag learning_rate as float, found 'fast'"),
        ("seed", "1.5", "expected the tag seed as int, found '1.5'"),
        ("status", "fine", "expected the tag status as one of trained, stuck, diverged, failed, running"),
        ("stage", "warm-up", "expected the tag stage as one of sweep, refine, gains, confirm"),
        ("activation", "tanh", "expected a normalization and an activation of the study, found "),
        ("variant", "relu", "expected the tag variant as one of "),
    ],
)
def test_a_trials_tag_that_does_not_fit_is_named(copy, whole, tag, value, words):
    trial = list(copy.trials)[1]
    copy.execute("update tags set value = ? where key = ? and run_uuid = ?", value, tag, run_of(whole, trial))
    assert words in refusal(copy)


def test_runs_of_the_study_that_were_killed_at_birth_do_not_keep_another_from_being_read(store, logged):
    uri, client = store
    experiment = new_experiment(client, uri, "born")
    client.create_run(experiment, tags={"kind": "study", "study_hash": "00000000"})
    run_id = log_study(client, experiment, logged)
    assert load("born", uri, run_id).study == logged.study
