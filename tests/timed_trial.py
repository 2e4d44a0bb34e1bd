"""Time a confirm trial of the CIFAR net, by what every commit since 4f644df has: for `against_commit.py`.

Prints one JSON object: part -> [wall, CPU] seconds, without the start of Python. A part of the trial is run:
a few steps, two evaluations of the study's own 5,000 + 5,000 images, the reading of the test split's 10,000.
The whole is composed of it: T steps, T / E + 1 evaluations, one reading. Images are random, one thread,
probes off (they are read at some evaluations alone).
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


def made_data(num_train, num_validation, num_test):
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
        test=split(num_test),
        clean_train=split(num_validation),
        reestimation=split(min(512, num_train)),
    )


def parts_of(width, normalization, num_steps, images, **options):
    """Time the parts: name -> (wall, CPU) seconds; `options` go to `train`."""
    torch.set_num_threads(1)  # as every trial has
    seeding.make_deterministic()
    study = load_study("cifar100", [f"network.width={width}"])
    whole = trial_of(study, Variant(normalization, "relu"), 1e-3, 1000, "confirm", "made")
    quiet = whole.probes.model_copy(update={"enabled": ()})
    part = dataclasses.replace(whole, num_steps=num_steps, eval_every=num_steps, probes=quiet)
    data = made_data(*images)
    marks, rows = [], []

    def mark():
        marks.append((time.perf_counter(), time.process_time()))

    mark()
    with tempfile.TemporaryDirectory() as folder:
        for event in train([part], data, lambda _: Checkpoints(Path(folder)), **options):
            mark()
            if isinstance(event.content, Evaluation):
                rows.append(event.content.row)
    (began, began_cpu), *_, (evaluated, evaluated_cpu), (ended, ended_cpu) = marks
    step = rows[-1]["train_seconds"] / num_steps
    busy = (evaluated_cpu - began_cpu) / (evaluated - began)  # CPU seconds per second of the clock
    # The time until the last evaluation, but for the steps and the one that warms up.
    evaluation = (evaluated - began - step * (num_steps + 1)) / len(rows)
    test = ended - evaluated, ended_cpu - evaluated_cpu
    evaluations = whole.num_evaluations + 1
    composed = whole.num_steps * step + evaluations * evaluation
    return {
        "step": (step, busy * step),
        "evaluation": (evaluation, busy * evaluation),
        "whole": (composed + test[0], busy * composed + test[1]),
    }


def main():
    """Time what the flags say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--normalization", default="batch")
    parser.add_argument(
        "--engine", help="a name of ENGINES, where the commit has it; default: the loop's own"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, nargs=3, default=(10_000, 5_000, 10_000))
    options = parser.parse_args()
    own = {}
    if options.engine:
        from benchmark.training.engines import ENGINES

        own = {"engine": ENGINES[options.engine]} if options.engine in ENGINES else {}
    print(json.dumps(parts_of(options.width, options.normalization, options.steps, options.images, **own)))


if __name__ == "__main__":
    main()
