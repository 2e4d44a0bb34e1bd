"""What the command line's verbs do."""

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmark.base import seeding
from benchmark.base.environment import choose_device, describe_environment
from benchmark.cli.display import Display, say
from benchmark.cli.estimate import measure
from benchmark.data.datasets import DeviceData, load
from benchmark.execution.choice import num_workers
from benchmark.stages.axis import run_studies
from benchmark.study import plan as planning
from benchmark.study.files import load_studies
from benchmark.study.spec import StudySpec
from benchmark.tracking.mlflow.store import default_uri
from benchmark.tracking.mlflow.study_log import MlflowStudyLog, count_trials
from benchmark.tracking.protocol import StudyLog


def run(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Run a study to its end: 0, or 1 if trials failed."""
    studies = load_studies(options.study, options.overrides)
    device = choose_device(options.device)
    uri = options.tracking_uri or default_uri(folder)
    environment = describe_environment(device)

    def open_log(study: StudySpec, data: DeviceData) -> StudyLog:
        return MlflowStudyLog(uri, folder, study, data, environment, again)

    console = Console(stderr=True)
    with Display(console) as display:
        complete = run_studies(studies, device, folder, open_log, again, display)
    if not complete:
        say(console, f"some trials failed (their runs have failure.txt). To try them again: {again}")
        return 1
    say(console, f"study {studies[0].name}: all trials done")
    return 0


def plan(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Show what a run would do."""
    studies = load_studies(options.study, options.overrides)
    device = choose_device(options.device)
    console = Console()
    say(console, f"study {studies[0].name}: {studies[0].description}")
    seeding.make_deterministic()  # what is measured is what a run computes
    began = time.monotonic()
    total = sum(_plan_one(study, device, folder, console) for study in studies)
    workers = _workers(studies[0], device)
    say(
        console,
        f"in all up to {_duration(total)} on {device}, {workers} side by side "
        f"(measured in {time.monotonic() - began:.0f} s; without extensions of the grid). "
        "Nothing was trained.",
    )
    return 0


def _plan_one(study: StudySpec, device: torch.device, folder: Path, console: Console) -> float:
    """Show one study's cells and stages; the seconds to expect."""
    if study.axis is not None:
        say(console, f"\n{study.axis.label} = {study.axis.value_name}")
    data = load(study.data, device, folder / "data")
    say(
        console,
        f"data {data.name}: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test; {data.num_classes} classes; fingerprint {data.fingerprint[:12]}",
    )
    console.print(_cells_table(study))
    seconds = measure(study, data)
    table = Table("stage", "cells", "trials", "time to expect")
    total = 0.0
    for size in planning.stage_sizes(study):
        most = "up to " if size.is_bound else ""
        expected = size.num_trials * seconds[size.stage] / _workers(study, device)
        total += expected
        table.add_row(
            size.stage, f"{most}{size.num_cells}", f"{most}{size.num_trials}", f"{most}{_duration(expected)}"
        )
    console.print(table)
    return total


def _workers(study: StudySpec, device: torch.device) -> int:
    return num_workers(study.execution.workers, study.execution.threads, device.type)


def status(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Show how far a study has come: its trials by stage and status."""
    studies = load_studies(options.study, options.overrides)
    uri = options.tracking_uri or default_uri(folder)
    console = Console()
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


def _cells_table(study: StudySpec) -> Table:
    rates = ", ".join(f"{rate:g}" for rate in planning.grid(study))
    table = Table("variant", f"learning rates ({study.search.sampler})", "seeds")
    for variant in study.variants.product():
        table.add_row(str(variant), rates, str(study.seeds.sweep))
    return table


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
