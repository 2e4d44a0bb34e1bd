"""Draws every figure once, in both formats."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.figures import Drawing, Source, save, styled

MAX_EMBEDDED_SVG_BYTES = 400_000  # a figure with more marks than that goes into the HTML as PNG


@dataclass(frozen=True)
class Picture:
    """A figure of this report, drawn or skipped.

    Attributes:
        id: its name in `FIGURES`, and of its files.
        title: heading.
        caption: with the number of seeds filled in; empty if skipped.
        skipped: why there is none; empty if drawn.
        data_uri: the picture itself, for the self-contained HTML; empty if skipped.
        claims: ids of the claims it illustrates.
    """

    id: str
    title: str
    caption: str
    skipped: str
    data_uri: str
    claims: tuple[str, ...]


def draw_all(source: Source, drawings: Mapping[str, Drawing[Source]], folder: Path) -> list[Picture]:
    """Draw every figure that applies into `folder`, as <id>.svg and <id>.png."""
    folder.mkdir()
    pictures = []
    for name, drawing in drawings.items():
        reason = drawing.applies(source)
        caption = data_uri = ""
        if reason is None:
            frame = drawing.prepare(source)
            with styled():
                figure = drawing.draw(frame)
            caption, data_uri = drawing.describe(frame), _embed(*save(figure, folder / name))
        pictures.append(Picture(name, drawing.title, caption, reason or "", data_uri, drawing.claims))
    return pictures


def _embed(svg: Path, png: Path) -> str:
    """A data URI of the SVG, which prints sharply, or of the PNG where the SVG is large."""
    small = svg.stat().st_size <= MAX_EMBEDDED_SVG_BYTES
    content, kind = (svg.read_bytes(), "svg+xml") if small else (png.read_bytes(), "png")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
