"""Small data, studies and trials for the tests: milliseconds each, and learnable."""

import json
from dataclasses import replace

import numpy as np
import torch

from benchmark.data.datasets import DeviceData, Split, channel_statistics
from benchmark.study.identity import trial_of
from benchmark.study.spec import StudySpec
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.events import Evaluation, Outcome
from benchmark.training.loop import train
from benchmark.training.replica import Replica
from benchmark.training.step import StreamKeys, step
from benchmark.variants.variant import Variant

NUM_CLASSES = 4
TIMINGS = {"train_seconds", "examples_per_s", "probe_seconds"}
"""What differs between two runs of a trial that are otherwise equal to the bit."""


SMALL_TOML = """
[optimizer]
name = "sgd"
momentum = 0.5

[budget]
num_steps = 100
batch_size = 16
eval_every = 10
confirm_eval_every = 2

[search]
low = 1e-3
high = 1
num_rates = 4

[seeds]
sweep = 6
confirm = 6
"""
"""What a small study's file says of training: of the sections with keys that have no default, and SGD."""


def make_data(*, num_train=96, num_validation=64, shape=(1, 8, 8), num_classes=NUM_CLASSES, seed=0):
    """Images of `num_classes` random patterns under noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(40, 216, (num_classes, *shape))

    def images_of(count):
        labels = np.arange(count) % num_classes
        noisy = patterns[labels] + rng.normal(0, 25, (count, *shape))
        return noisy.clip(0, 255).astype(np.uint8), labels.astype(np.int64)

    train_images, train_labels = images_of(num_train)
    mean, variance = channel_statistics(train_images)

    def split(images, labels):
        return Split(
            torch.from_numpy(images),
            torch.from_numpy(labels),
            torch.from_numpy(mean[:, None, None]).float(),
            torch.from_numpy(variance[:, None, None] ** -0.5).float(),
        )

    train = split(train_images, train_labels)
    return DeviceData(
        name="made",
        fingerprint="made",
        num_classes=num_classes,
        class_names=tuple(map(str, range(num_classes))),
        train=train,
        validation=split(*images_of(num_validation)),
        test=split(*images_of(num_validation)),
        clean_train=split(train_images[:num_validation], train_labels[:num_validation]),
        reestimation=train,
    )


def data_on(data, device):
    """The same data on a device."""
    splits = {
        name: Split(*(tensor.to(device) for tensor in vars(split).values()))
        for name, split in vars(data).items()
        if isinstance(split, Split)
    }
    return replace(data, **splits)


def study_table(**sections):
    """The TOML table of a small study; `sections` are merged into its own, but for a network of a family."""
    table = {
        "name": "made",
        "description": "for tests",
        "variants": {"normalizations": ["none", "batch"], "activations": ["relu"], "reference": "batch-relu"},
        "network": {"blocks": 3, "width": 3},
        "budget": {"num_steps": 50, "batch_size": 16, "eval_every": 10, "confirm_eval_every": 1},
        "search": {"low": 0.001, "high": 10.0, "num_rates": 5},
        "seeds": {"sweep": 6, "confirm": 6},
    }
    for name, value in sections.items():
        merges = isinstance(value, dict) and "family" not in value
        table[name] = {**table.get(name, {}), **value} if merges else value
    return table


def make_study(**sections):
    """A small study; `sections` are merged into its sections."""
    return StudySpec.model_validate_json(json.dumps(study_table(**sections)))


def make_trial(study, variant="batch-relu", *, learning_rate=0.1, seed=0, stage="sweep", **own):
    """A trial of a study on `make_data`'s images."""
    normalization, _, activation = variant.rpartition("-")
    return trial_of(study, Variant(normalization, activation), learning_rate, seed, stage, "made", **own)


def replica_of(trial, data, folder):
    """A trial that is about to train, or to go on."""
    return Replica(trial, data, Checkpoints(folder))


def contents_of(trial, data, folder, **options):
    """What a trial produces, one after another, while it trains."""
    for event in train([trial], data, lambda _: Checkpoints(folder), **options):
        yield event.content


def run_trial(trial, data, folder):
    """Run a trial to its end: its evaluations and its outcome."""
    *evaluations, outcome = contents_of(trial, data, folder)
    assert isinstance(outcome, Outcome)
    return evaluations, outcome


def without_timings(row):
    """A row of curves, or final metrics, without what the clock put there; NaN as a word, to compare."""
    return {key: str(value) for key, value in row.items() if key not in TIMINGS}


def numbers_of(contents):
    """What a trial produced, without timings: comparable to the bit."""
    return [
        (without_timings(content.row), [without_timings(row) for row in content.probes])
        if isinstance(content, Evaluation)
        else (content.status, content.status_ema, without_timings(content.metrics))
        for content in contents
    ]


def step_alone(problem, state, index, keys, lr):
    """A step of a single replica's state, in place; [3], its row of what `step` gives."""
    rows = state._each(lambda tensor: tensor.unsqueeze(0))
    return step(problem, problem.bind(rows), rows, index[None], StreamKeys.stack([keys]), lr.view(1, 1))[0]
