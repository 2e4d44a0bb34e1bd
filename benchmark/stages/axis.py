"""Runs studies: one after another at every value of their axis, one runner at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmark.base.environment import Environment, describe_environment
from benchmark.base.errors import InputError
from benchmark.cli.display import Display
from benchmark.data.datasets import load
from benchmark.execution.executors import Workplace, num_workers, open_executor
from benchmark.stages.run import StudyRun
from benchmark.study.spec import StudySpec
from benchmark.tracking import Tracker
from benchmark.training.loop import check_networks


def run_studies(
    studies: list[StudySpec],
    device: torch.device,
    folder: Path,
    tracking_uri: str,
    command: str,
    display: Display,
) -> bool:
    """Run a study to its end, at every value of its axis if it has one.

    Args:
        studies: from `load_studies`: one per value of the axis, of one name.
        device: where to train.
        folder: the suite's folder (`mlruns`).
        tracking_uri: MLflow's.
        command: the command that runs it (again), for messages and the record.
        display: shows progress.

    Returns:
        Whether every trial came to a result.

    Raises:
        InputError: another runner has this study, its data cannot be had, or its network is too deep.
    """
    environment = describe_environment(device)
    complete = True
    with _only_runner(folder, studies[0].name):
        for study in studies:
            which = "" if study.axis is None else f", {study.axis.label} = {study.axis.value_name}"
            display.note(f"study {study.name}{which} on {device.type} ({environment.device_name})")
            complete &= _run_study(study, device, folder, tracking_uri, command, environment, display)
    return complete


def _run_study(
    study: StudySpec,
    device: torch.device,
    folder: Path,
    tracking_uri: str,
    command: str,
    environment: Environment,
    display: Display,
) -> bool:
    data = load(study.data, torch.device("cpu"), folder / "data")
    check_networks(study, data)
    work = study.execution
    workplace = Workplace(study.data, str(device), folder, work.threads, work.checkpoint_every_s)
    workers = num_workers(work.workers, work.threads, device.type)
    # First the executor: its workers start while MLflow is imported.
    with open_executor(workplace, workers) as executor:
        tracker = Tracker(tracking_uri, folder, study, data, environment, command)
        try:
            complete = StudyRun(study, data, tracker, executor, display, folder, command).run()
        except BaseException:
            tracker.close(complete=False, interrupted=True)
            raise
        tracker.close(complete=complete)
        return complete


@contextmanager
def _only_runner(folder: Path, name: str) -> Iterator[None]:
    """Hold the study's lock; the operating system lets go of it whatever becomes of this process."""
    path = folder / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"study {name!r} is being run by another process (it holds {path}): wait for it, or stop it"
            ) from None
        yield
