"""What a study run logged, as measures, claims, figures and report read it; `analysis.data.load` fills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

FINAL_METRICS = (
    "final_val_loss",
    "final_val_accuracy",
    "final_val_loss_ema",
    "final_val_accuracy_ema",
    "final_clean_train_loss",
    "final_clean_train_accuracy",
    "best_val_loss",
    "best_val_step",
    "train_seconds",
    "probe_seconds",
    "num_steps_done",
    "num_parameters",
    "test_loss",
    "test_accuracy",
)
CURVE_METRICS = (
    "epoch",
    "examples",
    "train_seconds",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "gradient_norm",
    "parameter_norm",
    "examples_per_s",
    "clean_train_loss",
    "clean_train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_loss_ema",
    "val_accuracy_ema",
    "clean_train_loss_ema",
    "clean_train_accuracy_ema",
)
TRIAL_KEYS = ("trial_hash", "variant", "normalization", "activation", "stage", "trial_learning_rate", "seed")
TRIAL_COLUMNS = (
    "trial_hash",
    "run_id",
    "variant",
    "normalization",
    "activation",
    "stage",
    "learning_rate",
    "seed",
    "status",
    "status_ema",
    *FINAL_METRICS,
)
CURVE_COLUMNS = (*TRIAL_KEYS, "step", *CURVE_METRICS)
PROBE_COLUMNS = (*TRIAL_KEYS, "step", "probe", "layer", "index", "value")


_COMPOUND_ACTIVATIONS = ("hard", "leaky")  # first words of the activations whose names have a hyphen


def split_variant(variant: str) -> tuple[str, str]:
    """A variant's name as (normalization, activation); either's own name may have hyphens.

    `batch-renorm-relu` -> (`batch-renorm`, `relu`); `batch-hard-tanh` -> (`batch`, `hard-tanh`).
    """
    normalization, _, activation = variant.rpartition("-")
    rest, _, word = normalization.rpartition("-")
    return (
        (rest, f"{word}-{activation}")
        if rest and word in _COMPOUND_ACTIVATIONS
        else (normalization, activation)
    )


@dataclass(frozen=True, eq=False)
class Results:
    """Everything one study run logged.

    Attributes:
        study: the resolved study, as nested dicts.
        schema: units and directions of the logged metrics, and the versions.
        decisions: what the stages decided; keys are absent until decided.
        environment: software and hardware.
        progress: planned numbers of trials per stage, wall time, command.
        run_id: the study's MLflow run.
        study_hash: 8 hex digits.
        commit: git commit that trained.
        trials: one row per trial (`TRIAL_COLUMNS`, and `init_gain` where the study varies it).
        curves: one row per trial and evaluation (`CURVE_COLUMNS`).
        probes: one row per trial, evaluation, probe and layer (`PROBE_COLUMNS`); empty when probes were off.
        status: running, complete or incomplete.
        run_ids: MLflow ids of all runs of the study, this one among them, the newest first.
        siblings: complete runs of the study that differ from this one in the optimizer alone, the newest
            first; without curves and probes.
    """

    study: dict[str, Any]
    schema: dict[str, Any]
    decisions: dict[str, Any]
    environment: dict[str, Any]
    progress: dict[str, Any]
    run_id: str
    study_hash: str
    commit: str
    trials: pd.DataFrame
    curves: pd.DataFrame
    probes: pd.DataFrame
    status: str = "complete"
    run_ids: tuple[str, ...] = ()
    siblings: tuple[Results, ...] = ()

    @property
    def normalizations(self) -> list[str]:
        """Planned normalizations, in the study's order."""
        return list(self.study["variants"]["normalizations"])

    @property
    def activations(self) -> list[str]:
        """Planned activations, in the study's order."""
        return list(self.study["variants"]["activations"])

    @property
    def variants(self) -> list[str]:
        """Planned variants, `normalization-activation`, grouped by activation."""
        return [f"{n}-{a}" for a in self.activations for n in self.normalizations]

    @property
    def chance(self) -> float:
        """Accuracy of guessing, 1/K; NaN until the study logged K."""
        return 1.0 / float(self.decisions.get("num_classes", np.nan))

    @property
    def loss_cap(self) -> float:
        """Loss of the constant predictor, nats; NaN until the study logged it."""
        return float(self.decisions.get("loss_cap", np.nan))

    @property
    def loss_unit(self) -> str:
        """Unit of the study's loss, "1" for a loss that has none."""
        return str(self.schema.get("metrics", {}).get("val_loss", {}).get("unit", "nats"))

    @property
    def which_run(self) -> str:
        """Which of the study's runs this is, in a line; empty where there is no other."""
        others = [run_id for run_id in self.run_ids if run_id != self.run_id]
        if not others:
            return ""
        rank = "the newest" if self.run_id == self.run_ids[0] else "one"
        return (
            f"Run {self.run_id} (study hash {self.study_hash}) is {rank} of the {len(self.run_ids)} runs "
            f"of study {self.study['name']}; --run ID reads another: {', '.join(others)}"
        )
