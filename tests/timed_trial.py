"""Time a confirm trial of the CIFAR net, by what every commit since 4f644df has: for `against_commit.py`.

Prints one JSON object: part -> [wall, CPU] seconds of one replica, without the start of Python. Parts of it
are run: a few steps, two evaluations of the study's own 5,000 + 5,000 images. The whole is composed of
them: T steps, T / E + 1 evaluations. Left out are the reading of the test split, a hundredth of all
evaluations, and probes, which are read at some evaluations alone. Images are random; one thread. The
engine, and how many replicas train at once, are what the commit's `auto` takes; of a commit without it, the
only one.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import torch

from benchmark.base import seeding
from benchmark.data.datasets import DeviceData, Split
from benchmark.study.files import load_study
from benchmark.study.identity import trial_of
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.events import Evaluation
from benchmark.training.loop import train
from benchmark.variants.variant import Variant

SHAPE, NUM_CLASSES = (3, 32, 32), 100
MOST_REPLICAS = 8  # at once: a cell of the confirm stage has ten seeds


def made_data(num_train, num_validation):
    """Random images of CIFAR-100's shapes."""
    source = torch.Generator().manual_seed(0)

    def split(count):
        return Split(
            torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=source),
            torch.randint(0, NUM_CLASSES, (count,), generator=source),
            torch.full((3, 1, 1), 127.5),
            torch.full((3, 1, 1), 1 / 64),
        )

    return DeviceData(
        name="made",
        fingerprint="made",
        num_classes=NUM_CLASSES,
        class_names=tuple(map(str, range(NUM_CLASSES))),
        train=split(num_train),
        validation=split(num_validation),
        test=split(num_validation),
        clean_train=split(num_validation),
        reestimation=split(min(512, num_train)),
    )


def chosen(trial, data):
    """What the commit's `auto` takes: further arguments of `train`, and a number of replicas."""
    try:
        from benchmark.execution.choice import choose
        from benchmark.training.engines import AUTO, ENGINES
    except ImportError:
        return {}, 1
    choice = choose(trial, data, AUTO, MOST_REPLICAS)
    return {"engine": ENGINES[choice.engine]}, choice.rows


def parts_of(width, normalization, num_steps, images):
    """Time the parts: name -> (wall, CPU) seconds of one replica."""
    torch.set_num_threads(1)  # as every trial has
    seeding.make_deterministic()
    study = load_study("cifar100", [f"network.width={width}"])
    whole = trial_of(study, Variant(normalization, "relu"), 1e-3, 1000, "confirm", "made")
    data = made_data(*images)
    own, replicas = chosen(whole, data)
    quiet = whole.probes.model_copy(update={"enabled": ()})
    part = dataclasses.replace(
        whole, num_steps=num_steps, eval_every=num_steps, reads_test=False, probes=quiet
    )
    parts = [dataclasses.replace(part, seed=whole.seed + row) for row in range(replicas)]
    marks, trained = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for event in train(parts, data, lambda trial: Checkpoints(Path(folder) / trial.hash), **own):
            if isinstance(event.content, Evaluation):
                marks.append((time.perf_counter(), time.process_time()))
                if event.content.row["step"] == num_steps:
                    trained += event.content.row["train_seconds"]
    (began, began_cpu), (ended, ended_cpu) = marks[replicas - 1], marks[-1]
    busy = (ended_cpu - began_cpu) / (ended - began)  # CPU seconds per second of the clock
    step = trained / (replicas * num_steps)
    # From the last row's first evaluation to its last, but for the steps; one more warms up.
    evaluation = (ended - began - trained - replicas * step) / replicas
    composed = whole.num_steps * step + (whole.num_evaluations + 1) * evaluation
    found = {"step": step, "evaluation": evaluation, "whole": composed}
    return {name: (seconds, busy * seconds) for name, seconds in found.items()}


def main():
    """Time what the flags say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--normalization", default="batch")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, nargs=2, default=(10_000, 5_000), help="train, validation")
    options = parser.parse_args()
    print(json.dumps(parts_of(options.width, options.normalization, options.steps, options.images)))


if __name__ == "__main__":
    main()
