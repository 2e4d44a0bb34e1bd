"""What each trial logged is read strictly too: its run, its curves, its probes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa

from analysis.data.checks import refuse
from benchmark.contract import (
    CURVE_METRICS,
    CURVES_FILE,
    ENDED,
    FINAL_METRICS,
    INIT_GAIN,
    LANDSCAPE,
    PROBE_COLUMNS,
    PROBES_FILE,
    SCHEMA_FILE,
    STAGES,
    STEP_PROBE,
    Tag,
    eval_every_key,
    reads_test,
    variant_name,
)

STATUSES = (*ENDED, "failed", "running")
TRIAL_TAGS = (
    Tag.TRIAL_HASH,
    Tag.VARIANT,
    Tag.NORMALIZATION,
    Tag.ACTIVATION,
    Tag.STAGE,
    Tag.LEARNING_RATE,
    Tag.SEED,
    Tag.STATUS,
    Tag.STATUS_EMA,
)


def label_of(run: Any) -> str:
    """Which trial a run is of, for people."""
    return f"trial {run.data.tags.get(Tag.TRIAL_HASH, run.info.run_id)} ({run.info.run_name})"


def check_trial(run: Any, study: Mapping[str, Any]) -> None:
    """A trial's run says what it is of, and, once it has an outcome, all its final metrics.

    Args:
        run: MLflow's.
        study: the resolved study.

    Raises:
        InputError: it does not.
    """
    tags, where = run.data.tags, label_of(run)
    for tag in TRIAL_TAGS:
        if tag not in tags:
            refuse(where, f"the tag {tag}", "none")
    for tag, kind in ((Tag.LEARNING_RATE, float), (Tag.SEED, int)):
        try:
            kind(tags[tag])
        except ValueError:
            refuse(where, f"the tag {tag} as {kind.__name__}", repr(tags[tag]))
    names = tags[Tag.NORMALIZATION], tags[Tag.ACTIVATION]
    planned = study["variants"]
    if names[0] not in planned["normalizations"] or names[1] not in planned["activations"]:
        refuse(where, "a normalization and an activation of the study", f"{names[0]}, {names[1]}")
    for tag, known in (
        (Tag.VARIANT, (variant_name(*names),)),
        (Tag.STAGE, STAGES),
        (Tag.STATUS, STATUSES),
        (Tag.STATUS_EMA, STATUSES),
    ):
        if tags[tag] not in known:
            refuse(where, f"the tag {tag} as one of {', '.join(known)}", repr(tags[tag]))
    if tags[Tag.STATUS] in ENDED:
        _check_outcome(run, study)


def _check_outcome(run: Any, study: Mapping[str, Any]) -> None:
    """Its init gain and every final metric is there; those of the test split where the trial reads it."""
    where = label_of(run)
    if INIT_GAIN not in run.data.params:
        refuse(where, f"the parameter {INIT_GAIN}", "none")
    tested = reads_test(run.data.tags[Tag.STAGE], study["search"]["sampler"])
    for name in FINAL_METRICS:
        if name.startswith("test_") and not tested:
            continue
        value = run.data.metrics.get(name, math.nan)
        if math.isnan(value):
            refuse(where, f"the metric {name}", "NaN" if name in run.data.metrics else "none")


def check_curves(table: pa.Table | None, run: Any, study: Mapping[str, Any]) -> pa.Table:
    """A trial's curves with exactly the contract's columns, in its order, and every evaluation of the trial.

    Args:
        table: of `curves.parquet`; None where there is no such file.
        run: MLflow's, of a trial with an outcome.
        study: the resolved study.

    Raises:
        InputError: the file is missing or empty, a column is missing, unknown or of another type, an
            evaluation is missing, or one has no accuracy.
    """
    where = f"{label_of(run)}, {CURVES_FILE}"
    table = _checked(table, where, dict.fromkeys(CURVE_METRICS, "number"))
    every = study["budget"][eval_every_key(run.data.tags[Tag.STAGE])]
    expected = range(0, int(run.data.metrics["num_steps_done"]) + 1, every)
    found = [int(step) for step in table["step"].to_pylist()]
    if found != list(expected):
        words = f"{len(expected)} evaluations up to step {expected[-1]}"
        refuse(f"{where}, column step", words, f"{len(found)} up to step {found[-1]}")
    for name in ("val_accuracy", "clean_train_accuracy"):  # even a net that diverged classifies somehow
        if not all(value is not None and math.isfinite(value) for value in table[name].to_pylist()):
            refuse(f"{where}, column {name}", "a share at every evaluation", "NaN")
    return table


def check_probes(
    table: pa.Table | None, trial: str, enabled: Collection[str], declared: Mapping[str, Mapping[str, str]]
) -> pa.Table | None:
    """A trial's probes with exactly the contract's columns, in its order; None where the trial has none.

    Args:
        table: of `probes.parquet`; None where there is no such file.
        trial: which, for people.
        enabled: the study's `probes.enabled`.
        declared: what the study run's schema says of every name, the probe that reads it among it.

    Raises:
        InputError: as for `check_curves`; a probe goes by a name that is not declared, or one that is enabled
            has left nothing that it would read of such a trial.
    """
    if table is None and not set(enabled) - {LANDSCAPE}:
        return None
    where = f"{trial}, {PROBES_FILE}"
    kinds = dict.fromkeys(PROBE_COLUMNS, "number") | {"probe": "text", "layer": "text"}
    table = _checked(table, where, kinds)
    found = set(table["probe"].unique().to_pylist())
    unknown = sorted(found - set(declared))
    if unknown:
        refuse(f"{where}, column probe", f"names that {SCHEMA_FILE} declares", ", ".join(map(str, unknown)))
    may_be_silent = {LANDSCAPE} if any(table["step"].to_pylist()) else {LANDSCAPE, STEP_PROBE}
    silent = set(enabled) - may_be_silent - {declared[name]["probe"] for name in found}
    if silent:
        refuse(f"{where}, column probe", f"what {', '.join(sorted(silent))} reads", ", ".join(sorted(found)))
    return table


def _checked(table: pa.Table | None, where: str, kinds: Mapping[str, str]) -> pa.Table:
    """The table with exactly these columns (name -> "number" or "text"), in this order."""
    if table is None:
        refuse(where, "this file", "none")
    missing = [name for name in kinds if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in kinds]
    if missing:
        instead = f"the columns {', '.join(unknown)} instead" if unknown else "none"
        refuse(where, f"the column {', '.join(missing)}", instead)
    if len(table.column_names) != len(kinds):
        refuse(where, f"{len(kinds)} columns", f"{', '.join(unknown) or 'one twice'} besides")
    for name, kind in kinds.items():
        own = table.schema.field(name).type
        if not (_is_number(own) if kind == "number" else _is_text(own)):
            refuse(f"{where}, column {name}", kind, str(own))
    if not table.num_rows:
        refuse(where, "rows", "none")
    return table.select(list(kinds))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
