"""Numbers and names as pages print them, and the templates that put them on one."""

import math
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

MISSING = "–"
MINUS = "−"
# What makes a line another thing than a paragraph, where it begins one: a heading, a list, a rule.
_MARKDOWN_BEGINNING = re.compile(r"^(\s*\d*)([#+.)=-])(?=[#=-]*(?:\s|$))")
_MARKDOWN_SPECIALS = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]|~"}
    | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "}
)


def render(template: Path, *, autoescape: bool, **context: object) -> str:
    """A template's text; it has the filters `number`, and `md`, which keeps a text from being Markdown.

    Args:
        template: beside those that it includes.
        autoescape: what is filled in is text, and the template HTML.
        context: what it reads.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    environment.filters["md"] = _not_markdown
    return environment.get_template(template.name).render(**context)


def _not_markdown(text: object) -> str:
    line = " ".join(str(text).splitlines())
    return _MARKDOWN_BEGINNING.sub(r"\1\\\2", line.translate(_MARKDOWN_SPECIALS))


def number(value: Any, digits: int = 3) -> str:
    """Significant digits, a true minus sign, ∞ for infinity, a dash for what is not known.

    Args:
        value: a number, or None.
        digits: significant ones.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    value = float(value)
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:.{digits}g}"
    if 1 <= abs(value) < 1e6:
        text = f"{float(text):.15g}"  # 240, where "g" writes 2.4e+02
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS)


def share(value: Any) -> str:
    """A share as a whole percentage."""
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.0f}%"


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """An interval in brackets; "unbounded", or a dash where neither end is known."""
    ends = number(low, digits), number(high, digits)
    if ends == (f"{MINUS}∞", "∞"):
        return "unbounded"
    return MISSING if ends == (MISSING, MISSING) else f"[{ends[0]},\N{NO-BREAK SPACE}{ends[1]}]"


def pvalue(value: Any) -> str:
    """A p-value: three decimals, "< 0.001" below."""
    if value is None or math.isnan(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: Any) -> str:
    """Wall time as a person says it."""
    if seconds is None or math.isnan(seconds):
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
