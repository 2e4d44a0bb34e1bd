"""Draws every figure once, in both formats; many of them in processes beside this one."""

import base64
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import Drawing, Source, save, styled

MAX_EMBEDDED_SVG_BYTES = 400_000  # a figure with more marks than that goes into the HTML as PNG
MANY_VARIANTS = 8  # of fewer, figures are drawn before another process has imported what draws them
MOST_PROCESSES = 8  # each takes a quarter of a GiB, and the slowest figure is what is waited for


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


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def painting(num_variants: int) -> Iterator[Executor | None]:
    """What draws figures beside this process: a process for each core; None where that gains nothing.

    Args:
        num_variants: of all reports to be drawn for; what a figure takes grows with them.
    """
    cores = num_cores()
    if cores == 1 or num_variants < MANY_VARIANTS:
        yield None
        return
    # Not forked, for this process has threads; the server imports once what is forked from it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(min(cores, MOST_PROCESSES), context, _set_up_painter) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def draw_all(
    source: Source, drawings: Mapping[str, Drawing[Source]], folder: Path, painters: Executor | None = None
) -> Callable[[], list[Picture]]:
    """Draw every figure that applies into `folder`, as <id>.svg and <id>.png.

    Args:
        source: what is drawn from.
        drawings: by id.
        folder: to be made.
        painters: what they are handed to, of `painting`; None draws them here.

    Returns:
        what waits for the pictures.
    """
    folder.mkdir()
    begun = [_begin(source, name, drawing, folder / name, painters) for name, drawing in drawings.items()]
    return lambda: [wait() for wait in begun]


def _begin(
    source: Source, name: str, drawing: Drawing[Source], stem: Path, painters: Executor | None
) -> Callable[[], Picture]:
    reason = drawing.applies(source)
    if reason is not None:
        skipped = Picture(name, drawing.title, "", reason, "", drawing.claims)
        return lambda: skipped
    frame = drawing.prepare(source)
    caption = drawing.describe(frame)
    if painters is None:
        here = _paint(drawing.draw, frame, stem)
        return lambda: Picture(name, drawing.title, caption, "", here, drawing.claims)
    painted = painters.submit(_paint, drawing.draw, frame, stem)
    return lambda: Picture(name, drawing.title, caption, "", painted.result(), drawing.claims)


def _paint(draw: Callable[[pd.DataFrame], Figure], frame: pd.DataFrame, stem: Path) -> str:
    """Draw one figure into its files; it as a data URI."""
    with styled():
        figure = draw(frame)
    return _embed(*save(figure, stem))


def _set_up_painter() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    gc.freeze()  # what is imported stays: a figure's thousands of objects would have it looked through again


def _embed(svg: Path, png: Path) -> str:
    """A data URI of the SVG, which prints sharply, or of the PNG where the SVG is large."""
    small = svg.stat().st_size <= MAX_EMBEDDED_SVG_BYTES
    content, kind = (svg.read_bytes(), "svg+xml") if small else (png.read_bytes(), "png")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
