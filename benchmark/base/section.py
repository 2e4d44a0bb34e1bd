"""The base of every section of a study file."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen, strictly validated table of a study's TOML.

    Strict, because lax mode turns `true` into 1.0; closed, because a misspelt key would otherwise be
    ignored and the default trained without a word; finite, because no quantity of a study is not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
