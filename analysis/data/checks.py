"""What was logged is read strictly: what is missing, renamed or of another type is refused by name.

Filled with NaN it would turn verdicts INCONCLUSIVE without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from analysis.errors import InputError
from benchmark.contract import (
    CURVE_METRICS,
    DECISIONS_FILE,
    ENGINES_FILE,
    FINAL_METRICS,
    PROGRESS_FILE,
    PROTOCOL,
    ROLES,
    SCHEMA_FILE,
    SCHEMA_VERSION,
    STUDY_FILE,
    STUDY_NAME,
    timing_rounds,
    variant_name,
)
from benchmark.contract.messages import excerpt

MEND = "read it with the commit that logged it, or run the study again"
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
    "seeds.first",
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
    "searched_seeds": (list,),
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


def check_run(
    where: str,
    study: Mapping[str, Any],
    schema: Mapping[str, Any],
    decisions: Mapping[str, Any],
    *,
    complete: bool,
) -> list[str]:
    """What a study run logged as JSON is whole, and under this analysis' rules.

    Returns:
        names of the planned variants.

    Raises:
        InputError: it is not.
    """
    if not isinstance(version := schema.get("schema_version"), int):
        refuse(f"{where}, {SCHEMA_FILE}", "schema_version as a number", repr(version))
    check_versions(str(study.get("name")), schema)
    check_study(where, study)
    normalizations, activations = (study["variants"][key] for key in ("normalizations", "activations"))
    check_schema(where, schema, normalizations)
    variants = [variant_name(n, a) for a in activations for n in normalizations]
    check_decisions(where, decisions, variants, complete=complete)
    return variants


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
    if not re.fullmatch(STUDY_NAME, str(study["name"])):  # it becomes a folder's
        refuse(f"{where}, {STUDY_FILE}", "the key name with a study's", excerpt(study["name"]))


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
            value = _entry(schema["normalizations"], name).get(key)
            if not isinstance(value, kind):
                refuse(where, f"normalizations.{name}.{key} as {kind.__name__}", excerpt(value))


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


def check_progress(where: str, progress: Mapping[str, Any]) -> None:
    """How far a run has come is in numbers, as far as it says it.

    Raises:
        InputError: it is not.
    """
    where, planned = f"{where}, {PROGRESS_FILE}", progress.get("planned", {})
    if not isinstance(planned, Mapping):
        refuse(where, "planned by stage", repr(planned))
    numbers = {"wall_time_s": progress.get("wall_time_s"), **{f"planned.{k}": v for k, v in planned.items()}}
    for key, value in numbers.items():
        if not isinstance(value, (int, float, type(None))):
            refuse(where, f"{key} as a number", repr(value))


def _entry(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a document; empty where it is missing or of another shape."""
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def _check_values(where: str, document: Any, wanted: Mapping[str, Kinds]) -> None:
    """Every key is there, with a value of one of its types; a bool is no number."""
    if not isinstance(document, Mapping):
        refuse(where, "an object", repr(document))
    for key, kinds in wanted.items():
        value = document.get(key)
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if key not in document or not fits:
            names = " or ".join(kind.__name__ for kind in kinds)
            refuse(where, f"the key {key} with {names}", excerpt(value) if key in document else "none")


def steps_s(
    where: str,
    engines: Mapping[str, Any],
    variants: Collection[str],
    seeds: Mapping[str, int],
    *,
    complete: bool,
) -> dict[str, tuple[float, ...]]:
    """What a step of each variant takes, in seconds, round by round; of a study that has just begun, nothing.

    Args:
        where: in messages.
        engines: by variant.
        variants: planned.
        seeds: the study's, of which there are as many rounds.
        complete: whether the study is.

    Raises:
        InputError: a variant is missing, or its times are not as many as the rounds, or no times.
    """
    if not engines and not complete:
        return {}
    found, rounds = {}, timing_rounds(seeds["sweep"], seeds["confirm"])
    for name in variants:
        taken = _entry(engines, name).get("steps_s")
        if not (
            isinstance(taken, list)
            and len(taken) == rounds
            and all(isinstance(one, float) and 0 < one < math.inf for one in taken)
        ):
            refuse(
                f"{where}, {ENGINES_FILE}", f"{name}.steps_s with {rounds} times in seconds", excerpt(taken)
            )
        found[name] = tuple(taken)
    return found
