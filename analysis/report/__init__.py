"""Puts verdicts, tables and figures together as HTML and Markdown; computes nothing itself.

report/
report.html      one self-contained file
report.md        the same in short, linking the figures
verdicts.json    the verdicts for machines
tables/*.csv     full precision
figures/*.svg, *.png
"""

import json
import tempfile
from pathlib import Path

from analysis.claims import judge, verdicts_document
from analysis.load import Results
from analysis.report._content import assemble
from analysis.report._figures import draw_all
from analysis.report._render import render_html, render_markdown
from analysis.report._tables import tables

DIRECTORY_MODE = 0o755


def write(results: Results, out_dir: Path) -> Path:
    """Write the whole report; an older one in the same place is replaced at the end, or stays as it was.

    Args:
        results: the study, finished or not.
        out_dir: folder to create or replace.

    Returns:
        path of report.html.
    """
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
        fresh = Path(scratch) / "report"
        fresh.mkdir(mode=DIRECTORY_MODE)
        _write_into(results, fresh)
        if out_dir.exists():
            out_dir.rename(Path(scratch) / "old")
        fresh.rename(out_dir)
    return out_dir / "report.html"


def _write_into(results: Results, folder: Path) -> None:
    verdicts = judge(results)
    frames = tables(results)
    (folder / "tables").mkdir()
    for name, table in frames.items():
        table.frame.to_csv(folder / "tables" / f"{name}.csv", index=False, lineterminator="\n")
    document = json.dumps(verdicts_document(results, verdicts), indent=2, allow_nan=False)
    _write_text(folder / "verdicts.json", document + "\n")
    content = assemble(results, verdicts, frames, draw_all(results, folder / "figures"))
    _write_text(folder / "report.html", render_html(content))
    _write_text(folder / "report.md", render_markdown(content))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
