import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from logged_results import log_files, log_study, log_trial, new_experiment

from analysis.__main__ import main
from analysis.claims import CLAIMS
from analysis.commands import study_name
from analysis.data.load import load, load_family, log_report, resolve_uri
from analysis.data.store import Artifacts
from analysis.errors import InputError
from analysis.results import CURVE_FRAME, PROBE_FRAME
from benchmark.contract import FINAL_METRICS, PROTOCOL, SCHEMA_VERSION


def by_trial(frame, *keys):
    return frame.sort_values(["trial_hash", *keys], ignore_index=True)


def test_what_was_logged_comes_back(store, logged):
    results = load("quick", store[0])
    assert (results.study, results.decisions) == (logged.study, logged.decisions)
    assert (results.schema, results.environment) == (logged.schema, logged.environment)
    assert (results.study_hash, results.commit, results.status) == (
        logged.study_hash,
        logged.commit,
        "complete",
    )
    assert results.progress == {}
    assert results.run_ids == (results.run_id,)
    assert (results.which_run, results.siblings) == ("", ())
    trials = by_trial(results.trials[results.trials["status"] != "failed"]).drop(columns="run_id")
    pd.testing.assert_frame_equal(trials, by_trial(logged.trials).drop(columns="run_id"))
    for name, keys in (("curves", ["step"]), ("probes", ["step", "probe", "index"])):
        pd.testing.assert_frame_equal(
            by_trial(getattr(results, name), *keys), by_trial(getattr(logged, name), *keys)
        )


def test_a_failed_trial_is_there_without_numbers_and_other_studies_trials_are_not(store, logged):
    trials = load("quick", store[0]).trials.set_index("trial_hash")
    assert set(trials.index) == set(logged.trials["trial_hash"]) | {"broken"}
    assert trials.loc["broken", list(FINAL_METRICS)].isna().all()


def test_of_a_retried_trial_the_latest_run_counts(store, logged):
    uri, client = store
    trial = logged.trials.iloc[0].to_dict()
    experiment = new_experiment(client, uri, "another")
    log_study(client, experiment, dataclasses.replace(logged, study_hash="0000aaaa"))
    log_trial(client, experiment, trial, "0000aaaa", status="failed")
    results = load("another", uri)
    assert results.trials["status"].tolist() == ["failed"]
    assert (len(results.curves), tuple(results.curves.columns)) == (0, CURVE_FRAME)
    assert (len(results.probes), tuple(results.probes.columns)) == (0, PROBE_FRAME)
    run_ids = [log_trial(client, experiment, trial, "0000aaaa")]
    log_files(client, run_ids[0], logged, trial["trial_hash"])
    results = load("another", uri)
    assert results.trials["status"].tolist() == [trial["status"]]
    assert results.trials["run_id"].tolist() == run_ids
    run_ids.append(log_trial(client, experiment, trial, "0000aaaa"))
    both = " and ".join(run_ids)
    with pytest.raises(InputError, match=rf"\(.*\): expected one run with an outcome, found {both}") as error:
        load("another", uri)
    assert f"trial {trial['trial_hash']} (" in str(error.value)


def test_the_newest_run_is_read_unless_another_is_named(store, logged):
    uri, client = store
    experiment = new_experiment(client, uri, "twice")
    for study_hash in ("00000001", "00000002"):
        log_study(client, experiment, dataclasses.replace(logged, study_hash=study_hash))
    runs = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    older, newer = (run.info.run_id for run in runs)
    assert load("twice", uri).study_hash == "00000002"
    assert load("twice", uri).run_ids == (newer, older)
    assert load("twice", uri, older).study_hash == "00000001"
    with pytest.raises(InputError, match=f"study 'twice' has no study run 'nope'; it has: {newer}, {older}"):
        load("twice", uri, "nope")


def test_which_of_several_runs_is_read_is_said_in_one_line(store, logged, capsys):
    uri, client = store
    experiment = new_experiment(client, uri, "again")
    for study_hash in ("00000003", "00000004"):
        log_study(client, experiment, dataclasses.replace(logged, study_hash=study_hash))
    newer, older = load("again", uri).run_ids
    assert main(["claims", "again", "--tracking-uri", uri]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"Run {newer} (study hash 00000004) is the newest of the 2 runs of study")
    assert older in said
    assert said.count("\n") == 1
    assert main(["claims", "again", "--tracking-uri", uri, "--run", older]) == 0
    assert capsys.readouterr().err.startswith(f"Run {older} (study hash 00000003) is one of the 2 runs")


def test_siblings_are_complete_runs_that_differ_in_the_optimizer_alone(store, logged):
    uri, client = store
    experiment = new_experiment(client, uri, "optimizers")
    own = logged.study | {"description": "one", "execution": {"workers": 1}}
    rmsprop = {"name": "rmsprop", "rho": 0.9}
    runs = {
        "ffffffff": (own | {"optimizer": {"name": "adamw"}}, {"schema": {"schema_version": 99}}),
        "bbbbbbbb": (own | {"optimizer": rmsprop, "description": "two", "execution": {"workers": 2}}, {}),
        "cccccccc": (own | {"optimizer": {"name": "adam"}}, {"status": "incomplete"}),
        "dddddddd": (own | {"optimizer": rmsprop, "budget": own["budget"] | {"num_steps": 7}}, {}),
        "eeeeeeee": (own | {"seeds": {"sweep": 3, "confirm": 3}}, {}),
        "aaaaaaaa": (own, {}),
    }
    for study_hash, (study, changes) in runs.items():
        log_study(
            client, experiment, dataclasses.replace(logged, study=study, study_hash=study_hash), **changes
        )
    trial = logged.trials.iloc[0].to_dict() | {"trial_hash": "with rmsprop"}
    log_trial(client, experiment, trial, "bbbbbbbb")
    results = load("optimizers", uri)
    (sibling,) = results.siblings
    assert results.study_hash == "aaaaaaaa"
    assert (sibling.study_hash, sibling.study["optimizer"]) == ("bbbbbbbb", rmsprop)
    assert sibling.trials["trial_hash"].tolist() == ["with rmsprop"]
    assert sibling.decisions == logged.decisions


def test_artifacts_that_are_not_local_files_come_through_mlflow(store, logged):
    uri, client = store
    run = client.get_run(load("quick", uri).run_id).info
    client.log_text(run.run_id, json.dumps(logged.study), "kept/study.json")
    for where in (
        f"{run.artifact_uri}/kept",
        f"runs:/{run.run_id}/kept",
    ):  # the second is MLflow's to resolve
        artifacts = Artifacts(uri, where)
        assert artifacts.json("study.json") == logged.study
        assert artifacts.json("progress.json") == {}


def test_a_missing_database_is_not_created(tmp_path):
    path = tmp_path / "nothing.db"
    with pytest.raises(InputError, match=r"no results at .*nothing\.db"):
        load("quick", f"sqlite:///{path}")
    assert not path.exists()


def test_the_tracking_uri_is_the_argument_then_the_environment_then_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert resolve_uri(None) == "http://tracking:5000"
    assert resolve_uri("http://other") == "http://other"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"mlruns/mlflow\.db"):
        resolve_uri(None)


def test_a_study_that_was_never_run_names_those_that_were(store):
    with pytest.raises(
        InputError, match=r"'slow' was never run here; studies with results: .*old-schema.*quick"
    ):
        load("slow", store[0])
    with pytest.raises(InputError, match="'empty' has an experiment but no study run yet"):
        load("empty", store[0])


def test_other_schemas_and_protocols_are_refused_in_one_line(store):
    with pytest.raises(InputError, match=f"schema version 99, this analysis reads {SCHEMA_VERSION}") as error:
        load("old-schema", store[0])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=rf"protocol 2.0.1, this analysis judges {PROTOCOL}.x"):
        load("new-protocol", store[0])


def test_a_patch_of_the_protocol_is_read(store):
    assert load("patched", store[0]).schema["protocol_version"] == f"{PROTOCOL}.7"


def test_the_report_lands_in_the_studys_run(store, tmp_path):
    uri, client = store
    (tmp_path / "report.html").write_text("<p>found</p>")
    results = load("quick", uri)
    log_report(results, tmp_path, uri)
    assert [file.path for file in client.list_artifacts(results.run_id, "report")] == ["report/report.html"]


def everything_in(folder):
    """Bytes and time of the last change of every file, by path."""
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_results_travel_with_their_folder(store, tmp_path):
    """Copied, and moved: each reads and writes its own, wherever MLflow's records say that the files lie."""
    original = Path(store[0].removeprefix("sqlite:///")).parent
    shutil.copytree(original, tmp_path / "copy")
    found = load("quick", store[0])
    study = tmp_path / "copy" / "artifacts" / "quick" / found.run_id / "artifacts" / "study.json"
    study.write_text(json.dumps(found.study | {"description": "of the copy"}))
    before = everything_in(original)
    (tmp_path / "copy").rename(tmp_path / "moved")

    uri = f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}"
    moved = load("quick", uri)
    assert moved.study["description"] == "of the copy"
    pd.testing.assert_frame_equal(moved.curves, found.curves)
    pd.testing.assert_frame_equal(moved.probes, found.probes)
    assert main(["report", "quick", "--tracking-uri", uri, "--out", str(tmp_path / "report")]) == 0
    logged = tmp_path / "moved" / "artifacts" / "quick" / found.run_id / "artifacts" / "report"
    assert everything_in(logged).keys() == everything_in(tmp_path / "report").keys()
    assert (logged / "report.html").read_bytes() == (tmp_path / "report" / "report.html").read_bytes()
    assert everything_in(original) == before


def test_runs_on_other_data_are_no_runs_of_this_study(store, logged):
    uri, client = store
    experiment = new_experiment(client, uri, "data")
    older, other, newer = (
        log_study(client, experiment, dataclasses.replace(logged, study_hash=study_hash), fingerprint=data)
        for study_hash, data in (("0000000a", "mine"), ("0000000b", "yours"), ("0000000c", "mine"))
    )
    results = load("data", uri)
    assert results.data_fingerprint == "mine"
    assert results.run_ids == (newer, older)
    assert results.run_ids_on_other_data == (other,)
    assert results.which_run == (
        f"Run {newer} (study hash 0000000c) is the newest of the 2 runs of study synthetic on its data; "
        f"--run ID reads another: {older}; on other data {other}"
    )
    assert load("data", uri, other).which_run == (
        f"Run {other} (study hash 0000000b) is the only run of study synthetic on its data; "
        f"--run ID reads another: on other data {newer}, {older}"
    )


def test_siblings_were_trained_on_the_same_data(store, logged):
    uri, client = store
    experiment = new_experiment(client, uri, "siblings")
    adam = dataclasses.replace(logged, study=logged.study | {"optimizer": {"name": "adam"}})
    for study_hash, data in (("0000000d", "mine"), ("0000000e", "yours"), ("0000000f", None)):
        log_study(client, experiment, dataclasses.replace(adam, study_hash=study_hash), fingerprint=data)
    log_study(client, experiment, logged, fingerprint="mine")
    assert [sibling.study_hash for sibling in load("siblings", uri).siblings] == ["0000000d"]


@pytest.mark.parametrize(("key", "together"), [("network.width", False), ("data.limit_train", True)])
def test_a_family_is_of_one_data_unless_its_axis_varies_them(store, logged, key, together):
    uri, client = store
    section, name = key.split(".")
    along = f"family-along-{name.replace('_', '-')}"
    experiment = new_experiment(client, uri, along)
    for position, data in enumerate(("mine", "yours")):
        study = logged.study | {
            "name": along,
            "axis": {"key": key, "label": name, "values": [4, 8], "names": [], "position": position},
            section: logged.study[section] | {name: [4, 8][position]},
        }
        one = dataclasses.replace(logged, study=study, study_hash=f"000000{position}")
        log_study(client, experiment, one, fingerprint=data)
    family = load_family(load(along, uri), uri)
    assert len(family.members) == (2 if together else 1)
    assert family.missing == ([] if together else ["4"])


def family_of(uri, study_hash):
    """The family of one of the runs of `along`."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("along")
    runs = client.search_runs([experiment.experiment_id], f"tags.study_hash = '{study_hash}'")
    return load_family(load("along", uri, runs[0].info.run_id), uri)


def test_a_family_is_the_newest_run_of_every_value(store):
    uri, _ = store
    family = family_of(uri, "b1")
    assert [member.study_hash for member in family.members] == ["a2", "b1"]
    assert family.missing == ["16"]  # run under another protocol
    assert family.newest.study_hash == "b1"
    assert [member.study_hash for member in family_of(uri, "a1").members] == ["a1", "b1"]  # the one asked for
    assert [member.study_hash for member in family_of(uri, "c1").members] == ["c1"]  # another budget


def test_other_runs_of_a_member_are_those_at_its_value(store):
    uri, _ = store
    assert len(family_of(uri, "a2").newest.run_ids) == 2
    assert family_of(uri, "b1").newest.which_run == ""


def test_a_study_with_an_axis_is_reported_whole_and_each_run_gets_its_part(
    store, tmp_path, capsys, monkeypatch
):
    uri, client = store
    run_id = family_of(uri, "a2").newest.run_id
    options = ["along", "--tracking-uri", uri, "--run", run_id]
    assert main(["report", *options, "--out", str(tmp_path / "along")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "along" / "report.html")
    logged = {file.path for file in client.list_artifacts(run_id, "report")}
    assert {"report/report.html", "report/0-4", "report/1-8"} <= logged
    other = family_of(uri, "b1").newest.run_id
    assert "report/report.html" in {file.path for file in client.list_artifacts(other, "report")}
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["claims", *options]) == 0
    printed = capsys.readouterr().out
    assert "width = 4" in printed
    assert "width = 8" in printed
    assert "width = 16: not run yet" in printed
    assert "yes: supported" in printed


def test_claims_prints_every_verdict(store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["claims", "quick", "--tracking-uri", store[0]]) == 0
    printed = capsys.readouterr().out
    table, *_ = printed.split("effects in the unit")
    assert all(claim in table for claim in CLAIMS if claim != "no-vanishing-gradient")  # not asked of relu
    assert "NOT EVALUABLE" in table
    assert "2 seeds can" not in printed  # caveats belong to the report
    assert "batch normalization" in printed


def test_bad_input_is_one_line_and_exit_code_2(store, tmp_path, capsys):
    assert main(["claims", "slow", "--tracking-uri", store[0]]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: study 'slow' was never run here")
    assert printed.err.count("\n") == 1
    assert main(["report", str(tmp_path / "no.toml")]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", "--studies", "0"])


def test_a_study_may_be_named_by_its_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "my-study"\n')
    assert study_name(str(path)) == "my-study"
    path.write_text("")
    assert study_name(str(path)) == "mine"
    path.write_text("name = ")
    with pytest.raises(InputError, match="expected TOML, found: Invalid value"):
        study_name(str(path))
    assert study_name("quick") == "quick"
