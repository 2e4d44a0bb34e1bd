"""Templates to text."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.matrix import LEGEND
from analysis.replications import AGREE
from analysis.report._content import Content
from analysis.report._family_content import FamilyContent
from analysis.report._format import number

TEMPLATES = Path(__file__).parent / "templates"
MARKDOWN_SPECIALS = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]|~"}
    | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "}
)


def render_html(content: Content) -> str:
    """One self-contained page: no script, no external file."""
    return _environment(autoescape=True).get_template("report.html.j2").render(content=content)


def render_markdown(content: Content) -> str:
    """The report in short; figures are links into figures/."""
    return _environment(autoescape=False).get_template("report.md.j2").render(content=content)


def render_family_html(content: FamilyContent) -> str:
    """The head page of a study with an axis; it links the pages of its members."""
    return _environment(autoescape=True).get_template("family.html.j2").render(content=content)


def render_family_markdown(content: FamilyContent) -> str:
    """The head page in short."""
    return _environment(autoescape=False).get_template("family.md.j2").render(content=content)


def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["legend"] = LEGEND
    environment.globals["agree"] = AGREE
    environment.filters["number"] = number
    environment.filters["md"] = lambda text: str(text).translate(MARKDOWN_SPECIALS)
    return environment
