"""What a tracker is told, made up: an environment, evaluations, an outcome."""

import math

from benchmark.base.environment import Environment
from benchmark.contract import CURVE_METRICS, FINAL_METRICS
from benchmark.training.events import Evaluation, Outcome

ENVIRONMENT = Environment("cpu", "a processor", "a library", "c0ffee", git_dirty=False)


def evaluation(step, **values):
    row = dict.fromkeys(CURVE_METRICS, 0.5) | {
        "step": step,
        "examples": 16.0 * step,
        "train_seconds": step / 10,
    }
    if step == 0:
        row["train_loss"] = math.nan
    probes = [{"step": step, "probe": "gradient_norm", "layer": "conv1", "index": 0, "value": 1.5}]
    return Evaluation(row | values, probes)


def outcome(step, status="trained", **values):
    metrics = dict.fromkeys(FINAL_METRICS, 0.25) | {"num_steps_done": step, "train_seconds": step / 10}
    return Outcome(status, "stuck", metrics | values)
