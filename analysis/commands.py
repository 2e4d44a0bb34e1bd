"""What the verbs do."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from analysis.claims import Verdict, judge, judge_outcomes, sensitivity_table, with_robustness
from analysis.data import exported
from analysis.data.load import load, load_family, load_replications, log_report
from analysis.errors import InputError
from analysis.matrix import by_normalizer, by_value
from analysis.printing import print_matrices, print_replications, print_verdicts
from analysis.replications import replications_frame
from analysis.results import Results
from benchmark.contract.messages import short
from benchmark.contract.toml import toml_file

REPORTS = Path("mlruns/reports")
CALIBRATION_SEED = 0


def study_name(study: str) -> str:
    """The name of a study given by name or by the path of its TOML file.

    Raises:
        InputError: there is no such file, or it is not a study.
    """
    if not study.endswith(".toml"):
        return study
    path = Path(study)
    if not os.path.exists(path):
        raise InputError(f"expected a study's name or TOML file, found no file {short(study)}")
    try:
        return str(toml_file(path).get("name", path.stem))
    except ValueError as error:
        raise InputError(f"{short(study)}: {error}") from None


def _load(options: argparse.Namespace) -> Results:
    """The results asked for; which run they are of is said where the study has several."""
    if _is_folder(options):
        return exported.read(Path(options.study))
    results = load(study_name(options.study), options.tracking_uri, options.run)
    if results.which_run:
        print(results.which_run, file=sys.stderr)
    for line in results.damaged:
        print(f"left out: {line}", file=sys.stderr)
    return results


def _is_folder(options: argparse.Namespace) -> bool:
    """Whether the study is named by the folder of an export."""
    folder = Path(options.study)
    return exported.is_export(folder) or ("/" in options.study and folder.is_dir())


def _replicated(results: Results, options: argparse.Namespace) -> Results:
    """The results with their replications; an export comes with them."""
    return results if _is_folder(options) else load_replications(results, options.tracking_uri)


def report(options: argparse.Namespace) -> None:
    """Write the report, log it to the study's run, and print where it is, last.

    Of a study with an axis: every value's report is logged to its own run, and the newest run gets the head
    report with all of them below it, so that its links lead somewhere.
    """
    # Imported here: the other verbs need no matplotlib.
    from analysis.report import write, write_family

    results = _load(options)
    out = options.out or REPORTS / str(results.study["name"])
    if not results.study.get("axis"):
        page = write(_replicated(results, options), out)
    else:
        family = load_family(results, options.tracking_uri)
        page = write_family(family, out)
        for member in family.members:
            if member is not results:
                log_report(member, page.parent / family.folder_of(member), options.tracking_uri)
    if not _is_folder(options):
        log_report(results, page.parent, options.tracking_uri)
    print(page)


def export(options: argparse.Namespace) -> None:
    """Write studies as files that a repository can carry, and print where."""
    for study in options.studies:
        results = load(study_name(study), options.tracking_uri)
        folder = options.out / str(results.study["name"])
        exported.write(results, folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder} ({size / 2**20:.2f} MiB, {results.status})")


def findings(options: argparse.Namespace) -> None:
    """Write the findings from exported studies, and print what was written."""
    from analysis.findings import write

    print(*write(options.data, options.out, options.readme), sep="\n")


def claims(options: argparse.Namespace) -> None:
    """Print the verdicts, of a study with an axis those of every value, and the matrix of all."""
    results = _load(options)
    console = Console(emoji=False)
    if not results.study.get("axis"):
        verdicts = _judged(results)
        print_verdicts(console, verdicts, _title(results))
        print_matrices(console, by_normalizer(verdicts))
        return
    family = load_family(results, options.tracking_uri)
    judged = []
    for member in family.members:
        verdicts = _judged(member)
        print_verdicts(console, verdicts, f"{_title(member)}: {family.label} = {family.name_of(member)}")
        judged.append((family.name_of(member), "", verdicts))
    print_matrices(console, by_value(judged))
    for name in family.missing:
        console.print(f"{family.label} = {name}: not run yet", highlight=False, markup=False)


def replications(options: argparse.Namespace) -> None:
    """Print the verdicts of a study beside those of its replications, of one with an axis at every value.

    Raises:
        InputError: it has none.
    """
    results = _load(options)
    axis = results.study.get("axis")
    members = load_family(results, options.tracking_uri).members if axis else (results,)
    console = Console(emoji=False)
    found = [_replicated(member, options) for member in members]
    if not any(member.replications for member in found):
        name = results.study["name"]
        raise InputError(
            f"study {name!r}: expected a complete replication, found none; make one with: "
            f"python -m benchmark replicate {name}"
        )
    for member in found:
        frame = replications_frame(member, judge_outcomes(member))
        print_replications(console, frame, _title(member))


def _judged(results: Results) -> list[Verdict]:
    return with_robustness(judge(results), sensitivity_table(results))


def _title(results: Results) -> str:
    return f"{results.study['name']} ({results.study_hash}, {results.status})"


def calibrate(options: argparse.Namespace) -> None:
    """Simulate studies and print the table of error rates."""
    from analysis.calibration import ranks, verdicts

    if options.out and not options.out.parent.is_dir():  # before minutes of simulation
        raise InputError(f"--out: expected a file in a folder that there is, found {short(str(options.out))}")

    print(verdicts.table_markdown(verdicts.run(options.studies, CALIBRATION_SEED, options.out)))
    print(ranks.table_markdown(ranks.run(options.studies, CALIBRATION_SEED), options.studies))


def throughput(options: argparse.Namespace) -> None:
    """Draw the table beside it, as SVG and PNG, and print where."""
    from analysis.figures import save, styled
    from analysis.figures import throughput as figure

    frame = figure.read(options.csv)
    with styled():
        drawn = figure.draw(frame)
    print(*save(drawn, options.csv.with_suffix("")), sep="\n")
