"""How long a study will take: from a few steps and one evaluation of each variant on this device."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from benchmark.contract import STAGES
from benchmark.data.datasets import DeviceData
from benchmark.study.identity import trial_of
from benchmark.study.plan import grid
from benchmark.study.spec import StudySpec
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.loop import train

_NUM_STEPS = 5


def measure(study: StudySpec, data: DeviceData) -> dict[str, float]:
    """Seconds per trial of each stage, mean over variants.

    A trial of `_NUM_STEPS` steps and one evaluation is run per variant and scaled up; nothing is kept.
    """
    steps, evaluations = [], []
    for variant in study.variants.product():
        trial = replace(
            trial_of(study, variant, grid(study)[0], 0, "sweep", data.fingerprint),
            num_steps=_NUM_STEPS,
            eval_every=_NUM_STEPS,
        )
        with tempfile.TemporaryDirectory() as folder:
            events = train([trial], data, lambda trial, folder=folder: Checkpoints(Path(folder)))  # type: ignore[misc]
            next(events)  # the evaluation at initialization
            began = time.perf_counter()
            row = next(events).content.row  # type: ignore[union-attr]
            seconds = time.perf_counter() - began
            events.close()  # type: ignore[attr-defined]
        # The warm-up step is in `seconds` but not in `train_seconds`.
        step = row["train_seconds"] / _NUM_STEPS
        steps.append(step)
        evaluations.append(max(seconds - row["train_seconds"] - step, 0.0))
    return {
        stage: study.budget.num_steps * fmean(steps)
        + fmean(evaluations) * (1 + trial_of(study, variant, 1.0, 0, stage, "").num_evaluations)
        for stage in STAGES
    }
