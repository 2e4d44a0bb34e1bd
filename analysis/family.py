"""A study with an axis: one study run per value, read together."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from typing import Any

from analysis.results import Results

WORDS = ("description", "execution")
"""Sections that change nothing of what a study computes."""

VERSIONS = ("schema_version", "protocol_version")


@dataclass(frozen=True, eq=False)
class Family:
    """The study runs of one study at the values of its axis.

    Attributes:
        members: a run per value that was run, in the axis' order.
        newest: the one of them that started last.
    """

    members: tuple[Results, ...]
    newest: Results

    @property
    def axis(self) -> dict[str, Any]:
        """The axis as the study has it: key, label, values, names."""
        return dict(self.newest.study["axis"])

    @property
    def label(self) -> str:
        """What varies, for people."""
        return str(self.axis["label"])

    @property
    def names(self) -> list[str]:
        """What the values are called, those not run yet among them."""
        return [str(name) for name in self.axis["names"] or self.axis["values"]]

    @property
    def missing(self) -> list[str]:
        """Values that were not run yet."""
        found = {position_of(member) for member in self.members}
        return [name for position, name in enumerate(self.names) if position not in found]

    @property
    def numbers(self) -> list[float] | None:
        """The values as numbers, and so in an order with distances; None if they are other things.

        Of values that are tables, such as budgets, their names count.
        """
        values = self.names if isinstance(self.axis["values"][0], dict) else self.axis["values"]
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            return None
        return numbers if all(map(math.isfinite, numbers)) else None

    @property
    def is_numeric(self) -> bool:
        """Are the values numbers?"""
        return self.numbers is not None

    def name_of(self, member: Results) -> str:
        """What a member's value is called."""
        return self.names[position_of(member)]

    def folder_of(self, member: Results) -> str:
        """The folder of a member's own report, `<position>-<value>`."""
        value = re.sub(r"[^a-z0-9.]+", "-", self.name_of(member).lower()).strip("-")
        return f"{position_of(member)}-{value[:60]}"  # a table's name is as long as the table


def position_of(member: Results) -> int:
    """Which value of its axis a member has."""
    return int(member.study["axis"]["position"])


def of_one_family(study: dict[str, Any], other: dict[str, Any]) -> bool:
    """Are two resolved studies the same apart from the value of their axis, words and execution?"""
    if not (study.get("axis") and other.get("axis")):
        return False
    return _without_value(study) == _without_value(other)


def varies_data(study: dict[str, Any]) -> bool:
    """Is what a study's axis varies the data, so that its values are trained on different ones?"""
    return str(study["axis"]["key"]).split(".")[0] == "data"


def same_rules(schema: dict[str, Any], other: dict[str, Any]) -> bool:
    """Were two runs logged under the same schema and protocol, but for the latter's patch number?"""
    return all(str(schema.get(key)).split(".")[:2] == str(other.get(key)).split(".")[:2] for key in VERSIONS)


def differ_in_optimizer_alone(study: dict[str, Any], other: dict[str, Any]) -> bool:
    """Are two resolved studies the same but for the optimizer, their names, words and execution?"""
    rest = (study.keys() | other.keys()) - {"name", "optimizer", *WORDS}
    return study.get("optimizer") != other.get("optimizer") and all(
        study.get(key) == other.get(key) for key in rest
    )


def replicates(study: dict[str, Any], other: dict[str, Any]) -> bool:
    """Are two resolved studies the same but for their seeds, their split, names, words and execution?"""
    return _replicable(study) == _replicable(other)


def _replicable(study: dict[str, Any]) -> dict[str, Any]:
    rest = copy.deepcopy({key: value for key, value in study.items() if key not in ("name", *WORDS)})
    rest["seeds"].pop("first", None)
    rest["data"].pop("split_seed", None)
    rest["data"].pop("root", None)  # the same images may lie anywhere
    return rest


def _without_value(study: dict[str, Any]) -> dict[str, Any]:
    """A resolved study without what its axis varies."""
    rest = copy.deepcopy({key: value for key, value in study.items() if key not in WORDS})
    del rest["axis"]["position"]
    *sections, last = rest["axis"]["key"].split(".")
    section = rest
    for name in sections:
        section = section[name]
    section.pop(last, None)
    return rest
