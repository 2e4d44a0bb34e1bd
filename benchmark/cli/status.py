"""What `status` shows; apart from the other verbs, for it waits for less."""

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmark.cli.printing import say
from benchmark.data.datasets import load
from benchmark.study import plan as planning
from benchmark.study.files import load_studies
from benchmark.study.spec import StudySpec
from benchmark.tracking.mlflow.count import count_trials
from benchmark.tracking.mlflow.store import default_uri


def status(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Show how far a study has come: its trials by stage and status."""
    studies = load_studies(options.study, options.overrides)
    uri = options.tracking_uri or default_uri(folder)
    console = Console(emoji=False)
    for study in studies:
        if study.axis is not None:
            say(console, f"{study.axis.label} = {study.axis.value_name}")
        _status_one(study, folder, uri, console, again)
    return 0


def _status_one(study: StudySpec, folder: Path, uri: str, console: Console, again: str) -> None:
    counts = count_trials(
        uri, study, lambda: load(study.data, torch.device("cpu"), folder / "data").fingerprint
    )
    if not counts:
        say(
            console,
            f"study {study.name} was not run with these settings on these data. To run it: {again}",
        )
        return
    statuses = sorted({status for stage in counts.values() for status in stage})
    table = Table("stage", *statuses, "of")
    for size in planning.stage_sizes(study):
        found = counts.get(size.stage, {})
        most = "at most " if size.is_bound else ""
        table.add_row(size.stage, *(str(found.get(s, 0)) for s in statuses), f"{most}{size.num_trials}")
    console.print(table)
