"""Images per second of engines and scripts, drawn from the table of `python -m benchmark throughput`."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from analysis.errors import InputError
from analysis.figures._style import legend_above, name_rows, panels

COLUMNS = ("net", "normalization", "candidate", "processes", "threads", "ratio", "ratio_q1", "ratio_q3")
"""What is read of the table."""
_PER_ROW = 2  # panels: names of candidates are long
_BAR_IN, _MARGIN_IN = 0.3, 0.9  # heights
_COLOURS = {"none": "#d55e00", "batch": "#0072b2"}


def read(path: Path) -> pd.DataFrame:
    """The lines of a table that were measured, with a column `line` that names each within its net.

    Raises:
        InputError: there is no such table, or it has nothing to draw.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:  # the latter of pandas, and of what is not UTF-8
        raise InputError(
            f"expected a table of `python -m benchmark throughput`, found {path}: {error}"
        ) from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(
            f"{path}: expected the columns of `python -m benchmark throughput`, found none named "
            f"{', '.join(missing)}: make the table anew"
        )
    measured = table.dropna(subset=["ratio"])
    if measured.empty:
        raise InputError(f"{path}: expected lines with a ratio, found none: measure conventional, too")
    try:
        processes, threads = (measured[name].astype(int).astype(str) for name in ("processes", "threads"))
    except ValueError as error:
        raise InputError(f"{path}: expected whole numbers of processes and threads, found: {error}") from None
    size = processes + " x " + threads
    return measured.assign(line=measured["candidate"] + ", " + size)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per net: the ratio of each candidate to the conventional script, on a logarithmic axis.

    Args:
        frame: of `read`.
    """
    nets = list(frame["net"].unique())
    hues = [name for name in _COLOURS if name in set(frame["normalization"])]
    most = max(group["line"].nunique() for _, group in frame.groupby("net"))
    columns = min(_PER_ROW, len(nets))
    figure, grid = panels(-(-len(nets) // columns), columns, _BAR_IN * most + _MARGIN_IN, sharex=True)
    for panel, net in zip(grid.flat, nets, strict=False):
        own = frame[frame["net"] == net]
        lines = list(own["line"].unique())
        sns.stripplot(
            own, x="ratio", y="line", order=lines, hue="normalization", hue_order=hues, dodge=True,
            jitter=False, palette={name: _COLOURS[name] for name in hues}, size=5, ax=panel,
            legend=panel is grid.flat[0],
        )  # fmt: skip
        offsets = np.linspace(-0.2, 0.2, len(hues)) if len(hues) > 1 else [0.0]
        for name, offset in zip(hues, offsets, strict=True):
            rows = own[own["normalization"] == name]
            heights = [lines.index(line) + offset for line in rows["line"]]
            panel.hlines(heights, rows["ratio_q1"], rows["ratio_q3"], colors=_COLOURS[name], linewidth=1.5)
        panel.axvline(1.0, color="#555555", linewidth=0.8, zorder=0)
        panel.set(title=net, xlabel="images per second, ratio to conventional", ylabel="", xscale="log")
        panel.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_formatter(NullFormatter())
        name_rows(panel, lines)
    for panel in grid.flat[len(nets) :]:
        panel.set_visible(False)
    first = grid.flat[0]
    handles, names = first.get_legend_handles_labels()
    for handle, name in zip(handles, names, strict=True):
        handle.set_label({"none": "no normalization", "batch": "batch normalization"}[name])
    if first.get_legend() is not None:
        first.get_legend().remove()
    legend_above(figure, handles)
    return figure
