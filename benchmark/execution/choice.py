"""Which executor runs a study."""

import os

import torch

from benchmark.execution.executor import Executor, WorkerSetup
from benchmark.execution.in_process import InProcess
from benchmark.execution.workers import Workers

ENGINE = "eager"
"""Which of `ENGINES` trains; the only one yet."""


def num_workers(asked: int, threads: int, device: str) -> int:
    """Groups side by side; asked for 0: as many as the cores carry on CPU, one on an accelerator."""
    if asked:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads) if device == "cpu" else 1


def open_executor(setup: WorkerSetup, workers: int) -> Executor:
    """The executor for a number of groups side by side.

    On an accelerator even a single one has a process of its own, which is replaced when its device breaks.
    """
    if workers == 1 and torch.device(setup.device).type == "cpu":
        return InProcess(setup)
    return Workers(setup, workers)
