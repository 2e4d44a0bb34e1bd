"""The figure of `python -m analysis throughput`: what it reads, refuses and shows."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection

import analysis.__main__
from analysis.errors import InputError
from analysis.figures import styled, throughput
from benchmark.throughput.measure import COLUMNS


def line(net="digits", normalization="batch", candidate="eager", ratio=2.0, **own):
    spread = {"ratio": ratio, "ratio_q1": ratio * 0.9, "ratio_q3": ratio * 1.1}
    head = {"net": net, "normalization": normalization, "candidate": candidate, "processes": 1, "threads": 1}
    return dict.fromkeys(COLUMNS) | head | spread | own


@pytest.fixture
def table(tmp_path):
    """Two nets with and without batch normalization, one candidate skipped."""
    rows = [
        line(net, normalization, candidate, ratio)
        for net in ("digits", "cifar-60")
        for normalization in ("none", "batch")
        for candidate, ratio in (("conventional", 1.0), ("eager", 1.5), ("fused R=4", 4.0))
    ]
    rows.append(line(candidate="eager", ratio=1.8, processes=2))
    rows.append(dict.fromkeys(COLUMNS) | {"net": "digits", "candidate": "keras (jax)", "skipped": "absent"})
    path = tmp_path / "throughput.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_it_reads_the_lines_that_were_measured(table):
    frame = throughput.read(table)
    assert len(frame) == 13
    assert set(frame["line"]) == {"conventional, 1 x 1", "eager, 1 x 1", "fused R=4, 1 x 1", "eager, 2 x 1"}
    assert set(frame["normalization"]) == {"none", "batch"}  # `none` is a name, no missing value


def test_a_panel_per_net_shows_every_ratio(table):
    with styled():
        figure = throughput.draw(throughput.read(table))
    digits, cifar = (axes for axes in figure.axes if axes.get_visible())
    assert [axes.get_title(loc="left") for axes in (digits, cifar)] == ["digits", "cifar-60"]
    names = [label.get_text() for label in digits.get_yticklabels()]
    assert names == ["conventional, 1 x 1", "eager, 1 x 1", "fused R=4, 1 x 1", "eager, 2 x 1"]
    for axes, expected in ((digits, [1, 1, 1.5, 1.5, 1.8, 4, 4]), (cifar, [1, 1, 1.5, 1.5, 4, 4])):
        points, spans = (
            [c for c in axes.collections if isinstance(c, kind)] for kind in (PathCollection, LineCollection)
        )
        shown = np.concatenate([dots.get_offsets() for dots in points])
        assert sorted(shown[:, 0]) == pytest.approx(expected)
        # Each quartiles' line lies at its point's height, and around it.
        ends = np.concatenate([line.get_segments() for line in spans])
        for (low, height), (high, _) in ends:
            (at,) = shown[np.isclose(shown[:, 1], height)]
            assert (low, high) == pytest.approx((0.9 * at[0], 1.1 * at[0]))
        assert len(ends) == len(expected)


def test_it_is_written_beside_the_table(table, capsys):
    assert analysis.__main__.main(["throughput", str(table)]) == 0
    assert capsys.readouterr().out.split() == [str(table.with_suffix(s)) for s in (".svg", ".png")]
    assert all(table.with_suffix(suffix).stat().st_size > 10_000 for suffix in (".svg", ".png"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected a table of `python -m benchmark throughput`, found"),
        ("", "expected a table of `python -m benchmark throughput`, found"),
        ("net,candidate\na,b\n", "found none named normalization, processes"),
        (",".join(throughput.COLUMNS) + "\n", "expected lines with a ratio, found none"),
    ],
)
def test_bad_tables_are_refused_in_a_line(content, said, tmp_path):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=said):
        throughput.read(path)


def test_what_it_reads_is_what_the_table_has():
    assert set(throughput.COLUMNS) <= set(COLUMNS)
