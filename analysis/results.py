"""What a study run logged, as measures, claims, figures and report read it; `analysis.data.load` fills it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark.contract import CURVE_METRICS, FINAL_METRICS, PROBE_COLUMNS, variant_name

# Columns of the frames.
TRIAL_KEYS = ("trial_hash", "variant", "normalization", "activation", "stage", "trial_learning_rate", "seed")
"""Stand beside every row of curves and probes."""
TRIAL_FRAME = (
    "trial_hash",
    "run_id",
    "variant",
    "normalization",
    "activation",
    "stage",
    "learning_rate",
    "seed",
    "init_gain",
    "status",
    "status_ema",
    *FINAL_METRICS,
)
DAMAGED = "damaged"
"""The status of a trial whose files are not what it logged: it is left out."""
CURVE_FRAME = (*TRIAL_KEYS, *CURVE_METRICS)
PROBE_FRAME = (*TRIAL_KEYS, *PROBE_COLUMNS)


@dataclass(frozen=True)
class Variant:
    """What a net of a study is made with; frames say both beside its name, which nobody parses."""

    normalization: str
    activation: str

    @property
    def name(self) -> str:
        """What frames, decisions and figures call it."""
        return variant_name(self.normalization, self.activation)


@dataclass(frozen=True, eq=False)
class Results:
    """Everything one study run logged.

    Attributes:
        study: the resolved study, as nested dicts.
        schema: the versions, units and directions of the logged metrics, and the normalizations in words.
        decisions: what the stages decided; keys are absent until decided.
        environment: software and hardware.
        steps_s: by variant, seconds that a step of one trial takes, a number for each round in which all
            variants took turns, as many as there are confirm seeds; empty until they were measured.
        progress: planned numbers of trials per stage, wall time, command.
        run_id: the study's MLflow run.
        study_hash: 8 hex digits.
        commit: git commit that trained.
        data_fingerprint: of the images, labels, splits and preprocessing that were trained on.
        trials: one row per trial (`TRIAL_FRAME`).
        curves: one row per trial and evaluation (`CURVE_FRAME`).
        probes: one row per trial, evaluation, probe and layer (`PROBE_FRAME`); empty when probes were off.
        status: running, complete or incomplete.
        run_ids: MLflow ids of all runs of the study on the same data, this one among them, the newest first.
        siblings: complete runs of the study that differ from this one in the optimizer alone, the newest
            first; without curves and probes.
        replications: complete runs of the study on other seeds and another split, where they were asked for.
        run_ids_on_other_data: of the study's other runs, the newest first.
        damaged: what does not fit of trials that are left out for it, a line each; in `trials` they have the
            status `DAMAGED` and no numbers.
    """

    study: dict[str, Any]
    schema: dict[str, Any]
    decisions: dict[str, Any]
    environment: dict[str, Any]
    progress: dict[str, Any]
    run_id: str
    study_hash: str
    commit: str
    data_fingerprint: str
    trials: pd.DataFrame
    curves: pd.DataFrame
    probes: pd.DataFrame
    status: str = "complete"
    run_ids: tuple[str, ...] = ()
    siblings: tuple[Results, ...] = ()
    replications: tuple[Results, ...] = ()
    run_ids_on_other_data: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    steps_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def normalizations(self) -> list[str]:
        """Planned normalizations, in the study's order."""
        return list(self.study["variants"]["normalizations"])

    @property
    def activations(self) -> list[str]:
        """Planned activations, in the study's order."""
        return list(self.study["variants"]["activations"])

    @cached_property
    def planned(self) -> dict[str, Variant]:
        """Planned variants by name, grouped by activation."""
        planned = [Variant(n, a) for a in self.activations for n in self.normalizations]
        return {variant.name: variant for variant in planned}

    @property
    def variants(self) -> list[str]:
        """Names of the planned variants, grouped by activation."""
        return list(self.planned)

    def with_names(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the columns normalization and activation, by its column variant."""
        planned = [self.planned[name] for name in frame["variant"]]
        return frame.assign(
            normalization=[variant.normalization for variant in planned],
            activation=[variant.activation for variant in planned],
        )

    def words(self, normalization: str) -> str:
        """A normalization's name in words, such as `group normalization (4 groups)`."""
        return str(self.schema["normalizations"][normalization]["words"])

    @property
    def competitors(self) -> list[str]:
        """Planned normalizations that do not normalize but compete with it, such as an initialization."""
        return [name for name in self.normalizations if self.schema["normalizations"][name]["is_competitor"]]

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
        return str(self.schema["metrics"]["val_loss"]["unit"])

    @property
    def which_run(self) -> str:
        """Which of the study's runs this is, in a line; empty where there is no other."""
        others = [run_id for run_id in self.run_ids if run_id != self.run_id]
        if not others and not self.run_ids_on_other_data:
            return ""
        rank = "the newest" if self.run_id == self.run_ids[0] else "one"
        which = f"{rank} of the {len(self.run_ids)} runs" if others else "the only run"
        on_data = " on its data" if self.run_ids_on_other_data else ""
        named = [", ".join(others)] if others else []
        if self.run_ids_on_other_data:
            named.append(f"on other data {', '.join(self.run_ids_on_other_data)}")
        return (
            f"Run {self.run_id} (study hash {self.study_hash}) is {which} of study {self.study['name']}"
            f"{on_data}; --run ID reads another: {'; '.join(named)}"
        )
