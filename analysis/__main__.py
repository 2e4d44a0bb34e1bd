"""The command line: `python -m analysis report|claims|calibrate|throughput`.

Exit codes: 0 done, 2 bad input.
"""

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from analysis.claims import judge
from analysis.data.load import load, load_family, log_report
from analysis.errors import InputError
from analysis.matrix import by_normalizer, by_value
from analysis.printing import print_matrices, print_verdicts
from analysis.results import Results

REPORTS = Path("mlruns/reports")
CALIBRATION_STUDIES = 1000
CALIBRATION_SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    options = parser().parse_args(arguments)
    try:
        {
            "report": _report,
            "claims": _claims,
            "calibrate": _calibrate,
            "throughput": _throughput,
        }[options.verb](options)
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
    throughput = verbs.add_parser("throughput", help="draw the table of `python -m benchmark throughput`")
    throughput.add_argument("csv", type=Path, metavar="CSV", help="the table; the figure is put beside it")
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


def _load(options: argparse.Namespace) -> Results:
    """The results asked for; which run they are of is said where the study has several."""
    results = load(study_name(options.study), options.tracking_uri, options.run)
    if results.which_run:
        print(results.which_run, file=sys.stderr)
    return results


def _report(options: argparse.Namespace) -> None:
    """Write the report, log it to the study's run, and print where it is, last.

    Of a study with an axis: every value's report is logged to its own run, and the newest run gets the head
    report with all of them below it, so that its links lead somewhere.
    """
    # Imported here: the other verbs need no matplotlib.
    from analysis.report import write, write_family

    results = _load(options)
    out = options.out or REPORTS / str(results.study["name"])
    if not results.study.get("axis"):
        page = write(results, out)
    else:
        family = load_family(results, options.tracking_uri)
        page = write_family(family, out)
        for member in family.members:
            if member is not results:
                log_report(member, page.parent / family.folder_of(member), options.tracking_uri)
    log_report(results, page.parent, options.tracking_uri)
    print(page)


def _claims(options: argparse.Namespace) -> None:
    """Print the verdicts, of a study with an axis those of every value, and the matrix of all."""
    results = _load(options)
    console = Console()
    if not results.study.get("axis"):
        verdicts = judge(results)
        print_verdicts(console, verdicts, _title(results))
        print_matrices(console, by_normalizer(verdicts))
        return
    family = load_family(results, options.tracking_uri)
    judged = []
    for member in family.members:
        verdicts = judge(member)
        print_verdicts(console, verdicts, f"{_title(member)}: {family.label} = {family.name_of(member)}")
        judged.append((family.name_of(member), "", verdicts))
    print_matrices(console, by_value(judged))
    for name in family.missing:
        console.print(f"{family.label} = {name}: not run yet", highlight=False, markup=False)


def _title(results: Results) -> str:
    return f"{results.study['name']} ({results.study_hash}, {results.status})"


def _calibrate(options: argparse.Namespace) -> None:
    """Simulate studies and print the table of error rates."""
    from analysis.calibration import ranks, verdicts

    print(verdicts.table_markdown(verdicts.run(options.studies, CALIBRATION_SEED, options.out)))
    print(ranks.table_markdown(ranks.run(options.studies, CALIBRATION_SEED), options.studies))


def _throughput(options: argparse.Namespace) -> None:
    """Draw the table beside it, as SVG and PNG, and print where."""
    from analysis.figures import save, styled, throughput

    frame = throughput.read(options.csv)
    with styled():
        figure = throughput.draw(frame)
    print(*save(figure, options.csv.with_suffix("")), sep="\n")


def _positive(text: str) -> int:
    """A count of at least 1, for argparse."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return count


if __name__ == "__main__":
    sys.exit(main())
