"""A study of made-up trials through the real tracking code; `tracking_load.py` measures with it.

    python tests/made_load.py NUM_TRIALS FOLDER GROUP_SIZE

The study runs stage by stage as `run` does, but with an executor that trains nothing: it hands out made-up
curves and probes as a worker would, through a pipe's pickles.
"""

import math
import pickle
import random
import sys
import time
from collections import deque
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from tracking_load import overrides_for

from benchmark.base.environment import describe_environment
from benchmark.base.locks import FileLock
from benchmark.contract import CURVE_METRICS, DEAD_SHARE, SATURATED_SHARE
from benchmark.data.datasets import load
from benchmark.execution.choice import Choice, Cost
from benchmark.probes import PROBES
from benchmark.stages.run import run_study
from benchmark.stages.session import Session, StageObserver
from benchmark.stages.storage import open_storage
from benchmark.study.files import load_study
from benchmark.tracking.mlflow.study_log import MlflowStudyLog
from benchmark.training.events import Evaluation, Event, Outcome

NUM_CLASSES = 10
LAYERS = (*(f"conv{i}" for i in range(1, 7)), "dense")


@dataclass(frozen=True)
class Fate:
    """How a made-up trial goes, by where its rate lies beside its variant's edge of stability."""

    diverges: bool
    accuracy: float  # the final one
    time_constant: float  # steps


def fate_of(trial, rng):
    edge = {"none": -0.6, "none-he": -0.4}.get(trial.variant.normalization, 0.6)
    below = edge + rng.gauss(0, 0.2) - math.log10(trial.learning_rate)  # decades
    best = {"sigmoid": 0.6, "relu": 0.9}.get(trial.variant.activation, 0.8) + rng.gauss(0, 0.02)
    share = 0.0 if below < 0 else math.exp(-((below - 0.5) ** 2))
    return Fate(below < -0.5, 0.1 + (best - 0.1) * share, 0.15 * trial.num_steps * (1 + max(below, 0)))


def contents_of(trial):
    """Evaluations and the outcome of a trial, made up: always the same ones for the same trial."""
    rng = random.Random(trial.hash)
    fate = fate_of(trial, rng)
    last = trial.num_steps // 2 // trial.eval_every * trial.eval_every if fate.diverges else trial.num_steps
    rows = []
    for number, step in enumerate(range(0, last + 1, trial.eval_every)):
        ended = step == last
        row = row_of(trial, step, fate, rng, diverged=fate.diverges and ended)
        watched = number % trial.probes.every == 0 or ended
        rows.append(row)
        yield Evaluation(row, list(probes_of(trial, step, rng)) if watched else [])
    yield outcome_of(trial, rows, fate)


def row_of(trial, step, fate, rng, *, diverged):
    progress = 1 - math.exp(-step / fate.time_constant)
    accuracy = min(max(0.1 + (fate.accuracy - 0.1) * progress + rng.gauss(0, 0.01), 0.0), 1.0)
    loss = math.inf if diverged else -math.log(max(accuracy, 0.1)) + abs(rng.gauss(0, 0.02))
    row = dict.fromkeys(CURVE_METRICS, 0.0) | {
        "step": step,
        "epoch": step * trial.batch_size / 1078,
        "examples": step * trial.batch_size,
        "train_seconds": 0.004 * step * (1.2 if trial.variant.normalization == "batch" else 1.0),
        "learning_rate": trial.learning_rate,
        "parameter_norm": 8.0 + progress + rng.random(),
    }
    trained = {
        "train_loss": loss,
        "train_accuracy": accuracy,
        "gradient_norm": rng.random(),
        "examples_per_s": 8000.0 + 100 * rng.random(),
    }
    row |= trained if step else dict.fromkeys(trained, math.nan)
    for statistics in ("", "_ema"):
        row[f"val_loss{statistics}"] = loss + abs(rng.gauss(0, 0.02))
        row[f"clean_train_loss{statistics}"] = loss
        row[f"val_accuracy{statistics}"] = accuracy
        row[f"clean_train_accuracy{statistics}"] = min(accuracy + 0.02, 1.0)
    return row


def probes_of(trial, step, rng):
    of_activation = {"sigmoid": SATURATED_SHARE, "tanh": SATURATED_SHARE, "relu": DEAD_SHARE}
    skipped = {SATURATED_SHARE, DEAD_SHARE} - {of_activation.get(trial.variant.activation)}
    for enabled in trial.probes.enabled:
        for index, layer in enumerate(LAYERS if enabled == "gradients" else LAYERS[:-1]):
            for name in PROBES[enabled].metrics:
                if name not in skipped and (step or name != "update_ratio"):
                    value = rng.random() * 0.7 ** (len(LAYERS) - index)
                    yield {"step": step, "probe": name, "layer": layer, "index": index, "value": value}


def outcome_of(trial, rows, fate):
    last = rows[-1]
    best = min(rows, key=lambda row: row["val_loss"])
    metrics = {
        "num_steps_done": float(last["step"]),
        "num_parameters": 4845.0,
        "train_seconds": last["train_seconds"],
        "probe_seconds": 0.04,
        "best_val_loss": best["val_loss"],
        "best_val_step": float(best["step"]),
    }
    for name in ("val", "clean_train"):
        for statistics in ("", "_ema"):
            loss, accuracy = last[f"{name}_loss{statistics}"], last[f"{name}_accuracy{statistics}"]
            metrics[f"final_{name}_loss{statistics}"] = math.log(NUM_CLASSES) if fate.diverges else loss
            metrics[f"final_{name}_accuracy{statistics}"] = 1 / NUM_CLASSES if fate.diverges else accuracy
    if trial.reads_test:
        metrics |= {"test_loss": metrics["final_val_loss"], "test_accuracy": metrics["final_val_accuracy"]}
    trained = "trained" if metrics["final_val_accuracy"] > 0.16 else "stuck"
    status = "diverged" if fate.diverges else trained
    return Outcome(status, status, metrics)


class MakingUp:
    """An executor that trains nothing: groups' events, row by row, as they come out of a worker's pipe.

    Attributes:
        cpu_s: CPU time spent making things up, which no runner spends.
    """

    capacity = 2

    def __init__(self):
        self.cpu_s = 0.0
        self._queue = deque()

    def submit(self, group):
        self._queue.append(group)

    def events(self):
        began = time.process_time()
        group = self._queue.popleft()
        made = [
            [pickle.dumps(Event(trial, content)) for content in contents_of(trial)] for trial in group.trials
        ]
        together = [made[first : first + group.rows] for first in range(0, len(made), group.rows)]
        sent = [event for rows in together for turn in zip_longest(*rows) for event in turn if event]
        self.cpu_s += time.process_time() - began
        for event in sent:
            yield pickle.loads(event)


class Counting(StageObserver):
    """Counts the trials."""

    num_trials = 0

    def finished(self, trial, outcome):
        self.num_trials += 1


def make_study(num_trials, folder, group_size):
    """Run the study; how many trials it had, and CPU and wall seconds of the runner."""
    study = load_study("quick", overrides_for(num_trials))
    device = torch.device("cpu")
    data = load(study.data, device, folder / "data")
    uri, environment = f"sqlite:///{folder.resolve() / 'mlflow.db'}", describe_environment(device)
    MlflowStudyLog(uri, folder, study, data, environment, "").close(complete=False)  # MLflow is imported
    executor, counting = MakingUp(), Counting()
    choice = Choice("eager", group_size, Cost(0.0, 0.0), {})
    engines = dict.fromkeys(study.variants.product(), choice)
    cpu, wall = time.process_time(), time.monotonic()
    log = MlflowStudyLog(uri, folder, study, data, environment, "")
    storage = open_storage(folder / "optuna.db")
    session = Session(study, data, log, executor, engines, counting, storage, FileLock(), "")
    log.close(complete=run_study(session))
    cpu, wall = time.process_time() - cpu - executor.cpu_s, time.monotonic() - wall - executor.cpu_s
    return counting.num_trials, cpu, wall


def main():
    num_trials, folder, group_size = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    made, cpu, wall = make_study(num_trials, folder / "mlruns", group_size)
    print(f"tracking {made} trials: {1e3 * cpu / made:.1f} ms CPU, {1e3 * wall / made:.1f} ms wall per trial")


if __name__ == "__main__":
    main()
