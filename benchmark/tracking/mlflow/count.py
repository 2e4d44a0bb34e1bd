"""How far a study has come: trials are counted in a file without importing MLflow, which takes seconds."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from benchmark.base import interruption
from benchmark.contract import Tag, membership_tag
from benchmark.contract.addresses import without_password
from benchmark.contract.stores import Patient, patiently
from benchmark.study.identity import study_hash
from benchmark.study.spec import StudySpec
from benchmark.tracking.mlflow.sqlite import has_experiment, is_known, sqlite_file, tagged_trials
from benchmark.tracking.mlflow.store import connect, search


def count_trials(
    uri: str, study: StudySpec, data_fingerprint: Callable[[], str]
) -> dict[str, dict[str, int]]:
    """How many trials of a study were logged, by stage and status; empty if it was never run here.

    Args:
        uri: MLflow's tracking URI.
        study: whose.
        data_fingerprint: of its data; asked for only where a study of its name was run.

    Raises:
        InputError: the store cannot be used.
    """
    path = sqlite_file(uri)
    if path is not None and not path.exists():
        return {}

    def membership() -> str:
        return membership_tag(study_hash(study, data_fingerprint()))

    def patient(call: Callable[..., Any]) -> Callable[..., Any]:
        return patiently(call, without_password(uri), interruption.check)

    if path is None or not patient(is_known)(path):
        return _counted(_asked(uri, study.name, membership))
    if not patient(has_experiment)(path, study.name):
        return {}
    return _counted(patient(tagged_trials)(path, study.name, membership()))


def is_complete(uri: str, study: StudySpec, data_fingerprint: str) -> bool:
    """Was a study run to its end, on these data, every trial of it with a result?

    Raises:
        InputError: the store cannot be used.
    """
    path = sqlite_file(uri)
    if path is not None and not path.exists():
        return False
    client = Patient(connect(uri), without_password(uri), interruption.check)
    experiment = client.get_experiment_by_name(study.name)
    if experiment is None:
        return False
    identity = study_hash(study, data_fingerprint)
    runs = search(client, experiment.experiment_id, f"tags.kind = 'study' and tags.study_hash = '{identity}'")
    return any(run.data.tags.get(Tag.STATUS) == "complete" for run in runs)


def _asked(uri: str, name: str, membership: Callable[[], str]) -> list[tuple[str, str, str]]:
    """Stage, status and run's status of a study's trials, through MLflow's client."""
    client = Patient(connect(uri), without_password(uri), interruption.check)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return []
    runs = search(client, experiment.experiment_id, f"tags.`{membership()}` = 'true'")
    return [(run.data.tags[Tag.STAGE], run.data.tags[Tag.STATUS], run.info.status) for run in runs]


def _counted(trials: list[tuple[str, str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for stage, status, of_run in trials:
        counts[stage]["interrupted" if of_run == "KILLED" else status] += 1
    return {stage: dict(found) for stage, found in counts.items()}
