"""Looking names up in registries: plain dicts from the one canonical name to a frozen dataclass."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from benchmark.base.errors import InputError
from benchmark.contract.messages import MOST_QUOTED, excerpt

T = TypeVar("T")


def lookup(registry: Mapping[str, T], name: str, kind: str) -> T:
    """Return `registry[name]`.

    Args:
        registry: one of the project's registries.
        name: the canonical name asked for; there are no aliases.
        kind: what the registry holds, in the singular, for the message.

    Raises:
        InputError: no such name; says what was asked, the nearest match and the choices.
    """
    if name in registry:
        return registry[name]
    near = difflib.get_close_matches(name[:MOST_QUOTED], registry, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"unknown {kind} {excerpt(name)}: {hint}choose one of {', '.join(sorted(registry))}")
