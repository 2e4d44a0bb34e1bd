"""What was measured, on the terminal and as CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmark.throughput.ceilings import CEILINGS
from benchmark.throughput.measure import COLUMNS, TRIAL_COLUMNS, Row

CAPTION = (
    r"medians \[quartiles] over rounds; ratio: images/s to the conventional script's, of the same round; "
    "CPU s: per 1,000 images; shares: a ceiling's time over the measured time of a step, the nearest ceiling "
    "marked *"
)
TRIAL_CAPTION = (
    r"medians \[quartiles] over rounds, of one replica; composed of measured steps and evaluations, without "
    "probes and the test split; auto: what it takes, and the best one's time over this one's"
)


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows; what is not known is left empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _plain(value) for name, value in row.items()})


def steps_table(rows: Sequence[Row]) -> Table:
    """The throughput of steps, `COLUMNS`, one line per net and candidate that was measured."""
    headings = (
        "net",
        "BN",
        "candidate",
        "proc x thr",
        "images/s",
        "per replica",
        "ratio",
        "CPU s",
        *CEILINGS,
    )
    table = Table(title="images per second", caption=CAPTION, box=SIMPLE_HEAD)
    for heading in headings:
        left = heading in ("net", "BN", "candidate")
        table.add_column(heading, justify="left" if left else "right", no_wrap=left)
    measured = [row for row in rows if not row["skipped"]]
    for row, following in zip(measured, [*measured[1:], measured[-1]], strict=True):
        ends = (row["net"], row["normalization"]) != (following["net"], following["normalization"])
        head = (row["net"], "yes" if row["normalization"] == "batch" else "no", row["candidate"])
        table.add_row(
            *head,
            f"{row['processes']} x {row['threads']}",
            _spread(row, "images_per_s", ",.0f"),
            f"{row['images_per_s_per_replica']:,.0f}",
            _spread(row, "ratio", ".2f"),
            f"{row['cpu_s_per_1000']:.3g}",
            *(_share(row, name) for name in CEILINGS),
            end_section=ends,
        )
    return table


def trials_table(rows: Sequence[Row]) -> Table:
    """Whole trials, `TRIAL_COLUMNS`, one line per net and engine that was measured."""
    table = Table(title="whole confirm trials", caption=TRIAL_CAPTION, box=SIMPLE_HEAD)
    for heading in ("net", "BN", "engine", "step, ms", "evaluation, s", "trial, s", "evaluating", "auto"):
        left = heading in ("net", "BN", "engine")
        table.add_column(heading, justify="left" if left else "right", no_wrap=left)
    for row in (row for row in rows if not row["skipped"]):
        head = (row["net"], "yes" if row["normalization"] == "batch" else "no", row["candidate"])
        auto = row["auto_against_best"]
        table.add_row(
            *head,
            f"{row['step_ms']:.3g}",
            f"{row['evaluation_s']:.3g}",
            _spread(row, "trial_s", ".4g"),
            f"{row['evaluation_share']:.0%}",
            "" if auto is None else f"{auto:.2f}",
        )
    return table


def skipped_lines(rows: Sequence[Row]) -> list[str]:
    """What was not measured, and why; each candidate once, though of several nets."""
    return list(
        dict.fromkeys(
            f"skipped: {row['candidate']}, {row['processes']} x {row['threads'] or 'all'}: {row['skipped']}"
            for row in rows
            if row["skipped"]
        )
    )


def write_tables(folder: Path, rows: Sequence[Row], trials: Sequence[Row]) -> Path:
    """Write `throughput.csv`, whose path is returned, and `trials.csv`."""
    write_csv(folder / "trials.csv", TRIAL_COLUMNS, trials)
    write_csv(folder / "throughput.csv", COLUMNS, rows)
    return folder / "throughput.csv"


def _spread(row: Row, name: str, form: str) -> str:
    """A quantity as `median [lower quartile, upper quartile]`; escaped for rich."""
    if row[name] is None:
        return ""
    low, middle, high = (format(row[f"{name}{suffix}"], form) for suffix in ("_q1", "", "_q3"))
    return rf"{middle} \[{low}, {high}]"


def _share(row: Row, name: str) -> str:
    share = row[f"share_{name}"]
    return "" if share is None else f"{share:.0%}{'*' if row['limit'] == name else ''}"


def _plain(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
