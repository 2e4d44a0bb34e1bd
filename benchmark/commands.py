"""What the command line's verbs do."""

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmark import plan as planning
from benchmark import runner, tracking
from benchmark.data.datasets import load
from benchmark.display import Display, say
from benchmark.environment import choose_device
from benchmark.estimate import measure
from benchmark.executors import num_workers
from benchmark.spec import StudySpec, load_study


def run(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Run a study to its end: 0, or 1 if trials failed."""
    study = load_study(options.study, options.overrides)
    device = choose_device(options.device)
    uri = options.tracking_uri or tracking.default_uri(folder)
    console = Console(stderr=True)
    with Display(console) as display:
        complete = runner.run_study(study, device, folder, uri, again, display)
    if not complete:
        say(console, f"some trials failed (their runs have failure.txt). To try them again: {again}")
        return 1
    say(console, f"study {study.name}: all trials done")
    return 0


def plan(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Show what a run would do."""
    study = load_study(options.study, options.overrides)
    device = choose_device(options.device)
    data = load(study.data, device, folder / "data")
    sizes = planning.stage_sizes(study)
    workers = num_workers(study.execution.workers, study.execution.threads, device.type)
    console = Console()
    say(console, f"study {study.name}: {study.description}")
    say(
        console,
        f"data {data.name}: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test; {data.num_classes} classes; fingerprint {data.fingerprint[:12]}",
    )
    console.print(_cells_table(study))
    torch.set_num_threads(study.execution.threads)
    began = time.monotonic()
    seconds = measure(study, data)
    table = Table("stage", "cells", "trials", "time to expect")
    for size in sizes:
        most = "up to " if size.is_bound else ""
        total = size.num_trials * seconds[size.stage] / workers
        table.add_row(
            size.stage, f"{most}{size.num_cells}", f"{most}{size.num_trials}", f"{most}{_duration(total)}"
        )
    total = sum(size.num_trials * seconds[size.stage] for size in sizes) / workers
    console.print(table)
    say(
        console,
        f"in all up to {_duration(total)} on {device.type}, {workers} side by side "
        f"(measured in {time.monotonic() - began:.0f} s; without extensions of the grid). "
        "Nothing was trained.",
    )
    return 0


def status(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Show how far a study has come: its trials by stage and status."""
    study = load_study(options.study, options.overrides)
    uri = options.tracking_uri or tracking.default_uri(folder)
    counts = tracking.count_trials(uri, study)
    console = Console()
    if not counts:
        say(console, f"study {study.name} has not been run with these settings. To run it: {again}")
        return 0
    statuses = sorted({status for stage in counts.values() for status in stage})
    table = Table("stage", *statuses, "of")
    for size in planning.stage_sizes(study):
        found = counts.get(size.stage, {})
        most = "at most " if size.is_bound else ""
        table.add_row(size.stage, *(str(found.get(s, 0)) for s in statuses), f"{most}{size.num_trials}")
    console.print(table)
    return 0


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
