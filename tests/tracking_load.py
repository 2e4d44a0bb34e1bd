"""What tracking and analysis cost: a study of made-up trials through the real tracking code, then judged.

    python tests/tracking_load.py 1000 FOLDER

Makes FOLDER/mlruns with a study of about as many trials (`made_load.py`) and says the CPU time per trial of
everything that the runner does; then runs `claims`, `report`, `status` and `--help` in fresh processes and
says the wall time, CPU time and peak memory of each. It imports nothing large: Linux counts the memory of a
process that starts another as the other's too.
"""

import argparse
import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"}
NORMALIZATIONS = (
    *("none", "batch", "layer", "rms", "instance", "weight", "batch-renorm", "batch-no-affine"),
    *("batch-fast", "group2", "group4", "none-he", "none-lecun", "none-orthogonal", "none-lsuv"),
    *("none-clip1", "batch-last", "weight-mean-batch", "weight-std-group2", "layer-channel", "batch-noisy"),
)
ACTIVATIONS = ("sigmoid", "relu", "tanh", "elu", "selu", "gelu")
PER_VARIANT = 125
"""Trials: 6 rates x 10 seeds, two bisections of both edges, and up to four confirm cells x 10 seeds."""


def overrides_for(num_trials):
    """Overrides of `quick` that give it about as many trials: more variants, ten seeds of each."""
    num_variants = max(2, round(num_trials / PER_VARIANT))
    num_activations = next(n for n in (2, 3, 4, 5, 6) if num_variants <= n * len(NORMALIZATIONS))
    normalizations = NORMALIZATIONS[: max(2, -(-num_variants // num_activations))]
    return [
        f"name={name_of(num_trials)}",
        f"variants.normalizations={list(normalizations)}",
        f"variants.activations={list(ACTIVATIONS[:num_activations])}",
        "seeds.sweep=10",
        "seeds.confirm=10",
        "search.low=1e-3",
        "search.high=1e2",
        "search.num_rates=6",
        "search.num_bisections=2",
        "init.gains=[]",
        'probes.enabled=["gradients", "activations"]',
    ]


def name_of(num_trials):
    """What the study is called."""
    return f"load-{num_trials}"


def environment_of(folder):
    """Of the processes: modules are compiled once, as for people, whatever this process is told."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return (
        kept | SILENT | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder.resolve() / "compiled")}
    )


def measured(folder, *words):
    """Run Python in `folder`, in a process of its own: wall s; CPU s, its children included; the greatest
    peak of memory among them in GiB.
    """
    store = f"sqlite:///{folder.resolve() / 'mlruns' / 'mlflow.db'}"
    environment = environment_of(folder) | {"MLFLOW_TRACKING_URI": store}
    began = time.monotonic()
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stdout=nowhere)
    _, code, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    uses = [used, *left_behind()]
    cpu = sum(use.ru_utime + use.ru_stime for use in uses)
    return wall, cpu, max(use.ru_maxrss for use in uses) / 2**20


def left_behind():
    """What processes used whose parents have ended, such as the server that painters are forked from."""
    with contextlib.suppress(ChildProcessError):
        while True:
            yield os.wait4(-1, 0)[2]


def adopt():
    """Have processes whose parents end become this one's (Linux' `PR_SET_CHILD_SUBREAPER`)."""
    ctypes.CDLL(None).prctl(36, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("num_trials", type=int, metavar="N")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--group-size", type=int, default=1, metavar="G", help="trials that end together")
    parser.add_argument("--only-read", action="store_true", help="measure the study that is there already")
    parser.add_argument("--repeat", type=int, default=1, metavar="K", help="of the verbs")
    options = parser.parse_args()
    adopt()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.only_read:
        made = [sys.executable, str(ROOT / "tests" / "made_load.py"), str(options.num_trials)]
        made += [str(options.folder), str(options.group_size)]
        subprocess.run(made, check=True, env=environment_of(options.folder))
    sets = [word for override in overrides_for(options.num_trials) for word in ("--set", override)]
    name = name_of(options.num_trials)
    measured(options.folder, "-c", "import analysis.report, analysis.commands, benchmark.cli.status")
    for words in (
        ("analysis", "claims", name),
        ("analysis", "report", name, "--out", "report"),
        ("benchmark", "status", "quick", *sets),
        ("benchmark", "--help"),
        ("analysis", "--help"),
    ) * options.repeat:
        wall, cpu, memory = measured(options.folder, "-m", *words)
        print(f"{' '.join(words[:2]):18} {wall:7.2f} s wall, {cpu:7.2f} s CPU, {memory:5.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
