"""What a study run says of itself: what its numbers are called and mean, and a note for people."""

import json
from typing import Any

from benchmark.contract import (
    CURVE_METRICS,
    FINAL_METRICS,
    INIT_GAIN,
    PROTOCOL_VERSION,
    SCHEMA_VERSION,
    loss_unit,
)
from benchmark.data.datasets import DeviceData
from benchmark.probes import PROBES
from benchmark.study.spec import StudySpec
from benchmark.tracking.mlflow.changes import DataSet
from benchmark.training.trial import Trial
from benchmark.variants.norms import NORMALIZATIONS

_DIGEST_LENGTH = 32  # MLflow stores at most 36 characters of a data set's digest


def schema_document(study: StudySpec) -> dict[str, Any]:
    """`schema.json`: versions, units and directions, and the study's normalizations in words."""
    unit_of_loss = study.loss.unit
    return {
        "schema_version": SCHEMA_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "metrics": {
            name: {"unit": loss_unit(unit, unit_of_loss), "direction": direction, "description": text}
            for name, (unit, direction, text) in (*CURVE_METRICS.items(), *FINAL_METRICS.items())
        },
        "probes": {
            name: {
                "unit": loss_unit(unit, unit_of_loss),
                "direction": "none",
                "description": text,
                "probe": enabled,
            }
            for enabled, probe in PROBES.items()
            for name, (unit, text) in probe.metrics.items()
        },
        "normalizations": {
            name: {"words": entry.words, "is_competitor": entry.is_competitor}
            for name, entry in NORMALIZATIONS.items()
            if name in study.variants.normalizations
        },
    }


def logged_data(study: StudySpec, data: DeviceData) -> DataSet:
    """The data set of all runs of a study run."""
    sizes = {"num_train": len(data.train), "num_validation": len(data.validation)}
    return DataSet(
        name=data.name,
        digest=data.fingerprint[:_DIGEST_LENGTH],
        source=study.data.model_dump_json(exclude={"root"}),
        profile=json.dumps(sizes),
        tags={"mlflow.data.context": "training"},
    )


def trial_params(trial: Trial, study: StudySpec, stage: str) -> dict[str, Any]:
    """A trial's settings, as parameters of its run."""
    return {
        "variant": trial.variant,
        "normalization": trial.variant.normalization,
        "activation": trial.variant.activation,
        "learning_rate": trial.learning_rate,
        "seed": trial.seed,
        "stage": stage,
        INIT_GAIN: trial.init_gain,
        "dataset": study.data.dataset,
        "num_steps": trial.num_steps,
        "batch_size": trial.batch_size,
        "eval_every": trial.eval_every,
        **{f"network.{key}": value for key, value in trial.network.model_dump().items()},
        **{f"optimizer.{key}": value for key, value in trial.optimizer.model_dump().items()},
        **{f"schedule.{key}": value for key, value in trial.schedule.model_dump().items()},
    }


def note(study: StudySpec) -> str:
    """The experiment's description in MLflow's UI."""
    variants = ", ".join(map(str, study.variants.product()))
    statistics = "re-estimated" if study.judge.statistics == "reestimated" else "moving-average"
    return f"""{study.description}

**Variants** {variants}. **Data** {study.data.dataset}. **Budget** {study.budget.num_steps} steps.

Runs are nested: a study run holds one run per variant, and that one run per trial, named
`variant lr=... seed=...`. Filter trials with `tags.kind = 'trial'` and, for example,
`tags.stage = 'confirm' and tags.status = 'diverged'`. `val_*` metrics are judged with {statistics}
normalization statistics, `*_ema` with moving averages. The study run's artifacts have the report
(`report/report.html`), the resolved study, its decisions and the environment.
"""
