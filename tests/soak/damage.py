"""Every kind of file of a study, damaged in every way: then its verdicts, its report, and the study again."""

import json
import os
import shutil
import sys

from soak.attacked import ALONE, CLAIMS, NAME, REPORT, RUN, Tally, compare

TRIES = 10
"""To stop a study where there is something to damage."""


def _flipped(bench, path):
    content = bytearray(path.read_bytes())
    content[bench.rng.randrange(len(content))] ^= 1 << bench.rng.randrange(8)
    path.write_bytes(content)


def _cut(bench, path):
    os.truncate(path, bench.rng.randrange(path.stat().st_size))


def _folder(bench, path):
    path.unlink()
    path.mkdir()


def _pipe(bench, path):
    path.unlink()
    os.mkfifo(path)


WAYS = {
    "cut": _cut,
    "emptied": lambda bench, path: path.write_bytes(b""),
    "one bit flipped": _flipped,
    "zeroed": lambda bench, path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda bench, path: path.unlink(),
    "a folder in its place": _folder,
    "a pipe in its place": _pipe,
    "JSON of another shape": lambda bench, path: path.write_text(json.dumps({"variants": [1], "0": None})),
}

ARTIFACTS = f"artifacts/{NAME}/*/artifacts"
DOCUMENTS = ("schema", "study", "decisions", "environment", "progress", "engines")
FILES = (
    *(f"{ARTIFACTS}/{name}.json" for name in DOCUMENTS),
    f"{ARTIFACTS}/curves.parquet",
    f"{ARTIFACTS}/probes.parquet",
    "checkpoints/*/progress.pt",
    "checkpoints/*/best.pt",
    "optuna.db",
    "mlflow.db",
    "data/digits.cache",
)
UNFINISHED = {"checkpoints/*/progress.pt"}
"""Of these there are some only in a study that was stopped."""

BELIEVED = {("mlflow.db", "one bit flipped"), ("optuna.db", "one bit flipped")}
"""SQLite has no checksums: a flipped bit in a value, or in a page that nobody reads, is read as it is."""
REFUSED = {"mlflow.db", f"{ARTIFACTS}/engines.json"}
"""What no run makes anew: the file is named, with code 2, until it is put back or moved away."""


def damage(bench):
    """Damage a copy of the finished study, or of one that was stopped, and do everything with it."""
    tally = Tally("damage")
    stopped = _stopped(bench)
    for pattern in FILES:
        for way, harm in WAYS.items():
            source = stopped if pattern in UNFINISHED else bench.reference
            study = bench.copy_of(source, "damage")
            paths = sorted(study.mlruns.glob(pattern))
            if not paths:
                tally.other.append(f"{pattern}: there is none to damage")
                continue
            _one(bench, study, tally, bench.rng.choice(paths), pattern, way, harm)
            bench.done_with(study)
    _folder_of_data(bench, tally)
    return tally


def _one(bench, study, tally, path, pattern, way, harm):
    what = f"{path.name} {way}"
    tally.tries += 1
    before = path.read_bytes()
    harm(bench, path)
    damaged = path.read_bytes() if path.is_file() else None
    tally.met += damaged != before
    print(f"  {what}", file=sys.stderr)
    code, said = study.do(tally, CLAIMS, what, codes={0, 2})
    if code == 2 and path.name not in said and way != "deleted":
        tally.other.append(f"{what}: the verdicts do not name it: {said.strip()[-200:]}")
    if way == "one bit flipped" if path.suffix == ".parquet" else way == "cut":
        code, said = study.do(tally, REPORT, what, codes={0, 2})
        if code == 2 and path.suffix == ".parquet":
            tally.other.append(f"{what}: takes the report down")
    code, said = study.do(tally, ALONE, what, codes={0, 2})
    refused = pattern in REFUSED or "folder" in way or "pipe" in way
    if code == 2:
        if not refused:
            tally.other.append(f"{what}: the study does not go on: {said.strip()[-200:]}")
        if path.name not in said:
            tally.other.append(f"{what}: the study does not name it: {said.strip()[-200:]}")
        if path.is_file() and path.read_bytes() != damaged:
            tally.lost.append(f"{what}: was refused, and written to")
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)  # the user mends it
        path.write_bytes(before)
        study.do(tally, ALONE, f"{what}, put back", codes={0})
    if (path.name, way) not in BELIEVED:
        study.do(tally, CLAIMS, f"after {what}", codes={0})
        compare(study, bench.reference, tally, what)


def _folder_of_data(bench, tally):
    """The folder of the cached data itself: a file or a pipe in its place, or gone."""
    for way in ("a file", "a pipe", "nothing"):
        study = bench.copy_of(bench.reference, "damage")
        data, what = study.mlruns / "data", f"{way} in place of the data's folder"
        tally.tries += 1
        tally.met += 1
        shutil.rmtree(data)
        if way == "a file":
            data.write_text("mine")
        elif way == "a pipe":
            os.mkfifo(data)
        code, said = study.do(tally, ALONE, what, codes={0, 2})
        if code == 2:
            if "data" not in said.strip().splitlines()[-1]:
                tally.other.append(f"{what}: is not named: {said.strip()[-200:]}")
            data.unlink()
            study.do(tally, ALONE, f"{what}, taken away", codes={0})
        compare(study, bench.reference, tally, what)
        bench.done_with(study)


def _stopped(bench):
    """The study stopped while trials had their progress on disk."""
    for _ in range(TRIES):
        study = bench.study("stopped")
        process = study.start(RUN)
        while process.is_running() and not list(study.mlruns.glob("checkpoints/*/progress.pt")):
            pass
        process.kill(group=True)
        if list(study.mlruns.glob("checkpoints/*/progress.pt")):
            return study
    raise RuntimeError(f"no trial had progress on disk in {TRIES} tries")
