"""The section of a study that varies one more thing."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from benchmark.base.section import Section
from benchmark.contract.messages import excerpt

_NOT_VARIED = ("axis", "name")  # by an axis: they are what a study and its values are told apart by


class AxisSpec(Section):
    """The `[axis]` section: one more thing to vary, by running the whole study at each of its values.

    Attributes:
        key: the dotted key of the study that varies, such as `budget.batch_size`.
        label: what it is, for people and figures.
        values: what it takes in turn: numbers, words, or tables where the key is a section.
        names: what to call the values; by default as they are written.
        position: which value this study has; set when the study is read, never in a file.
    """

    key: str = Field(max_length=100)
    label: str = Field(max_length=100)
    values: tuple[Any, ...] = Field(min_length=2, max_length=100)
    names: tuple[Annotated[str, Field(max_length=100)], ...] = ()
    position: int | None = None

    @field_validator("key")
    @classmethod
    def _can_be_varied(cls, key: str) -> str:
        if key.split(".", maxsplit=1)[0].strip() in _NOT_VARIED:
            raise ValueError(f"expected a key of the study beside {' and '.join(_NOT_VARIED)}, found {key!r}")
        return key

    @field_validator("values")
    @classmethod
    def _of_a_known_kind(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float | str | dict):
                raise ValueError(f"expected numbers, words or tables, found {excerpt(value)}")
        return values

    @model_validator(mode="after")
    def _named(self) -> "AxisSpec":
        if self.names and len(self.names) != len(self.values):
            raise ValueError(f"names: expected one per value, {len(self.values)}, found {len(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names: expected each name once, found {excerpt(list(self.names))}")
        if any(value in self.values[:position] for position, value in enumerate(self.values)):
            raise ValueError(f"values: expected each value once, found {excerpt(list(self.values))}")
        return self

    @property
    def value_name(self) -> str:
        """What this study's value is called."""
        position = self.position or 0
        return self.names[position] if self.names else str(self.values[position])
