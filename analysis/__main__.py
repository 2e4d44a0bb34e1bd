"""The command line: `python -m analysis report|claims|replications|export|findings|calibrate|throughput`.

Exit codes: 0 done, 2 bad input, 130 interrupted.
"""

from analysis import interruption

if __name__ == "__main__":
    interruption.leave_at_once()  # first of all

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.errors import InputError
from benchmark.contract import ENVIRONMENT
from benchmark.contract.files import obstacle
from benchmark.contract.messages import Parser, lenient_streams, one_line

REPORTS = "mlruns/reports"
DATA = "docs/data"
PAGE = "docs/findings.md"
CALIBRATION_STUDIES = 1000
MOST_STUDIES = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    os.environ.update(ENVIRONMENT)
    lenient_streams()
    options = parser().parse_args(arguments)
    gc.set_threshold(100_000, 50, 100)  # frames and figures are many objects, few of them garbage
    stop = interruption.Interruption()
    try:
        # Imported here: `--help` need not wait for pandas.
        from analysis import commands

        {
            "report": commands.report,
            "claims": commands.claims,
            "replications": commands.replications,
            "export": commands.export,
            "findings": commands.findings,
            "calibrate": commands.calibrate,
            "throughput": commands.throughput,
        }[options.verb](options)
    except BaseException as error:
        if stop.was_asked:
            try:
                print(interruption.STOPPED, file=sys.stderr, flush=True)
            except OSError:  # the terminal is gone: nor can Python print what it still has
                sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            return 130
        found = str(error) if isinstance(error, InputError) else obstacle(error)
        if not found:
            raise
        print(f"error: {one_line(found)}", file=sys.stderr)
        return 2
    finally:
        stop.answer()
    return 0


def parser() -> argparse.ArgumentParser:
    """All flags of all verbs."""
    top = Parser(prog="python -m analysis", description="Judge and draw what a study logged.")
    verbs = top.add_subparsers(dest="verb", required=True)
    report = verbs.add_parser("report", help="write a study's report and log it to its MLflow run")
    claims = verbs.add_parser("claims", help="print a study's verdicts")
    again = verbs.add_parser("replications", help="print a study's verdicts beside those of its replications")
    export = verbs.add_parser("export", help="write studies as small files that a repository can carry")
    export.add_argument("studies", metavar="STUDY", nargs="+", help="names of studies, without an axis")
    export.add_argument("--out", type=Path, metavar="DIR", default=Path(DATA), help="(default: %(default)s)")
    found = verbs.add_parser("findings", help="write the findings of exported studies, side by side")
    found.add_argument("--data", type=Path, metavar="DIR", default=Path(DATA), help="(default: %(default)s)")
    found.add_argument("--out", type=Path, metavar="F", default=Path(PAGE), help="(default: %(default)s)")
    found.add_argument("--readme", type=Path, metavar="F", help="a document whose answer is written anew")
    for sub in (report, claims, again, export):
        if sub is not export:
            sub.add_argument(
                "study", metavar="STUDY", help="a study's name, its TOML file, or the folder of an export"
            )
            sub.add_argument("--run", metavar="ID", help="a study run other than the newest")
        sub.add_argument(
            "--tracking-uri",
            metavar="U",
            help="where MLflow tracks (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db)",
        )
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


def _positive(text: str) -> int:
    """A count of at least 1, for argparse."""
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    if count > MOST_STUDIES:
        raise argparse.ArgumentTypeError(f"expected at most {MOST_STUDIES}, found {text}")
    return count


if __name__ == "__main__":
    sys.exit(main())
