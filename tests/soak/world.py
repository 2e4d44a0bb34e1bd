"""Numbers that are none in the data, a clock that jumps, a store that another holds, scratch of the dead."""

import hashlib
import io
import json
import multiprocessing
import random
import sqlite3
import time

import numpy as np
from running import Left

from soak.attacked import NAME, REPORT, RUN, Tally, check

DAY_S = 86_400.0
LOCKED_S = 25.0


def numbers(bench):
    """A NaN and an infinity in the cached data, as damage, and as a whole file of another type."""
    tally = Tally("numbers")
    for value in (np.nan, np.inf):
        for is_sealed in (False, True):
            study = bench.copy_of(bench.reference, "numbers")
            path = study.mlruns / "data" / "digits.cache"
            tally.tries += 1
            tally.met += 1
            (_seal_another if is_sealed else _write_into)(path, np.float32(value))
            what = f"{value} in the data{', with a checksum' if is_sealed else ''}"
            _, said = study.do(tally, RUN, what, codes={0})
            if "building it anew" not in said:
                tally.other.append(f"{what}: nothing is said of it: {said[-200:]}")
            check(study, bench.reference, tally, what)
            bench.done_with(study)
    return tally


def _write_into(path, value):
    with path.open("r+b") as file:
        file.seek(20_000)
        file.write(value.tobytes())


def _seal_another(path, value):
    """The same data as float32, one of them no number, with a checksum that is right."""
    stream = io.BytesIO(path.read_bytes()[32:])
    header, *arrays = (np.load(stream) for _ in range(5))
    assert json.loads(header.tobytes())["fingerprint"]
    arrays[0] = arrays[0].astype(np.float32)
    arrays[0].flat[1000] = value
    payload = io.BytesIO()
    for array in (header, *arrays):
        np.save(payload, array)
    path.write_bytes(hashlib.sha256(payload.getvalue()).digest() + payload.getvalue())


def clock(bench):
    """The clock jumps by a day, to and fro, while the study runs: numbers and durations are as ever."""
    tally = Tally("clock")
    study = bench.study("clock")
    began = time.monotonic()
    tally.tries += 1
    study.do(tally, RUN, "a clock that jumps", first=_jump, codes={0})
    took = time.monotonic() - began
    tally.met += 1
    wall = _progress(study)["wall_time_s"]
    if not 0.0 < wall < took:
        tally.lost.append(f"a clock that jumps: the study took {took:.0f} s, and says {wall:.0f} s")
    check(study, bench.reference, tally, "a clock that jumps")
    bench.done_with(study)
    return tally


def _jump():
    real, rng = time.time, random.Random(0)
    time.time = lambda: real() + rng.choice([-DAY_S, 0.0, DAY_S])


def _progress(study):
    (path,) = study.mlruns.glob(f"artifacts/{NAME}/*/artifacts/progress.json")
    return json.loads(path.read_text())


def stores(bench):
    """Another process holds the store for longer than SQLite waits."""
    tally = Tally("stores")
    study = bench.study("stores")
    process = study.start()
    while process.is_running() and "sweep" not in process.stderr:
        time.sleep(0.02)
    tally.tries += 1
    context = multiprocessing.get_context("fork")
    holder = context.Process(target=_hold, args=(study.mlruns / "mlflow.db",))
    holder.start()
    tally.met += process.is_running()
    tally.heard(process, process.wait(), "a store that is locked", codes={0})
    holder.join()
    check(study, bench.reference, tally, "a store that is locked")
    bench.done_with(study)
    return tally


def _hold(path):
    connection = sqlite3.connect(path, timeout=60.0)
    connection.execute("BEGIN EXCLUSIVE")
    time.sleep(LOCKED_S)
    connection.rollback()


def scratch(bench):
    """What dead processes may leave half written goes with the next run; what is no one's stays."""
    tally = Tally("scratch")
    study = bench.copy_of(bench.reference, "scratch")
    mlruns = study.mlruns
    (mlruns / "optuna.db").unlink()
    (mlruns / "data" / "digits.cache").unlink()
    curves = next(mlruns.glob(f"artifacts/{NAME}/*/artifacts/curves.parquet"))
    curves.unlink()  # its trial is trained again, as one that was killed
    run_id, folder = curves.parent.parent.name, curves.parent
    trial = Left(study.folder).tags()[run_id]["trial_hash"]
    half_written = [
        folder / ".curves.parquet.partial",
        mlruns / ".optuna.db.partial",
        mlruns / ".optuna.db.partial-journal",
        mlruns / "data" / "digits.partial",
        mlruns / "reports" / f".{NAME}.scratch-abcdefgh" / "fresh" / "report.html",
        *(mlruns / "checkpoints" / trial / f"{name}.partial" for name in ("progress", "last", "best")),
    ]
    mine = mlruns / "reports" / "mine.partial.txt"
    for path in (*half_written, mine):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half wri")
    tally.tries = tally.met = len(half_written)
    study.do(tally, RUN, "half-written files", codes={0})
    study.do(tally, REPORT, "half-written files", codes={0})
    if not mine.exists():
        tally.lost.append("half-written files: a file of the user's is gone")
    check(study, bench.reference, tally, "half-written files", report=True)
    bench.done_with(study)
    return tally
