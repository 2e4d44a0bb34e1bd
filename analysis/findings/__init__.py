"""The findings: every claim on every data set, from exported studies; computes nothing itself.

findings.md            the page
findings/verdicts.csv  every verdict, for reviewers
findings/<figure>.png  of the largest data set's study

The README's answer, between its marks, is from here too.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis.data.files import replacing
from analysis.errors import InputError
from analysis.figures import FIGURES, save, styled
from analysis.findings._content import Content, Picture, assemble, lead
from analysis.findings._ran import read_all, size_words, verdicts_frame
from analysis.results import Results
from analysis.text import render
from benchmark.contract.messages import short

TEMPLATES = Path(__file__).parent / "templates"
PRECISION = "%.6g"
"""Of the table: the last digits of a float differ from processor to processor."""
HEADLINE = "rate-response"
"""The figure that answers the main claim."""
TABLE = "verdicts.csv"
START, END = "<!-- answer -->\n", "<!-- /answer -->"


def compose(data: Path, name: str) -> tuple[Content, pd.DataFrame]:
    """What the page says, and the table of every verdict; draws nothing.

    Args:
        data: folder of exported studies.
        name: what the page calls the folder of its figures.

    Raises:
        InputError: there is nothing to show.
    """
    ran, notebook = read_all(data)
    content = assemble(ran, notebook, _pictures(ran[-1].results, name))
    return content, verdicts_frame([*ran, *([notebook] if notebook else [])])


def page_of(content: Content) -> str:
    """The page, as Markdown."""
    return render(TEMPLATES / "findings.md.j2", autoescape=False, content=content, size_words=size_words)


def table_of(verdicts: pd.DataFrame) -> str:
    """The table, as CSV."""
    return verdicts.to_csv(index=False, lineterminator="\n", float_format=PRECISION)


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
    if not out.suffix:
        raise InputError(
            f"--out: expected a page such as findings.md, found {short(str(out))}, without an ending"
        )
    folder = out.with_suffix("")
    if readme and not readme.is_file():
        raise InputError(f"--readme: expected a document, found none at {short(str(readme))}")
    text = readme.read_text(encoding="utf-8", errors="replace") if readme else ""
    if "\N{REPLACEMENT CHARACTER}" in text:  # which would be written back
        raise InputError(f"--readme: expected a document in UTF-8, found another in {short(str(readme))}")
    if readme and (START not in text or END not in text):
        raise InputError(
            f"{readme}: expected {START.strip()} and {END} around the answer, found none: add the marks"
        )
    content, verdicts = compose(data, folder.name)
    with replacing(folder, TABLE) as fresh:
        (fresh / TABLE).write_text(table_of(verdicts), encoding="utf-8")
        for picture in content.pictures:
            _draw(content.leading.results, Path(picture.link).stem, fresh)
    out.write_text(page_of(content), encoding="utf-8")
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


def _pictures(results: Results, name: str) -> Mapping[str, Picture]:
    """Each claim's first figure that applies, by claim."""
    chosen: dict[str, Picture] = {}
    for figure_id, drawing in FIGURES.items():
        wanted = [claim for claim in drawing.claims if claim not in chosen]
        if wanted and drawing.applies(results) is None:
            caption = drawing.describe(drawing.prepare(results))
            chosen |= dict.fromkeys(wanted, Picture(f"{name}/{figure_id}.png", drawing.title, caption))
    return chosen


def _draw(results: Results, figure_id: str, folder: Path) -> None:
    drawing = FIGURES[figure_id]
    with styled():
        svg, _ = save(drawing.draw(drawing.prepare(results)), folder / figure_id)
    svg.unlink()


__all__ = ["answer", "compose", "page_of", "table_of", "write"]
