"""What is checked on a GPU, real or pretended, and the trials that it is checked with.

`test_gpu` checks the product, `test_pretend_gpu` the product with faults planted in it.
"""

import itertools
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pretend_gpu
import pytest
import torch
from made_networks import fitting_spec
from made_trials import contents_of, make_study, numbers_of

from benchmark.probes import PROBES
from benchmark.study.identity import trial_of
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.events import Evaluation
from benchmark.training.loop import train
from benchmark.training.losses import LOSSES
from benchmark.training.optimizers import OPTIMIZERS
from benchmark.training.population import Population
from benchmark.training.replica import Replica
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import NetworkSpec
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here"),
    ],
)
RATES = {"sgd": 0.05, "rmsprop": 1e-3, "adam": 1e-3, "adamw": 1e-3}
SMALL, CIFAR = (1, 8, 8), (3, 32, 32)
MOST_WAITS = 4
"""Of an interval: what the population reads of its steps, two scores, the probes."""


@dataclass(frozen=True)
class Case:
    """What is trained: every entry of every registry is in some case."""

    normalization: str
    activation: str
    optimizer: dict
    loss: dict
    network: dict
    image_shape: tuple[int, int, int] = SMALL
    schedule: str = "constant"

    def __str__(self):
        words = (
            self.normalization,
            self.activation,
            self.optimizer["name"],
            self.loss["name"],
            self.schedule,
        )
        return "-".join((*words, self.network["family"], str(self.image_shape[-1])))

    def trial(self, **fields):
        """Six steps, looked at after each second one; at the start, and each second time, from inside too."""
        study = make_study(
            variants={
                "normalizations": [self.normalization],
                "activations": [self.activation],
                "reference": f"{self.normalization}-{self.activation}",
            },
            network=self.network,
            optimizer=self.optimizer,
            loss=self.loss,
            schedule={"name": self.schedule},
            data={"augmentation": {}},
            probes={"enabled": list(PROBES), "every": 2, "num_images": 8},
        )
        variant, rate = Variant(self.normalization, self.activation), RATES[self.optimizer["name"]]
        fields = {"seed": 0, "walk_rate": 0.05, "num_steps": 6, "eval_every": 2} | fields
        return replace(trial_of(study, variant, rate, 0, "confirm", "made"), **fields)


def network_of(normalization, family=None):
    """A network's section: as small as the normalization lets it be."""
    spec = fitting_spec(normalization, family)
    shallow = {"blocks": 2} if isinstance(spec, NetworkSpec) else {}
    return spec.model_copy(update=shallow).model_dump()


# Lists of lengths without a common divisor, so that their entries meet in ever other pairs.
RULES = [*({"name": name} for name in OPTIMIZERS), {"name": "rmsprop", "epsilon_inside": True}]
DECAYED = {"name": "sgd", "weight_decay": 0.01}
JUDGES = [*({"name": name} for name in LOSSES), {"name": "cross-entropy", "label_smoothing": 0.1}]
CASES = [
    Case(normalization, activation, rule, judge, network_of(normalization))
    for normalization, activation, rule, judge in zip(
        NORMALIZATIONS, *map(itertools.cycle, (ACTIVATIONS, RULES, JUDGES)), strict=False
    )
]
OTHERS = [
    Case("batch", "relu", RULES[0], JUDGES[0], network_of("batch", "mlp")),
    Case("none-lsuv", "tanh", RULES[1], JUDGES[0], network_of("none-lsuv", "mlp")),
    Case("batch", "relu", RULES[0], JUDGES[0], network_of("batch", "resnet")),
    Case("group2", "elu", RULES[2], JUDGES[1], network_of("group2", "resnet")),
    Case("batch", "relu", RULES[0], JUDGES[0], {"family": "cnn", "blocks": 5, "width": 3}, CIFAR),
    Case("none", "sigmoid", RULES[1], JUDGES[2], {"family": "cnn", "blocks": 5, "width": 3}, CIFAR),
    Case(
        "batch", "relu", RULES[0], JUDGES[0], {"family": "resnet", "blocks_per_stage": 1, "width": 4}, CIFAR
    ),
    Case("batch", "relu", DECAYED, JUDGES[0], network_of("batch"), SMALL, "warmup-cosine"),
]
BATCH = Case("batch", "relu", RULES[0], JUDGES[0], network_of("batch"))


@contextmanager
def waits(device):
    """A list of what the host waited for, and copied to the device, while the block ran."""
    found = []
    if device.type == pretend_gpu.NAME:
        with pretend_gpu.watch() as seen:
            yield found
        found += seen.reads + seen.writes
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found += [warning for warning in warned if "synchronizing" in str(warning.message)]


def population_of(trials, data, folder):
    """The trials as rows, about to train."""
    replicas = [Replica(trial, data, Checkpoints(folder / trial.hash)) for trial in trials]
    states = [replica.state for replica in replicas]
    return Population.of(replicas[0].problem(), [replica.row() for replica in replicas], states)


def rows_for(case, engine, most=3):
    """Trials of a case that differ as rows of a population may: as many as the engine takes, or three."""
    rows = [{"seed": seed, "init_gain": 1.0 - 0.2 * seed} for seed in range(min(engine.max_rows, most))]
    return [case.trial(**row) for row in rows]


def check_numbers(case, data_of, device, folder):
    """On the pretend GPU a trial has the CPU's numbers to the bit; on others its first ones to rounding."""
    is_pretend = device.type == pretend_gpu.NAME
    num_steps = 2 if is_pretend else 1
    trial, cpu = case.trial(num_steps=num_steps, eval_every=num_steps), torch.device("cpu")
    expected = contents_of(trial, data_of(case, cpu), folder / "cpu")
    found = contents_of(trial, data_of(case, device), folder / device.type)
    if is_pretend:
        ours, theirs = numbers_of(found), numbers_of(expected)
        assert ours == theirs, difference_of(ours, theirs)
        return
    start, first = ((next(found), next(expected)) for _ in range(2))
    for name in start[1].row:
        if name.endswith(("norm", "loss", "loss_ema")):
            assert start[0].row[name] == pytest.approx(start[1].row[name], rel=1e-3, nan_ok=True), name
    for own, other in zip(start[0].probes, start[1].probes, strict=True):
        assert own["value"] == pytest.approx(other["value"], rel=1e-2, abs=1e-3, nan_ok=True), other
    # Of the step what it saw: where a gradient is nothing but rounding, some rules make it a whole step.
    for name in ("train_loss", "gradient_norm"):
        assert first[0].row[name] == pytest.approx(first[1].row[name], rel=1e-3), name


def difference_of(ours, theirs):
    """The first evaluations that differ, as far as they do."""
    for (row, probes, *_), (other, other_probes, *_) in zip(ours, theirs, strict=True):
        if (row, probes) != (other, other_probes):
            pairs = [*zip(row.items(), other.items(), strict=True), *zip(probes, other_probes, strict=True)]
            return [pair for pair in pairs if pair[0] != pair[1]]
    return []


def check_steps(case, data, engine, device, folder):
    """An engine's steps are asked for and not waited for, across an epoch's end."""
    population = population_of(rows_for(case, engine), data, folder)
    engine.advance(population.clone(), 1)  # what the first one needs is not a step's
    steps = len(data.train) // case.trial().batch_size + 1
    with waits(device) as found:
        engine.advance(population, steps)
    assert found == [], found
    assert population.state.step.tolist() == [steps] * len(population.rows)


def check_evaluations(case, data, device, folder):
    """An evaluation copies nothing to the device, and reads from it no more often than it must."""
    events = train([case.trial()], data, lambda _: Checkpoints(folder))
    for _ in range(2):  # first a trial is set up, then a population
        next(events)
    while True:
        with waits(device) as found:
            content = next(events).content
        if not isinstance(content, Evaluation):
            return  # the end writes files
        assert [note for note in found if getattr(note, "kind", "read") != "read"] == [], found
        assert len(found) <= MOST_WAITS, found


def everything(trials, data, engine, folder):
    """Trial hash -> what it produced, its last weights included."""
    contents = {trial.hash: [] for trial in trials}
    for event in train(trials, data, lambda trial: Checkpoints(folder / trial.hash), engine=engine):
        contents[event.trial.hash].append(event.content)
    return {
        key: (
            numbers_of(found),
            {name: value.tolist() for name, value in torch.load(folder / key / "last.pt").items()},
        )
        for key, found in contents.items()
    }
