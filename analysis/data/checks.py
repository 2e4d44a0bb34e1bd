"""What was logged is read strictly: what is missing, renamed or of another type is refused by name.

Filled with NaN it would turn verdicts INCONCLUSIVE without a word.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

import pyarrow as pa

from analysis.errors import InputError
from benchmark.contract import (
    CURVE_METRICS,
    CURVES_FILE,
    DECISIONS_FILE,
    ENDED,
    FINAL_METRICS,
    INIT_GAIN,
    LANDSCAPE,
    PROBE_COLUMNS,
    PROBES_FILE,
    PROTOCOL,
    ROLES,
    SCHEMA_FILE,
    SCHEMA_VERSION,
    STAGES,
    STEP_PROBE,
    STUDY_FILE,
    Tag,
    eval_every_key,
    reads_test,
    variant_name,
)

MEND = "read it with the commit that logged it, or run the study again"
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
STUDY_KEYS = (
    "name",
    "variants.normalizations",
    "variants.activations",
    "data.dataset",
    "optimizer.name",
    "budget.num_steps",
    "budget.batch_size",
    "budget.eval_every",
    "budget.confirm_eval_every",
    "search.sampler",
    "seeds.sweep",
    "seeds.confirm",
    "judge.rho",
    "judge.statistics",
    "probes.enabled",
)
Kinds = tuple[type, ...]
DECIDED: Mapping[str, Kinds] = {
    "best_learning_rate": (float, int, type(None)),
    "at_edge": (bool,),
    "best_cell_accuracy": (float, int),
    "stability_threshold": (float, int),
    "usable": (bool,),
}
"""Of every variant, once the sweep is done."""
NUMBER: Kinds = (float, int)
DECISIONS: Mapping[str, Kinds] = {
    "num_classes": NUMBER,
    "loss_cap": NUMBER,
    "grid": (list,),
    "variants": (dict,),
    "targets": (dict,),
    "confirm": (list,),
}
TARGET: Mapping[str, Kinds] = {"accuracy": NUMBER, "variant": (str,)}
CONFIRM_CELL: Mapping[str, Kinds] = {"variant": (str,), "learning_rate": NUMBER, "roles": (list,)}


def refuse(where: str, expected: str, found: str) -> NoReturn:
    """One line on what does not fit.

    Raises:
        InputError: always.
    """
    raise InputError(f"{where}: expected {expected}, found {found}; {MEND}")


def check_versions(study: str, schema: Mapping[str, Any]) -> None:
    """Refuse what was logged under another schema or protocol.

    Raises:
        InputError: it was.
    """
    found = schema.get("schema_version")
    if found != SCHEMA_VERSION:
        raise InputError(
            f"study {study!r} was logged with schema version {found}, this analysis reads "
            f"{SCHEMA_VERSION}: use the commit that trained it, or run the study again"
        )
    protocol = str(schema.get("protocol_version"))
    if protocol.split(".")[:2] != PROTOCOL.split("."):
        raise InputError(
            f"study {study!r} was measured under protocol {protocol}, this analysis judges {PROTOCOL}.x: "
            "results compare only within one Major.Minor, run the study again"
        )


def check_study(where: str, study: Mapping[str, Any]) -> None:
    """The resolved study has every key that analysis reads.

    Raises:
        InputError: one is missing.
    """
    for key in STUDY_KEYS:
        section: Any = study
        for name in key.split("."):
            if not isinstance(section, Mapping) or name not in section:
                refuse(f"{where}, {STUDY_FILE}", f"the key {key}", "none")
            section = section[name]


def check_schema(where: str, schema: Mapping[str, Any], normalizations: Collection[str]) -> None:
    """The schema names every metric, the probes, and every planned normalization in words.

    Raises:
        InputError: it does not.
    """
    where = f"{where}, {SCHEMA_FILE}"
    for key in ("metrics", "probes", "normalizations"):
        if not isinstance(schema.get(key), Mapping):
            refuse(where, f"the section {key}", "none")
    for name in (*CURVE_METRICS, *FINAL_METRICS):
        if name not in schema["metrics"]:
            refuse(where, f"the metric {name}", "none")
    for name in normalizations:
        for key, kind in (("words", str), ("is_competitor", bool)):
            value = schema["normalizations"].get(name, {}).get(key)
            if not isinstance(value, kind):
                refuse(where, f"normalizations.{name}.{key} as {kind.__name__}", repr(value))


def check_decisions(
    where: str, decisions: Mapping[str, Any], variants: Collection[str], *, complete: bool
) -> None:
    """What the stages decided is whole; nothing decided yet is whole too, but for a complete study.

    Raises:
        InputError: a key is missing, of another type, or about a variant or role that there is not.
    """
    where = f"{where}, {DECISIONS_FILE}"
    if not decisions and not complete:
        return
    _check_values(where, decisions, DECISIONS)
    if decisions["variants"] and set(decisions["variants"]) != set(variants):
        refuse(where, f"the variants {', '.join(variants)}", ", ".join(decisions["variants"]))
    for name, decided in decisions["variants"].items():
        _check_values(f"{where}, variants.{name}", decided, DECIDED)
    for name, target in decisions["targets"].items():
        _check_values(f"{where}, targets.{name}", target, TARGET)
    for cell in decisions["confirm"]:
        _check_values(f"{where}, confirm", cell, CONFIRM_CELL)
        if cell["variant"] not in variants or not set(cell["roles"]) <= set(ROLES):
            refuse(f"{where}, confirm", f"a planned variant in roles of {', '.join(ROLES)}", str(cell))


def _check_values(where: str, document: Mapping[str, Any], wanted: Mapping[str, Kinds]) -> None:
    """Every key is there, with a value of one of its types; a bool is no number."""
    for key, kinds in wanted.items():
        value = document.get(key)
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if key not in document or not fits:
            names = " or ".join(kind.__name__ for kind in kinds)
            refuse(where, f"the key {key} with {names}", repr(value) if key in document else "none")


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
