"""The command line: `python -m analysis report|claims|calibrate`.

Exit codes: 0 done, 2 bad input.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.claims import Verdict, judge
from analysis.errors import InputError
from analysis.load import Results, load, log_report

REPORTS = Path("mlruns/reports")
CALIBRATION_STUDIES = 1000
CALIBRATION_SEED = 0
TABLE_CAPTION = "effects in the unit of the claim; p: the smaller Holm-adjusted one; *: exploratory"
COLOURS = {"SUPPORTED": "green", "REFUTED": "red", "INCONCLUSIVE": "yellow", "NOT EVALUABLE": "dim"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    options = parser().parse_args(arguments)
    try:
        {"report": _report, "claims": _claims, "calibrate": _calibrate}[options.verb](options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """All flags of all verbs."""
    top = argparse.ArgumentParser(
        prog="python -m analysis", description="Judge and draw what a study logged."
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    report = verbs.add_parser("report", help="write a study's report and log it to its MLflow run")
    claims = verbs.add_parser("claims", help="print a study's verdicts")
    for sub in (report, claims):
        sub.add_argument("study", metavar="STUDY", help="a study's name, or the path to its TOML file")
        sub.add_argument(
            "--tracking-uri",
            metavar="U",
            help="where MLflow tracks (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db)",
        )
        sub.add_argument("--run", metavar="ID", help="a study run other than the newest")
    report.add_argument("--out", type=Path, metavar="DIR", help=f"folder (default: {REPORTS}/STUDY)")
    calibrate = verbs.add_parser("calibrate", help="measure the verdicts' error rates on simulated studies")
    calibrate.add_argument(
        "--studies",
        type=_positive,
        default=CALIBRATION_STUDIES,
        metavar="N",
        help="simulated studies per line of the table (default: %(default)s)",
    )
    calibrate.add_argument("--out", type=Path, metavar="F", help="CSV file to write the rates to")
    return top


def study_name(study: str) -> str:
    """The name of a study given by name or by the path of its TOML file.

    Raises:
        InputError: there is no such file, or it is not a study.
    """
    if not study.endswith(".toml"):
        return study
    path = Path(study)
    if not path.is_file():
        raise InputError(f"expected a study's name or TOML file, found no file {study}")
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("name", path.stem))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"expected a study in TOML, found in {study}: {error}") from None


def verdict_table(verdicts: Iterable[Verdict], title: str) -> Table:
    """The verdicts as a table for the terminal: one row per claim, normalizer and activation."""
    table = Table(title=title, caption=TABLE_CAPTION, box=SIMPLE_HEAD)
    for heading in ("claim", "net", "verdict", "effect [90%]", "p", "n"):
        # What identifies a row, its outcome and its p stay whole on a narrow terminal; the effect may wrap.
        whole = heading != "effect [90%]"
        table.add_column(escape(heading), justify="right" if heading in ("p", "n") else "left", no_wrap=whole)
    for verdict in verdicts:
        judged = verdict.n > 0
        table.add_row(
            verdict.claim,
            f"{verdict.normalizer}-{verdict.activation}" + (" *" if verdict.exploratory else ""),
            f"[{COLOURS[verdict.outcome]}]{verdict.outcome}[/]",
            escape(f"{verdict.effect:.2f} [{verdict.low:.2f}, {verdict.high:.2f}]") if judged else "",
            f"{min(verdict.p_supported, verdict.p_refuted):.2g}" if judged else "",
            str(verdict.n) if judged else "",
        )
    return table


def _load(options: argparse.Namespace) -> Results:
    """The results asked for; which run they are of is said where the study has several."""
    results = load(study_name(options.study), options.tracking_uri, options.run)
    if results.which_run:
        print(results.which_run, file=sys.stderr)
    return results


def _report(options: argparse.Namespace) -> None:
    """Write the report, log it to the study's run, and print where it is, last."""
    # Imported here: the other verbs need no matplotlib.
    from analysis.report import write

    results = _load(options)
    page = write(results, options.out or REPORTS / str(results.study["name"]))
    log_report(results, page.parent, options.tracking_uri)
    print(page)


def _claims(options: argparse.Namespace) -> None:
    """Print the verdict table, and every verdict in words below it."""
    results = _load(options)
    verdicts = judge(results)
    console = Console()
    console.print(
        verdict_table(verdicts, f"{results.study['name']} ({results.study_hash}, {results.status})")
    )
    for verdict in verdicts:
        console.print(
            f"[bold]{verdict.claim}[/], {verdict.normalizer}-{verdict.activation}: {verdict.sentence}",
            highlight=False,
        )


def _calibrate(options: argparse.Namespace) -> None:
    """Simulate studies and print the table of error rates."""
    from analysis import calibrate

    table = calibrate.run(options.studies, CALIBRATION_SEED, options.out)
    print(calibrate.table_markdown(table))


def _positive(text: str) -> int:
    """A count of at least 1, for argparse."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return count


if __name__ == "__main__":
    sys.exit(main())
