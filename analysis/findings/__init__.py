"""The findings: every claim on every data set, from exported studies; computes nothing itself.

findings.md            the page
findings/verdicts.csv  every verdict, for reviewers
findings/<figure>.png  of the largest data set's study

The README's answer, between its marks, is from here too.
"""

from collections.abc import Mapping
from pathlib import Path

from analysis.data.files import replacing
from analysis.errors import InputError
from analysis.figures import FIGURES, save, styled
from analysis.findings._content import Content, Picture, assemble, lead
from analysis.findings._ran import read_all, size_words, verdicts_frame
from analysis.results import Results
from analysis.text import render

TEMPLATES = Path(__file__).parent / "templates"
PRECISION = "%.6g"
"""Of the table: the last digits of a float differ from processor to processor."""
HEADLINE = "rate-response"
"""The figure that answers the main claim."""
START, END = "<!-- answer -->\n", "<!-- /answer -->"


def write(data: Path, out: Path, readme: Path | None = None) -> list[Path]:
    """Write the page, its table and figures, and the README's answer.

    Args:
        data: folder of exported studies.
        out: the page, `findings.md`; figures and table go into a folder of its name beside it.
        readme: a document with the marks; None leaves it alone.

    Returns:
        what was written.

    Raises:
        InputError: there is nothing to show, or the document lacks the marks.
    """
    ran, notebook = read_all(data)
    folder = out.with_suffix("")
    text = readme.read_text(encoding="utf-8") if readme else ""
    if readme and (START not in text or END not in text):
        raise InputError(
            f"{readme}: expected {START.strip()} and {END} around the answer, found none: add the marks"
        )
    with replacing(folder) as fresh:
        content = assemble(ran, notebook, _draw(ran[-1].results, fresh, folder.name))
        verdicts_frame([*ran, *([notebook] if notebook else [])]).to_csv(
            fresh / "verdicts.csv", index=False, lineterminator="\n", float_format=PRECISION
        )
        page = render(TEMPLATES / "findings.md.j2", autoescape=False, content=content, size_words=size_words)
    out.write_text(page, encoding="utf-8")
    if readme is None:
        return [out, folder]
    before, rest = text.split(START, 1)
    _, after = rest.split(END, 1)
    readme.write_text(before + START + answer(content, out, readme) + END + after, encoding="utf-8")
    return [out, folder, readme]


def answer(content: Content, out: Path, readme: Path) -> str:
    """What the README opens with: the main claim's verdicts, their figure, and where the rest is."""
    leading = content.leading
    page = out.resolve().relative_to(readme.resolve().parent)
    sentences = "\n".join(f"- {verdict.sentence}" for verdict in lead(leading))
    figure = f"![Accuracy against learning rate]({page.with_suffix('')}/{HEADLINE}.png)"
    size = size_words(leading.results)
    return (
        f"**On {leading.scale.data}** ({size}):\n\n{sentences}\n\n{figure}\n\n"
        f"[All findings]({page}): every claim, on every data set, and what to do about it.\n"
    )


def _draw(results: Results, folder: Path, name: str) -> Mapping[str, Picture]:
    """Draw each claim's first figure that applies; claim -> picture.

    Args:
        results: what is drawn from.
        folder: where to.
        name: what the page will call the folder.
    """
    chosen: dict[str, Picture] = {}
    for figure_id, drawing in FIGURES.items():
        wanted = [claim for claim in drawing.claims if claim not in chosen]
        if not wanted or drawing.applies(results) is not None:
            continue
        frame = drawing.prepare(results)
        picture = Picture(f"{name}/{figure_id}.png", drawing.title, drawing.describe(frame))
        chosen |= dict.fromkeys(wanted, picture)
        with styled():
            svg, _ = save(drawing.draw(frame), folder / figure_id)
        svg.unlink()
    return chosen


__all__ = ["write"]
