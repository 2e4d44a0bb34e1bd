"""Are two stores of one study the same to the bit, timings apart?

    python tests/same_numbers.py OLD/mlruns NEW/mlruns STUDY

For changes that are to change no number: run the study before and after, with and report, and compare every
trial's curves and probes, the decisions and the verdicts. Trials are matched by what they are, not by their
hashes. Exit code 1 says what differs.
"""

import contextlib
import json
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

import pandas as pd

KEYS = ("variant", "stage", "learning_rate", "seed")
TIMINGS = ["train_seconds", "examples_per_s"]
TIMED_CLAIM = "worth-its-cost"
IDENTITIES = ("study_hash", "run_id", "commit", "protocol_version")


class Store:
    """One study of a folder's SQLite store, its newest study run."""

    def __init__(self, folder, study):
        self.folder, self.study = Path(folder), study
        with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db")) as connection:
            rows = connection.execute(
                "select r.run_uuid, t.key, t.value from runs r join tags t using (run_uuid)"
                " join experiments e using (experiment_id) where e.name = ?"
                " union select r.run_uuid, 'param.' || p.key, p.value"
                " from runs r join params p using (run_uuid)"
                " join experiments e using (experiment_id) where e.name = ?",
                (study, study),
            ).fetchall()
        self.runs = defaultdict(dict)
        for run_id, key, value in rows:
            self.runs[run_id][key] = value

    def artifact(self, run_id, name):
        return self.folder / "artifacts" / self.study / run_id / "artifacts" / name

    def trials(self):
        """What a trial is -> its run."""
        return {
            (*(tags[key] for key in KEYS), tags["param.init_gain"]): run_id
            for run_id, tags in self.runs.items()
            if tags["kind"] == "trial"
        }

    def study_run(self):
        runs = [run_id for run_id, tags in self.runs.items() if tags["kind"] == "study"]
        return max(runs, key=lambda run_id: float(self.runs[run_id]["last_opened_at"]))

    def verdicts(self):
        path = self.folder / "reports" / self.study / "verdicts.json"
        document = json.loads(path.read_text()) if path.is_file() else {"verdicts": []}
        untimed = [verdict for verdict in document["verdicts"] if verdict["claim"] != TIMED_CLAIM]
        rest = {key: value for key, value in document.items() if key not in IDENTITIES}
        return rest | {"verdicts": untimed}


def differences(old, new):
    """Words for everything that differs."""
    before, after = old.trials(), new.trials()
    for trial in before.keys() ^ after.keys():
        yield f"only in one: {trial}"
    for trial in sorted(before.keys() & after.keys()):
        for name in ("curves.parquet", "probes.parquet"):
            paths = old.artifact(before[trial], name), new.artifact(after[trial], name)
            if [path.is_file() for path in paths] == [False, False]:
                continue
            frames = [pd.read_parquet(path).drop(columns=TIMINGS, errors="ignore") for path in paths]
            if not frames[0].equals(frames[1]):
                yield f"{name} differs: {trial}"
    documents = [json.loads(s.artifact(s.study_run(), "decisions.json").read_text()) for s in (old, new)]
    if documents[0] != documents[1]:
        yield "decisions.json differs"
    if not new.verdicts()["verdicts"]:
        yield "no verdicts to compare: write the study's report first"
    if old.verdicts() != new.verdicts():
        yield "verdicts.json differs"


def main(arguments):
    """Compare, and say what differs."""
    old, new = (Store(folder, arguments[2]) for folder in arguments[:2])
    found = list(differences(old, new))
    print(*found, sep="\n")
    print(f"{len(new.trials())} trials, {len(new.verdicts()['verdicts'])} verdicts: {len(found)} differences")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
