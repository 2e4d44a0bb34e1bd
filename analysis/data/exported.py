"""A study run as files that a repository can carry, and back again: what `load` reads, without MLflow.

<study>/
run.json          what the study logged as JSON, and the checksums of the tables
trials.parquet    `Results.trials`
curves.parquet    `Results.curves`, but for columns that neither verdicts nor figures read
probes.parquet    `Results.probes`, of the trials that verdicts and figures look into
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data import checks
from analysis.data.files import read_json, read_table, replacing
from analysis.errors import InputError
from analysis.family import replicates, same_rules
from analysis.results import CURVE_FRAME, PROBE_FRAME, TRIAL_FRAME, Results
from benchmark.contract import replication_name
from benchmark.contract.files import sealed

RUN_FILE = "run.json"
FRAMES = {"trials": TRIAL_FRAME, "curves": CURVE_FRAME, "probes": PROBE_FRAME}
_UNREAD = {"curves": ("gradient_norm", "parameter_norm", "examples_per_s")}
"""Columns that nothing here reads: they come back as NaN."""
_DOCUMENTS = ("study", "schema", "decisions", "environment", "progress")
_WORDS = ("run_id", "study_hash", "commit", "data_fingerprint", "status")
_ZSTD_LEVEL = 19  # of 22: beyond it, a table of floats gets no smaller


def write(results: Results, folder: Path) -> None:
    """Write a study run into a folder, which is replaced as a whole.

    Every number that is read is kept to the bit. Left out are the columns of curves that nothing reads, and
    of the probes those that nothing looks at: kept are the confirm stage's, and the sweep's at each variant's
    lowest rate, where gradients at initialization are read.

    Args:
        results: of a study without an axis.
        folder: to create or replace.

    Raises:
        InputError: the study has an axis.
    """
    if results.study.get("axis"):
        raise InputError(
            f"study {results.study['name']!r}: expected one run to export, found one per value of its axis"
        )
    frames = {name: getattr(results, name) for name in FRAMES} | {"probes": _probes_read(results)}
    with replacing(folder, RUN_FILE) as fresh:
        for name, frame in frames.items():
            _write_table(frame.drop(columns=[*_UNREAD.get(name, ())]), fresh / f"{name}.parquet")
        document = {key: getattr(results, key) for key in (*_WORDS, *_DOCUMENTS)} | {
            "engines": {variant: {"steps_s": list(taken)} for variant, taken in results.steps_s.items()},
            "tables_sha256": {name: _checksum(fresh / f"{name}.parquet") for name in FRAMES},
        }
        (fresh / RUN_FILE).write_text(json.dumps(sealed(document), indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Results:
    """Read a study run that was exported, and the complete replications of it that lie beside its folder.

    Args:
        folder: of `write`.

    Raises:
        InputError: it is no export, was logged under other rules, or a file is not what was written.
    """
    results = _read(folder)
    study = str(results.study["name"])
    beside = (folder.parent / replication_name(study, number) for number in count(1))
    found = [_read(other) for other in takewhile(is_export, beside)]
    return replace(
        results,
        replications=tuple(
            one
            for one in found
            if one.status == "complete"
            and same_rules(one.schema, results.schema)
            and replicates(one.study, results.study)
        ),
    )


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported study run."""
    return (folder / RUN_FILE).is_file()


def _read(folder: Path) -> Results:
    if not is_export(folder):
        raise InputError(
            f"{folder}: expected an exported study ({RUN_FILE} and three tables), found none; "
            "write one with: python -m analysis export STUDY"
        )
    where, document = str(folder / RUN_FILE), read_json(folder / RUN_FILE)
    for key in (*_DOCUMENTS, "engines", "tables_sha256"):
        if not isinstance(document.get(key), dict):
            checks.refuse(where, f"the section {key}", type(document.get(key)).__name__)
    for key in _WORDS:
        if not isinstance(document.get(key), str):
            checks.refuse(where, f"{key} as text", repr(document.get(key)))
    documents = {key: document[key] for key in _DOCUMENTS}
    complete = document["status"] == "complete"
    study = documents["study"]
    variants = checks.check_run(where, study, documents["schema"], documents["decisions"], complete=complete)
    checks.check_progress(where, documents["progress"])
    frames = {
        name: _read_table(folder / f"{name}.parquet", document["tables_sha256"].get(name), name)
        for name in FRAMES
    }
    words = {key: document[key] for key in _WORDS}
    return Results(
        **documents,
        **words,
        trials=frames["trials"],
        curves=frames["curves"],
        probes=frames["probes"],
        run_ids=(words["run_id"],),
        steps_s=checks.steps_s(where, document["engines"], variants, study["seeds"], complete=complete),
    )


def _probes_read(results: Results) -> pd.DataFrame:
    """The rows of probes that a verdict or a figure reads."""
    probes = results.probes
    in_sweep = results.trials[results.trials["stage"] == "sweep"]
    lowest = probes["variant"].map(in_sweep.groupby("variant")["learning_rate"].min())
    kept = (probes["stage"] == "confirm") | (
        (probes["stage"] == "sweep") & (probes["trial_learning_rate"] == lowest)
    )
    return probes[kept].reset_index(drop=True)


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    floats = [str(name) for name, kind in frame.dtypes.items() if kind == "float64"]
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False),
        path,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        # The bytes of like significance side by side: measurements share exponents, not mantissas.
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        use_dictionary=[str(name) for name in frame.columns if name not in floats],
    )


def _read_table(path: Path, checksum: str | None, name: str) -> pd.DataFrame:
    if not path.is_file():
        checks.refuse(str(path), "a table", "none")
    if _checksum(path) != checksum:
        checks.refuse(str(path), f"the sha256 that {RUN_FILE} gives", "another: it is damaged or was changed")
    table = read_table(path)
    assert table is not None  # it is there
    columns = [column for column in FRAMES[name] if column not in _UNREAD.get(name, ())]
    if table.column_names != columns:
        checks.refuse(str(path), f"the columns {', '.join(columns)}", ", ".join(table.column_names))
    frame: pd.DataFrame = table.to_pandas()
    return frame.reindex(columns=[*FRAMES[name]])


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
