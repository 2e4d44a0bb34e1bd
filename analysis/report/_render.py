"""Templates to text."""

from pathlib import Path

from analysis.matrix import LEGEND
from analysis.replications import AGREE
from analysis.report._content import Content
from analysis.report._family_content import FamilyContent
from analysis.text import render

TEMPLATES = Path(__file__).parent / "templates"


def render_html(content: Content) -> str:
    """One self-contained page: no script, no external file."""
    return _render("report.html.j2", content)


def render_markdown(content: Content) -> str:
    """The report in short; figures are links into figures/."""
    return _render("report.md.j2", content)


def render_family_html(content: FamilyContent) -> str:
    """The head page of a study with an axis; it links the pages of its members."""
    return _render("family.html.j2", content)


def render_family_markdown(content: FamilyContent) -> str:
    """The head page in short."""
    return _render("family.md.j2", content)


def _render(template: str, content: Content | FamilyContent) -> str:
    is_html = template.endswith(".html.j2")
    return render(TEMPLATES / template, autoescape=is_html, content=content, legend=LEGEND, agree=AGREE)
