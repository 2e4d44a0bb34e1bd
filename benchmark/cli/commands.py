"""What the verbs `run`, `replicate` and `plan` do; `status.py` has the fourth."""

import argparse
import os
import time
from itertools import count
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmark.base import seeding
from benchmark.base.environment import choose_device, describe_environment
from benchmark.base.servers import database_url
from benchmark.cli.display import Display
from benchmark.cli.estimate import measure
from benchmark.cli.printing import say
from benchmark.data.datasets import DeviceData, load
from benchmark.execution.choice import num_workers
from benchmark.stages.axis import check_networks, run_studies
from benchmark.study import plan as planning
from benchmark.study.files import load_studies
from benchmark.study.replication import replication_of
from benchmark.study.spec import StudySpec
from benchmark.tracking.mlflow.count import is_complete
from benchmark.tracking.mlflow.store import check_server, default_uri
from benchmark.tracking.mlflow.study_log import MlflowStudyLog
from benchmark.tracking.protocol import StudyLog


def run(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Run a study to its end: 0, or 1 if trials failed."""
    return _run(load_studies(options.study, options.overrides), options, folder, again)


def replicate(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Run a study's next replication to its end, or go on with one: 0, or 1 if trials failed."""
    studies = load_studies(options.study, options.overrides)
    uri = options.tracking_uri or default_uri(folder)
    for number in count(1):  # until there are no seeds left, which `replication_of` says
        replications = [replication_of(study, number) for study in studies]
        if not all(is_complete(uri, one, _fingerprint(one, folder)) for one in replications):
            break
    one = replications[0]
    changed = {"name": one.name, "seeds.first": one.seeds.first, "data.split_seed": one.data.split_seed}
    words = [again.replace(" replicate ", " run ", 1), *(f"--set {key}={changed[key]}" for key in changed)]
    return _run(replications, options, folder, " ".join(words))


def _fingerprint(study: StudySpec, folder: Path) -> str:
    return load(study.data, torch.device("cpu"), folder / "data").fingerprint


def _run(studies: list[StudySpec], options: argparse.Namespace, folder: Path, again: str) -> int:
    device = choose_device(options.device)
    uri = options.tracking_uri or default_uri(folder)
    storage = options.storage or os.environ.get("OPTUNA_STORAGE")
    database = database_url(storage, "--storage") if storage else None
    check_server(uri)  # before data are loaded and networks built
    environment = describe_environment(device)

    def open_log(study: StudySpec, data: DeviceData, workplace: str | None) -> StudyLog:
        return MlflowStudyLog(uri, folder, study, data, environment, again, workplace)

    console = Console(stderr=True, emoji=False)
    with Display(console) as display:
        complete = run_studies(studies, device, folder, open_log, again, display, database)
    if not complete:
        say(console, f"some trials failed (their runs have failure.txt). To try them again: {again}")
        return 1
    say(console, f"study {studies[0].name}: all trials done")
    return 0


def plan(options: argparse.Namespace, folder: Path, again: str) -> int:
    """Show what a run would do."""
    studies = load_studies(options.study, options.overrides)
    device = choose_device(options.device)
    console = Console(emoji=False)
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
    check_networks(study, data)
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
