"""A study run as files that a repository can carry, and back."""

import dataclasses
import json

import pandas as pd
import pytest
from running import main_of
from synthetic_results import make_results

from analysis.claims import judge_outcomes
from analysis.data import exported
from analysis.errors import InputError
from benchmark.contract.files import unsealed


@pytest.fixture(scope="module")
def study():
    return make_results(activations=("sigmoid", "relu"), with_probes=True, with_landscape=True)


@pytest.fixture
def folder(study, tmp_path):
    exported.write(study, tmp_path / "data" / "synthetic")
    return tmp_path / "data" / "synthetic"


def told(results):
    """Every verdict, to the digit."""
    return [repr(dataclasses.replace(verdict, sample=None)) for verdict in judge_outcomes(results)]


def test_what_comes_back_is_what_was_written_to_the_bit(study, folder):
    back = exported.read(folder)
    pd.testing.assert_frame_equal(back.trials, study.trials)
    unread = [*exported._UNREAD["curves"]]
    pd.testing.assert_frame_equal(back.curves.drop(columns=unread), study.curves.drop(columns=unread))
    assert list(back.curves) == list(study.curves)
    assert back.curves[unread].isna().all(axis=None)
    for name in ("study", "schema", "decisions", "environment", "progress", "steps_s", "run_id", "status"):
        assert getattr(back, name) == getattr(study, name), name


def test_verdicts_need_no_more_probes_than_are_kept(study, folder):
    back = exported.read(folder)
    assert 0 < len(back.probes) < len(study.probes)
    assert told(back) == told(study)
    judged = {verdict.claim for verdict in judge_outcomes(back) if verdict.n}
    assert {"no-vanishing-gradient", "smoother-landscape"} <= judged  # those that read them


def test_the_files_are_the_same_each_time(study, folder, tmp_path):
    exported.write(exported.read(folder), tmp_path / "again")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["curves.parquet", "probes.parquet", "run.json", "trials.parquet"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_replications_are_those_that_lie_beside_it(study, folder):
    document = study.study
    for number, first in ((1, 8), (2, 8)):
        name = f"synthetic-replication-{number}"
        seeds = document["seeds"] | {"first": first}
        own = document | {"name": name, "seeds": seeds}
        status = "complete" if number == 1 else "incomplete"
        exported.write(
            dataclasses.replace(study, study=own, status=status),
            folder.with_name(f"{study.study['name']}-replication-{number}"),
        )
    (found,) = exported.read(folder).replications
    assert found.study["name"] == "synthetic-replication-1"


@pytest.mark.parametrize("name", ["trials", "curves", "probes"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "folder"])
def test_a_damaged_table_is_refused_by_name(folder, name, damage):
    path = folder / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flipped":
        path.write_bytes(bytes(content))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(InputError, match=rf"{name}\.parquet: expected .*, found"):
        exported.read(folder)


def without(*keys):
    def change(document):
        section = document
        for key in keys[:-1]:
            section = section[key]
        del section[keys[-1]]
        return document

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("study"), "the section study"),
        (without("tables_sha256"), "the section tables_sha256"),
        (without("commit"), "commit as text"),
        (without("study", "seeds", "first"), "the key seeds.first"),
        (without("decisions", "grid"), "the key grid"),
        (without("engines", "batch-relu"), "batch-relu.steps_s"),
        (without("schema", "protocol_version"), "measured under protocol None"),
        (lambda document: [document], "expected a JSON object"),
    ],
)
def test_a_foreign_document_is_refused_by_what_it_lacks(folder, change, said):
    path = folder / "run.json"
    path.write_text(json.dumps(change(unsealed(json.loads(path.read_text())))))
    with pytest.raises(InputError) as caught:
        exported.read(folder)
    assert said in str(caught.value)


def test_a_study_with_an_axis_is_not_one_run(study, tmp_path):
    axis = study.study | {"axis": {"key": "network.depth", "position": 0}}
    with pytest.raises(InputError, match="expected one run to export"):
        exported.write(dataclasses.replace(study, study=axis), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_claims_and_report_read_a_folder_as_they_read_a_study(folder, tmp_path):
    code, out, errors = main_of("analysis", tmp_path, "claims", "data/synthetic")
    assert code == 0, errors
    assert "higher-learning-rate" in out
    code, _, errors = main_of("analysis", tmp_path, "claims", "./data")
    assert code == 2
    assert errors.startswith("error: data: expected an exported study")
    assert len(errors.splitlines()) == 1
    code, _, errors = main_of("analysis", tmp_path, "replications", "data/synthetic")
    assert (code, "expected a complete replication" in errors) == (2, True)


def test_a_study_is_exported_from_the_store_that_has_it(store, tmp_path):
    uri, _ = store
    code, out, errors = main_of(
        "analysis", tmp_path, "export", "quick", "--tracking-uri", uri, "--out", "data"
    )
    assert code == 0, errors
    assert out.startswith("data/synthetic (0.0")
    code, _, errors = main_of("analysis", tmp_path, "report", "data/synthetic")
    assert code == 0, errors
    assert (tmp_path / "mlruns" / "reports" / "synthetic" / "report.html").is_file()
    code, _, errors = main_of("analysis", tmp_path, "export", "nothing", "--tracking-uri", uri)
    assert (code, "was never run here" in errors) == (2, True)
