"""Verdicts on the terminal."""

from collections.abc import Iterable

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.claims import Verdict
from analysis.matrix import LEGEND, Entry, Matrix
from analysis.replications import AGREE, agreement_words

TABLE_CAPTION = "effects in the unit of the claim; p: the smaller Holm-adjusted one; *: exploratory"
COLOURS = {"SUPPORTED": "green", "REFUTED": "red", "INCONCLUSIVE": "yellow", "NOT EVALUABLE": "dim"}


def print_verdicts(console: Console, verdicts: Iterable[Verdict], title: str) -> None:
    """The verdict table, and every verdict in words below it."""
    verdicts = list(verdicts)
    console.print(verdict_table(verdicts, title))
    for verdict in verdicts:
        console.print(
            f"[bold]{verdict.claim}[/], {verdict.pair.variant}: {escape(verdict.in_full)}",
            highlight=False,
        )


def print_matrices(console: Console, matrices: Iterable[Matrix]) -> None:
    """Every matrix as a table."""
    for matrix in matrices:
        console.print(matrix_table(matrix))


def print_replications(console: Console, frame: pd.DataFrame, title: str) -> None:
    """A table per replication: both verdicts, both effects, and whether they agree; then how many do."""
    for name, own in frame.groupby("replication", sort=False):
        table = Table(title=escape(f"{title} and {name}"), caption=f"{AGREE}.", box=SIMPLE_HEAD)
        for heading in ("claim", "net", "verdict, effect (90%)", "the same again", "agree"):
            whole = 13 if heading not in ("claim", "net", "agree") else None  # the longest verdict
            table.add_column(heading, no_wrap=heading in ("claim", "net"), min_width=whole)
        for row in own.to_dict("records"):
            table.add_row(
                str(row["claim"]),
                f"{row['normalizer']}-{row['activation']}",
                _judged_and_shown(row["outcome"], row["shown"]),
                _judged_and_shown(row["outcome_again"], row["shown_again"]),
                "yes" if row["agree"] else f"no:\n{escape(row['why'])}",
            )
        console.print(table)
    for sentence in agreement_words(frame):
        console.print(sentence, highlight=False, markup=False)


def _judged_and_shown(outcome: str, shown: str) -> str:
    return f"[{COLOURS[outcome]}]{outcome}[/]" + (f"\n{escape(shown)}" if shown else "")


def verdict_table(verdicts: Iterable[Verdict], title: str) -> Table:
    """The verdicts as a table for the terminal: one row per claim, normalizer and activation."""
    table = Table(title=escape(title), caption=TABLE_CAPTION, box=SIMPLE_HEAD)
    for heading in ("claim", "net", "verdict", "effect [90%]", "p", "n"):
        # What identifies a row, its outcome and its p stay whole on a narrow terminal; the effect may wrap.
        whole = heading != "effect [90%]"
        table.add_column(escape(heading), justify="right" if heading in ("p", "n") else "left", no_wrap=whole)
    for verdict in verdicts:
        judged = verdict.n > 0
        table.add_row(
            verdict.claim,
            verdict.pair.variant + (" *" if verdict.exploratory else ""),
            f"[{COLOURS[verdict.outcome]}]{verdict.outcome}[/]",
            escape(f"{verdict.effect:.2f} [{verdict.low:.2f}, {verdict.high:.2f}]") if judged else "",
            f"{min(verdict.p_supported, verdict.p_refuted):.2g}" if judged else "",
            str(verdict.n) if judged else "",
        )
    return table


def matrix_table(matrix: Matrix) -> Table:
    """A matrix for the terminal; claims, the longer names, may wrap at their hyphens."""
    table = Table(title=escape(matrix.title), caption=f"{LEGEND}; *: exploratory", box=SIMPLE_HEAD)
    table.add_column(escape(matrix.corner), no_wrap=True)
    for heading in matrix.columns:
        table.add_column(escape(heading.replace("-", "-\n")), justify="center")
    for name, exploratory, entries in matrix.rows:
        table.add_row(escape(name) + (" *" if exploratory else ""), *map(_in_colour, entries))
    return table


def _in_colour(entry: Entry | None) -> str:
    return "" if entry is None else f"[{COLOURS[entry.outcome]}]{entry.letters}[/]"
