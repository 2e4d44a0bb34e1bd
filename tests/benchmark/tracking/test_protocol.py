"""A study needs no MLflow: any tracker will do."""

import json
import sys

import pytest
import torch
from made_trials import make_study

from benchmark.base.locks import FileLock, LostLockError
from benchmark.stages.axis import run_studies
from benchmark.stages.session import StageObserver
from benchmark.training.events import Outcome


class JsonTracker:
    """All that a tracker needs: a study's documents and its trials' outcomes, in a folder of JSON files."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def finished(self, stage, trial):
        document = self.read_json(f"{stage}-{trial.hash}.json")
        return None if document is None else Outcome(**document["outcome"])

    def start_trial(self, stage, trial):
        return JsonTrialLog(self, f"{stage}-{trial.hash}.json")

    def read_json(self, name):
        path = self.folder / name
        return json.loads(path.read_text()) if path.is_file() else None

    def log_json(self, name, document):
        (self.folder / name).write_text(json.dumps(document))

    def close(self, *, complete, interrupted=False):
        self.log_json("end.json", {"complete": complete, "interrupted": interrupted})


class JsonTrialLog:
    def __init__(self, tracker, name):
        self.tracker, self.name, self.rows = tracker, name, []

    def log(self, evaluation):
        self.rows.append(evaluation.row)

    def finish(self, outcome):
        self.tracker.log_json(self.name, {"outcome": vars(outcome), "rows": self.rows})

    def fail(self, failure):
        self.tracker.log_json(f"failed-{self.name}", vars(failure))


class Counting(StageObserver):
    def __init__(self):
        self.num_evaluations = self.num_settled = 0
        self.stages = []

    def stage_started(self, stage, num_trials):
        self.stages.append(stage)

    def evaluated(self, trial, evaluation):
        self.num_evaluations += 1

    def settled(self, trial, outcome):
        self.num_settled += 1


STUDY = make_study(
    budget={"num_steps": 50, "eval_every": 50},
    search={"low": 0.01, "high": 1.0, "num_rates": 2, "num_bisections": 1, "num_extensions": 0},
    data={"num_validation": 100, "limit_train": 100},
    seeds={"sweep": 5, "confirm": 5},
    execution={"workers": 1},
)


@pytest.fixture
def no_mlflow(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError):
        import mlflow  # noqa: F401


@pytest.mark.usefixtures("no_mlflow")
def test_a_study_runs_and_resumes_with_a_tracker_of_json(tmp_path):
    tracker = JsonTracker(tmp_path / "log")

    def run(observer):
        folder, device = tmp_path / "mlruns", torch.device("cpu")
        return run_studies([STUDY], device, folder, lambda *_: tracker, "again", observer)

    first = Counting()
    assert run(first)
    documents = {path.name: json.loads(path.read_text()) for path in tracker.folder.iterdir()}
    assert documents["end.json"] == {"complete": True, "interrupted": False}
    assert first.stages == ["sweep", "refine", "confirm"]
    trials = {name: own for name, own in documents.items() if "outcome" in own}
    assert len(trials) == first.num_settled == sum(documents["progress.json"]["planned"].values())
    assert sum(len(own["rows"]) for own in trials.values()) == first.num_evaluations

    assert set(documents["decisions.json"]["variants"]) == {"none-relu", "batch-relu"}

    again = Counting()  # what is finished is asked of the tracker, and not trained again
    assert run(again)
    assert (again.num_evaluations, again.num_settled) == (0, first.num_settled)


@pytest.mark.usefixtures("no_mlflow")
def test_who_has_lost_the_lock_writes_nothing_more(tmp_path, monkeypatch):
    """The log may be another runner's by then: not even its end is written."""

    def lost(self, *, now=False):
        raise LostLockError("another's")

    monkeypatch.setattr(FileLock, "check", lost)
    tracker = JsonTracker(tmp_path / "log")
    with pytest.raises(LostLockError):
        run_studies(
            [STUDY], torch.device("cpu"), tmp_path / "mlruns", lambda *_: tracker, "again", StageObserver()
        )
    assert not (tracker.folder / "end.json").exists()
