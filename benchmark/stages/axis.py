"""Runs studies: one after another at every value of their axis, one runner at a time."""

from dataclasses import replace
from pathlib import Path

import torch

from benchmark.base import seeding
from benchmark.base.environment import device_name
from benchmark.base.errors import InputError
from benchmark.base.locks import Lock, LostLockError, only_runner
from benchmark.contract import ENGINES_FILE, timing_rounds
from benchmark.data.datasets import DeviceData, load
from benchmark.execution.choice import Choice, choose, open_executor, time_steps
from benchmark.execution.executor import WorkerSetup
from benchmark.stages.run import run_study
from benchmark.stages.session import OpenLog, Session, StageObserver, searches_of
from benchmark.stages.storage import open_shared_storage, open_storage
from benchmark.study import plan
from benchmark.study.identity import trial_of
from benchmark.study.spec import StudySpec
from benchmark.tracking.protocol import StudyLog
from benchmark.training.precision import check_precision
from benchmark.training.trial import Trial
from benchmark.variants.networks import build_network, check_size
from benchmark.variants.variant import Variant


def run_studies(
    studies: list[StudySpec],
    device: torch.device,
    folder: Path,
    open_log: OpenLog,
    command: str,
    observer: StageObserver,
    database: str | None = None,
) -> bool:
    """Run a study to its end, at every value of its axis if it has one.

    Args:
        studies: from `load_studies`: one per value of the axis, of one name.
        device: where to train.
        folder: the suite's folder (`mlruns`).
        open_log: opens the log of each study run.
        command: the command that runs it (again), for the record.
        observer: is told what happens.
        database: of a team, for what Optuna keeps and the study's lock, from `database_url`; None: both are
            in the folder.

    Returns:
        Whether every trial came to a result.

    Raises:
        InputError: another runner has this study, its data or the database cannot be had, or its network is
            too deep.
    """
    complete = True
    with only_runner(folder, database, studies[0].name) as lock:
        for study in studies:
            which = "" if study.axis is None else f", {study.axis.label} = {study.axis.value_name}"
            observer.noted(f"study {study.name}{which} on {device} ({device_name(device)})")
            complete &= _run_one(study, device, folder, open_log, command, observer, database, lock)
    return complete


def _run_one(
    study: StudySpec,
    device: torch.device,
    folder: Path,
    open_log: OpenLog,
    command: str,
    observer: StageObserver,
    database: str | None,
    lock: Lock,
) -> bool:
    data = load(study.data, torch.device("cpu"), folder / "data")
    check_networks(study, data)
    work = study.execution
    setup = WorkerSetup(study.data, str(device), folder, work.checkpoint_every_s)
    # First the executor: its workers start while the tracker is imported.
    with open_executor(
        setup, work.workers, work.threads, kind=work.executor, address=work.address, note=observer.noted
    ) as executor:
        study_log = open_log(study, data, lock.workplace)
        try:
            engines = choose_engines(study, data, device, folder, study_log)
            storage = (
                open_storage(folder / "optuna.db", searches_of(study, data.fingerprint))
                if database is None
                else open_shared_storage(database, lock)
            )
            session = Session(study, data, study_log, executor, engines, observer, storage, lock, command)
            complete = run_study(session)
        except LostLockError:
            raise  # what is in the log may be another runner's now, who ends it
        except BaseException:
            study_log.close(complete=False, interrupted=True)
            raise
        study_log.close(complete=complete)
        return complete


def choose_engines(
    study: StudySpec, data: DeviceData, device: torch.device, folder: Path, log: StudyLog
) -> dict[Variant, Choice]:
    """What trains each variant: what the study run began with, or what is fastest by a short measurement.

    With what its step takes, round by round (protocol, section 11).
    """
    variants = study.variants.product()
    known = log.read_json(ENGINES_FILE)
    if known is not None:
        try:
            return {variant: Choice.read(known[str(variant)]) for variant in variants}
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{ENGINES_FILE} of the study's run: expected what trains each variant, found another "
                f"({type(error).__name__}: {error}); put back a copy of it, or move it away: engines are "
                "then chosen anew, and what others have trained is trained again"
            ) from None
    seeding.make_deterministic()  # what is measured is what a worker computes
    if device.type != "cpu":
        data = load(study.data, device, folder / "data")
    choices = measured_choices(study, data)
    trials = {variant: _any_trial(study, variant, data) for variant in variants}
    chosen = {trials[variant]: choice for variant, choice in choices.items()}
    taken = time_steps(chosen, data, timing_rounds(study.seeds.sweep, study.seeds.confirm))
    choices = {
        variant: replace(choice, steps_s=taken[trials[variant]]) for variant, choice in choices.items()
    }
    log.log_json(ENGINES_FILE, {str(variant): choice.document() for variant, choice in choices.items()})
    return choices


def measured_choices(study: StudySpec, data: DeviceData) -> dict[Variant, Choice]:
    """What trains each variant fastest; `data` on the training device.

    Raises:
        InputError: what the study asks for cannot be had on it.
    """
    check_precision(study.precision, data.train.labels.device)
    most = plan.most_alike(study)
    return {
        variant: choose(_any_trial(study, variant, data), data, study.execution.engine, most)
        for variant in study.variants.product()
    }


def _any_trial(study: StudySpec, variant: Variant, data: DeviceData) -> Trial:
    """A trial of a variant: at its least rate, which is the last to diverge."""
    return trial_of(study, variant, plan.grid(study)[0], 0, "sweep", data.fingerprint)


def check_networks(study: StudySpec, data: DeviceData) -> None:
    """Build every variant's network once, before any trial is started.

    Raises:
        InputError: one has no definition for this network, these images or this batch size, which are fewer;
            or it is too large.
    """
    budget = study.budget
    if budget.batch_size > len(data.train):
        raise InputError(
            f"budget.batch_size: expected at most {len(data.train)}, the training images there are, found "
            f"{budget.batch_size}: lower it"
        )
    check_size(study.network, data.image_shape, data.num_classes)
    for variant in study.variants.product():
        build_network(
            study.network, variant, data.image_shape, data.num_classes, budget.num_steps, budget.batch_size
        )
