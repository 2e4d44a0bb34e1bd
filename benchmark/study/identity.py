"""What makes two study runs one, and what of a study a trial reads.

Every key of a study is accounted for: it is in the trial, or it stands here with the reason why it changes
none of a trial's numbers. A test walks the study's sections and fails for a key that is in neither table.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from benchmark import contract
from benchmark.study.spec import StudySpec
from benchmark.training.engines import AUTO, REFERENCE
from benchmark.training.trial import Trial
from benchmark.variants.variant import Variant

IN_TRIAL: Mapping[str, str] = {
    "network": "network",
    "loss": "loss",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "probes": "probes",
    "data.augmentation": "augmentation",
    "budget.num_steps": "num_steps",
    "budget.batch_size": "batch_size",
    "budget.eval_every": "eval_every",
    "budget.confirm_eval_every": "eval_every",
    "judge.statistics": "statistics",
    "search.sampler": "reads_test",
    "precision": "precision",
    "execution.threads": "threads",
    "execution.engine": "engine",
}
"""Key of a study -> the field of its trials that holds it; a section stands for all of its keys."""

NOT_IN_TRIAL: Mapping[str, str] = {
    "name": "says where results are kept",
    "description": "words",
    "variants.normalizations": "says which trials there are; each has its own variant",
    "variants.activations": "says which trials there are; each has its own variant",
    "variants.reference": "sets a target, which judges trials that have ended",
    "data.dataset": "the fingerprint covers the images",
    "data.root": "the same images may lie anywhere; the fingerprint covers them",
    "data.preprocessing": "the fingerprint covers it",
    "data.validation": "the fingerprint covers the images of every split",
    "data.num_validation": "the fingerprint covers the images of every split",
    "data.split_seed": "the fingerprint covers the images of every split",
    "data.limit_train": "the fingerprint covers the images of every split",
    "search.low": "says which trials there are; each has its own rate",
    "search.high": "says which trials there are; each has its own rate",
    "search.num_rates": "says which trials there are",
    "search.num_bisections": "says which trials there are",
    "search.num_extensions": "says which trials there are",
    "search.pruning": "says which trials there are",
    "seeds.sweep": "says which trials there are; each has its own seed",
    "seeds.confirm": "says which trials there are; each has its own seed",
    "seeds.first": "says which trials there are; each has its own seed",
    "judge.rho": "judges a study's trials against each other",
    "init.gains": "says which trials there are; each has its own gain",
    "axis": "the study has its value under the key that varies",
    "execution.executor": "no number depends on where a trial runs",
    "execution.address": "no number depends on where a trial runs",
    "execution.workers": "trials side by side know nothing of each other",
    "execution.checkpoint_every_s": "a trial that goes on from a checkpoint is the same to the bit",
    "execution.retries": "a retried trial is the same to the bit",
}
"""Key of a study -> why it changes no trial's numbers."""

_NOT_IN_STUDY = {
    "description": True,
    "data": {"root"},
    "execution": {"executor", "address", "workers", "checkpoint_every_s", "retries"},
}


def study_hash(study: StudySpec, data_fingerprint: str) -> str:
    """Identifies a study run. 8 hex digits.

    A hash of the protocol, of how it is logged, of all of the study but words and how it is executed, and of
    the data it is trained on: other images under the same name are another study run.
    """
    document = study.model_dump_json(exclude=_NOT_IN_STUDY)  # type: ignore[arg-type]
    versions = f"{contract.PROTOCOL}/{contract.SCHEMA_VERSION}"
    identity = f"{versions}\0{document}\0{data_fingerprint}"
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def trial_of(
    study: StudySpec,
    variant: Variant,
    learning_rate: float,
    seed: int,
    stage: str,
    data_fingerprint: str,
    *,
    engine: str | None = None,
    init_gain: float = 1.0,
    walk_rate: float | None = None,
) -> Trial:
    """One trial of a stage of a study; `engine`: what trains it where the study says `auto`."""
    budget = study.budget
    return Trial(
        variant=variant,
        learning_rate=learning_rate,
        seed=seed,
        init_gain=init_gain,
        walk_rate=walk_rate,
        num_steps=budget.num_steps,
        batch_size=budget.batch_size,
        eval_every=getattr(budget, contract.eval_every_key(stage)),
        reads_test=contract.reads_test(stage, study.search.sampler),
        data_fingerprint=data_fingerprint,
        augmentation=study.data.augmentation,
        network=study.network,
        optimizer=study.optimizer,
        schedule=study.schedule,
        loss=study.loss,
        statistics=study.judge.statistics,
        probes=study.probes,
        precision=study.precision,
        threads=study.execution.threads,
        engine=study.execution.engine if study.execution.engine != AUTO else engine or REFERENCE,
    )


def cell(
    study: StudySpec,
    variant: Variant,
    rate: float,
    seeds: Iterable[int],
    stage: str,
    data_fingerprint: str,
    **own: Any,
) -> list[Trial]:
    """The trials of one cell: a variant at a rate, over seeds; `own`: as for `trial_of`."""
    return [trial_of(study, variant, rate, seed, stage, data_fingerprint, **own) for seed in seeds]
