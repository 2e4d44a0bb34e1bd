"""Puts verdicts, tables and figures together as HTML and Markdown; computes nothing itself.

report/
report.html      one self-contained file
report.md        the same in short, linking the figures
verdicts.json    the verdicts for machines
tables/*.csv     full precision
figures/*.svg, *.png

A study with an axis has this once per value, in a folder `<position>-<value>` each, and a head report with
the same parts above them.
"""

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from analysis.claims import Verdict, judge, judge_against_competitors, verdicts_document, with_robustness
from analysis.data.files import DIRECTORY_MODE, replacing
from analysis.family import Family
from analysis.figures import AXIS_FIGURES, FIGURES
from analysis.report._content import assemble
from analysis.report._family_content import assemble_family, family_document, family_tables
from analysis.report._figures import draw_all, painting
from analysis.report._render import (
    render_family_html,
    render_family_markdown,
    render_html,
    render_markdown,
)
from analysis.report._tables import Table, tables
from analysis.results import Results

PAGE = "report.html"


def write(results: Results, out_dir: Path) -> Path:
    """Write the whole report; an older one in the same place is replaced at the end, or stays as it was.

    Args:
        results: the study, finished or not.
        out_dir: folder to create or replace.

    Returns:
        path of report.html.
    """
    with replacing(out_dir, PAGE) as fresh, painting(len(results.variants)) as painters:
        _write_into(results, fresh, painters)
    return out_dir / PAGE


def write_family(family: Family, out_dir: Path) -> Path:
    """Write the head report of a study with an axis, and a report of every member in a folder of its own.

    Args:
        family: its study runs.
        out_dir: folder to create or replace, as a whole.

    Returns:
        path of the head's report.html.
    """
    num_variants = sum(len(member.variants) for member in family.members)
    with replacing(out_dir, PAGE) as fresh, painting(num_variants) as painters:
        verdicts = []
        for member in family.members:
            folder = fresh / family.folder_of(member)
            folder.mkdir(mode=DIRECTORY_MODE)
            verdicts.append(_write_into(member, folder, painters))
        frames = family_tables(family, verdicts)
        _write_tables(frames, fresh)
        _write_json(fresh / "verdicts.json", family_document(family, verdicts))
        pictures = draw_all(family, AXIS_FIGURES, fresh / "figures", painters)
        content = assemble_family(family, verdicts, frames, pictures())
        _write_text(fresh / PAGE, render_family_html(content))
        _write_text(fresh / "report.md", render_family_markdown(content))
    return out_dir / PAGE


def _write_into(results: Results, folder: Path, painters: Executor | None) -> list[Verdict]:
    pictures = draw_all(results, FIGURES, folder / "figures", painters)  # while this process goes on
    verdicts = judge(results)
    rivals = judge_against_competitors(results)
    frames = tables(results, verdicts, rivals)
    verdicts = with_robustness(verdicts, frames["sensitivity"].frame)
    _write_tables(frames, folder)
    _write_json(folder / "verdicts.json", verdicts_document(results, verdicts))
    content = assemble(results, verdicts, rivals, frames, pictures())
    _write_text(folder / PAGE, render_html(content))
    _write_text(folder / "report.md", render_markdown(content))
    return verdicts


def _write_tables(frames: Mapping[str, Table], folder: Path) -> None:
    (folder / "tables").mkdir()
    for name, table in frames.items():
        table.frame.to_csv(folder / "tables" / f"{name}.csv", index=False, lineterminator="\n")


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
