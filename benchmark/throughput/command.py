"""What the verb `throughput` does."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console

from benchmark.base.environment import choose_device, describe_environment
from benchmark.throughput.measure import FULL, QUICK, Meter, candidates
from benchmark.throughput.table import skipped_lines, steps_table, trials_table, write_tables

_WIDTH = 150  # columns, of a file or a pipe


def throughput(options: argparse.Namespace, folder: Path) -> int:
    """Measure all, print the tables, write them as CSV, and print where, last.

    Args:
        options: `device`, `quick`, `out`.
        folder: in whose folder `throughput` results are kept unless `options.out` says where.
    """
    device = choose_device(options.device)
    out = options.out or folder / "throughput" / f"{datetime.now():%Y-%m-%d-%H%M%S}-{device.type}"
    out.mkdir(parents=True, exist_ok=True)
    notes = Console(stderr=True)
    began = time.monotonic()

    def say(message: str) -> None:
        notes.print(f"[{time.monotonic() - began:5.0f} s] {message}", markup=False, highlight=False)

    settings = QUICK if options.quick else FULL
    with Meter(candidates(device.type, quick=options.quick), settings, str(device), say) as meter:
        measured = meter.measure()
    path = write_tables(out, measured.rows, measured.trials)
    document = describe_environment(device).document() | {
        "settings": asdict(settings),
        "ceilings": [
            {"processes": processes, "threads": threads, **asdict(machine)}
            for (processes, threads), machine in sorted(measured.machines.items())
        ],
    }
    (out / "environment.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    # Where nobody can widen it, a table has the width that it needs.
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    console.print(steps_table(measured.rows))
    for line in skipped_lines(measured.rows):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(trials_table(measured.trials))
    print(path)
    return 0
