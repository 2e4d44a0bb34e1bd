"""Reading studies from TOML, strictly.

Reading goes TOML -> JSON -> pydantic, because strict JSON mode is the one that takes arrays for tuples
and still refuses `true` for 1.0 and "1e-3" for 0.001.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.base.errors import InputError
from benchmark.base.registry import lookup
from benchmark.contract.messages import excerpt, short
from benchmark.contract.toml import check_plain, toml_file
from benchmark.study.spec import StudySpec
from benchmark.training.losses import LOSSES
from benchmark.training.optimizers import OPTIMIZERS
from benchmark.training.schedules import SCHEDULES
from benchmark.variants.networks import FAMILIES

# Keys that say which kind a section is of: an optimizer's, schedule's and loss's name, a network's family.
_KINDS = ("name", "family")
_DEEPEST_KEY = 8  # of a key's sections; no key of a study has three
_MOST_EXTENDED = 16  # studies that extend each other


def load_studies(name_or_path: str, overrides: Sequence[str] = ()) -> list[StudySpec]:
    """Read a study as what is to be run: one study per value of its axis, or the one without an axis.

    Args:
        name_or_path: a name in `benchmark/studies`, or a path to a TOML file.
        overrides: `key=value` each, the key dotted, the value in TOML's notation (a bare word is a string).

    Raises:
        InputError: no such study, or it is invalid; names the file, the key, what was expected and found.
    """
    study = load_study(name_or_path, overrides)
    if study.axis is None:
        return [study]
    return [load_study(name_or_path, overrides, position) for position in range(len(study.axis.values))]


def load_study(name_or_path: str, overrides: Sequence[str] = (), position: int | None = None) -> StudySpec:
    """Read one study.

    Args:
        name_or_path: a name in `benchmark/studies`, or a path to a TOML file.
        overrides: `key=value` each, the key dotted, the value in TOML's notation (a bare word is a string).
        position: which value of its axis to take; None: what the file says without the axis.

    Raises:
        InputError: no such study, or it is invalid; names the file, the key, what was expected and found.
    """
    path = study_path(name_or_path)
    table = _read(path)
    # First what says of which kind a section is: it clears the other kind's settings, not those set here.
    for override in sorted(overrides, key=_sets_a_kind, reverse=True):
        _apply(table, override)
    _check_axis(table, overrides, path)
    if position is not None:
        axis = table["axis"]
        axis["position"] = position
        _assign(table, axis["key"], axis["values"][position], where=f"{path}: axis.key")
    try:
        return StudySpec.model_validate_json(json.dumps(table))
    except ValidationError as error:
        first = error.errors()[0]
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{path}: {_describe(first)}{more}") from None


def _check_axis(table: Mapping[str, Any], overrides: Sequence[str], path: Path) -> None:
    """Refuse an axis.position of the file's own, and overrides of what the axis varies: it would win."""
    axis = table.get("axis")
    if not isinstance(axis, dict):
        return  # none, or one that the model refuses
    if "position" in axis:
        raise InputError(f"{path}: axis.position: expected none, it is set by what runs the study")
    varied = str(axis.get("key")).split(".")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if "key" in axis and all(mine == its for mine, its in zip(key.split("."), varied, strict=False)):
            raise InputError(
                f"{path}: --set {short(override)}: expected a key beside {short('.'.join(varied))}, which "
                f"this study's axis varies, found {short(key)}: set axis.values to choose its values"
            )
    keys = {override.partition("=")[0].strip() for override in overrides}
    if axis.get("names") and "axis.values" in keys and "axis.names" not in keys:
        raise InputError(
            f"{path}: --set axis.values: expected new axis.names beside it, as this study's values have "
            "names, found none: set both"
        )


def _read(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's table, laid over that of the study that it `extends`, if it names one."""
    try:
        table = toml_file(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise InputError(f"{path}: extends: expected the name of another study, found {excerpt(base)}")
    if len(extended_by) > _MOST_EXTENDED:
        raise InputError(f"{path}: extends: expected at most {_MOST_EXTENDED} studies in a row, found more")
    try:
        base_path = study_path(base)
    except InputError as error:
        raise InputError(f"{path}: extends: {error}") from None
    chain = (*extended_by, path)
    if base_path.resolve() in [one.resolve() for one in chain]:
        raise InputError(
            f"{path}: extends: expected a study that does not extend this one in turn, found "
            f"{' -> '.join(one.stem for one in (*chain, base_path))}: remove one of them"
        )
    return _merge(_read(base_path, chain), table)


def _merge(base: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """`table` over `base`, section by section; a section that names another kind replaces the base's."""
    merged = dict(base)
    for key, value in table.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            same_kind = all(value.get(tag) in (None, old.get(tag)) for tag in _KINDS)
            merged[key] = _merge(old, value) if same_kind else value
        else:
            merged[key] = value
    return merged


def study_path(name_or_path: str) -> Path:
    """Where a study's TOML lies.

    Raises:
        InputError: nowhere.
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path)
        try:
            found = path.is_file() or path.exists()  # what is no file is refused where it is read
        except OSError:  # a name too long to be one
            found = False
        if not found:
            raise InputError(f"study: expected a TOML file, found none at {short(name_or_path)}")
        return path
    return lookup(shipped_studies(), name_or_path, "study")


def shipped_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    folder = Path(str(resources.files("benchmark") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _sets_a_kind(override: str) -> bool:
    key = override.partition("=")[0].strip()
    return "." in key and key.rpartition(".")[2] in _KINDS


def _apply(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set: expected key=value, found {excerpt(override)}")
    key, where = key.strip(), f"--set {short(override)}"
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # of tomllib; of Python for a number of very many digits
        parsed = {}
    value = parsed["value"] if len(parsed) == 1 else text  # more: lines after the first made other keys
    try:
        check_plain(value, key)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    _assign(table, key, value, where)


def _assign(table: dict[str, Any], key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    if len(sections) > _DEEPEST_KEY:
        raise InputError(f"{where}: expected a key of a study, found one of {len(sections) + 1} parts")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise InputError(f"{where}: {excerpt(section)} is a value, not a section")
    if sections and last in _KINDS and table.get(last, _default_kind(sections[0], last)) != value:
        table.clear()  # another kind of optimizer, loss or network: the old one's settings are not its own
    table[last] = value


def _default_kind(section: str, tag: str) -> Any:
    """Which kind a section is of whose table does not say it."""
    field = StudySpec.model_fields.get(section)
    return None if field is None else getattr(field.default, tag, None)


def _describe(error: Mapping[str, Any]) -> str:
    # A discriminated union (the optimizer's, say) puts its tag into the location; the file has no such key.
    tags = {*OPTIMIZERS, *SCHEDULES, *LOSSES, *FAMILIES}
    location = short(".".join(str(part) for part in error["loc"] if part not in tags))
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{location}: {message}" if location else message
    if error["type"] == "union_tag_invalid":
        found = excerpt(error["ctx"]["tag"])
        return f"{location}: expected one of {error['ctx']['expected_tags']}, found {found}"
    if error["type"] == "extra_forbidden":
        return f"{location}: no such key; remove it or mend its spelling"
    if error["type"] == "missing":
        return f"{location}: expected a value, found none"
    return f"{location}: {message[0].lower()}{message[1:]}, found {excerpt(error['input'])}"
