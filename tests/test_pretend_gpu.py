"""The pretend GPU is not empty: faults planted in the product fail the checks of `gpu_checks`."""

import dataclasses

import gpu_checks
import pretend_gpu
import pytest
import torch
from made_trials import data_on, make_data
from pretend_gpu import DEVICE, watch
from torch import nn
from torch.func import functional_call, vmap

from benchmark.base import seeding
from benchmark.probes import PROBES
from benchmark.probes._view import Reading
from benchmark.training import evaluate, step
from benchmark.training.engines import ENGINES
from benchmark.training.losses import CrossEntropy
from benchmark.training.optimizers import Sgd
from benchmark.variants.norms import NORMALIZATIONS

CASE = gpu_checks.BATCH
HOST = torch.linspace(0.0, 1.0, 4)


class Centred(nn.BatchNorm2d):
    """A constant that nobody registered as a buffer stays where it was made."""

    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.centre = torch.zeros(num_channels, 1, 1)

    def forward(self, x):
        return super().forward(x) - self.centre


def in_the_loss(fault):
    """Plant it where both steps and evaluations pass; what it returns is added to the loss."""

    def plant(monkeypatch):
        plain = CrossEntropy.__call__

        def faulty(self, logits, labels, reduction="mean"):
            return plain(self, logits, labels, reduction) + 0.0 * fault(logits, labels)

        monkeypatch.setattr(CrossEntropy, "__call__", faulty)

    return plant


def in_the_rule(fault):
    """Plant it in the optimizer; what it returns is the learning rate."""

    def plant(monkeypatch):
        plain = Sgd.update_

        def faulty(self, parameters, gradient, moments, lr, step):
            plain(self, parameters, gradient, moments, fault(lr), step)

        monkeypatch.setattr(Sgd, "update_", faulty)

    return plant


def in_the_norm(monkeypatch):
    entry = dataclasses.replace(NORMALIZATIONS["batch"], build=lambda place: Centred(place.num_channels))
    monkeypatch.setitem(NORMALIZATIONS, "batch", entry)


def in_the_masks(monkeypatch):
    """Dropout from the device's own generator."""

    def faulty(network, batch_size, key, *others):
        shapes = [(batch_size, *shape) for shape in network.dropout_shapes]
        return [torch.rand(shape, device=key.device) > 0.1 for shape in shapes]

    monkeypatch.setattr(step, "dropout_masks", faulty)


def in_the_keys(monkeypatch):
    """A stream's key made anew for each draw."""
    plain = seeding.words

    def faulty(key, *others):
        return plain(key + 0 * seeding.stream_key(0, "order", key.device), *others)

    monkeypatch.setattr(seeding, "words", faulty)


# What fails, of `gpu_checks`, and what it says.
IN_A_STEP = {
    "a CPU tensor mixed in": (in_the_loss(lambda x, _: (x[0] * HOST).sum()), "same device"),
    "a constant of a layer left on the CPU": (in_the_norm, "same device"),
    "item": (in_the_loss(lambda x, _: x.detach().max().item()), "_local_scalar_dense"),
    "float": (in_the_rule(float), "_local_scalar_dense"),
    "tolist": (in_the_loss(lambda x, _: x.detach().max().tolist()), "_to_copy"),
    "a decision on a tensor": (in_the_loss(lambda x, _: 1.0 if x.max() > 0 else 0.0), "_local_scalar_dense"),
    "a copy on the host": (in_the_rule(lambda lr: lr.cpu().item()), "_to_copy"),
    "a mask as an index": (in_the_loss(lambda x, y: x[y == 0].sum()), "by a mask"),
    "nonzero": (in_the_loss(lambda x, y: y.nonzero().shape[0]), "nonzero"),
    "a comparison": (in_the_loss(lambda x, y: float(torch.equal(x, x))), "equal"),
    "a scalar from the host": (in_the_rule(lambda lr: torch.tensor(0.05, device=lr.device)), "write"),
    "indices of the CPU": (in_the_loss(lambda x, _: x[torch.tensor([0, 1])].sum()), "indices of the CPU"),
    "a list as an index": (in_the_loss(lambda x, _: x[[0, 1]].sum()), "write"),
    "a tensor of the CPU brought over": (in_the_loss(lambda x, _: HOST.to(x.device).sum()), "write"),
    "a gradient that copies": (in_the_loss(lambda x, y: x.gather(1, y[:, None]).sum()), "scatter_add"),
    "keys made anew": (in_the_keys, "write"),
    "draws from the device's generator": (in_the_masks, "own generator"),
    "a kernel that does not repeat": (
        in_the_loss(lambda x, _: nn.functional.adaptive_avg_pool2d(x[None, None], (3, 3)).sum()),
        "deterministic implementation",
    ),
    "memory read from the host": (in_the_loss(lambda x, _: float(x.detach().numpy().sum())), "numpy"),
}


@pytest.fixture(scope="module")
def data():
    return data_on(make_data(), DEVICE)


def steps_of(data, folder):
    gpu_checks.check_steps(CASE, data, ENGINES["eager"], DEVICE, folder)


def test_sound_steps_pass(data, tmp_path):
    steps_of(data, tmp_path)


@pytest.mark.parametrize("fault", IN_A_STEP)
def test_a_fault_in_a_step_is_caught(fault, data, tmp_path, monkeypatch):
    plant, words = IN_A_STEP[fault]
    plant(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError), match=words):
        steps_of(data, tmp_path)


def a_second_read(monkeypatch):
    plain = evaluate.scores

    def faulty(*arguments, **options):
        found = plain(*arguments, **options)
        float(torch.zeros((), device=DEVICE) + found[0][0].loss)
        return found

    monkeypatch.setattr("benchmark.training.engines._steps.scores", faulty)


def a_probe_that_reads_each_layer(monkeypatch):
    def observe(view):
        for layer, x in view.preactivations.items():
            yield Reading("preactivation_mean", layer, torch.zeros((), device=x.device) + x.mean().item())

    plant_probe(monkeypatch, observe)


def a_probe_with_levels_of_the_host(monkeypatch):
    def observe(view):
        for layer, x in view.preactivations.items():
            levels = torch.tensor([0.5], device=x.device)
            yield Reading("preactivation_mean", layer, torch.quantile(x[:, 0, 0, 0], levels)[0])

    plant_probe(monkeypatch, observe)


def plant_probe(monkeypatch, observe):
    monkeypatch.setitem(PROBES, "activations", dataclasses.replace(PROBES["activations"], observe=observe))


IN_AN_EVALUATION = {
    "a second read": a_second_read,
    "a read in the loss": in_the_loss(lambda x, _: x.detach().max().item()),
    "sizes from the host": in_the_loss(lambda x, y: torch.tensor(len(y), device=x.device)),
    "a read per layer in a probe": a_probe_that_reads_each_layer,
    "a copy per layer in a probe": a_probe_with_levels_of_the_host,
}


def test_sound_evaluations_pass(data, tmp_path):
    gpu_checks.check_evaluations(CASE, data, DEVICE, tmp_path)


@pytest.mark.parametrize("plant", IN_AN_EVALUATION.values(), ids=IN_AN_EVALUATION)
def test_a_fault_in_an_evaluation_is_caught(plant, data, tmp_path, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="Note"):
        gpu_checks.check_evaluations(CASE, data, DEVICE, tmp_path)


def test_other_numbers_are_caught(data, tmp_path, monkeypatch):
    """A rate that is off by one in its last place, on the device alone."""
    in_the_rule(lambda lr: lr * (1 + 1e-7) if lr.device == DEVICE else lr)(monkeypatch)
    with pytest.raises(AssertionError):
        gpu_checks.check_numbers(CASE, lambda _, device: data_on(make_data(), device), DEVICE, tmp_path)


def test_a_note_says_who_asked():
    with watch() as seen:
        torch.ones(3, device=DEVICE).sum().item()
    (note,) = seen.reads
    assert (note.operation, seen.writes) == ("_local_scalar_dense", [])
    assert note.line.startswith("tests/test_pretend_gpu.py:")


def test_what_the_device_is_like(tmp_path):
    """It has what the product takes of a device: views, files, scalars of the CPU as CUDA takes them."""
    base = torch.zeros(4, device=DEVICE)
    base[1:3].add_(1)
    assert base.tolist() == [0, 1, 1, 0]
    bound = nn.Parameter(torch.ones(2, device=DEVICE))
    bound.data = base[1:3]
    base.mul_(3)
    (slope,) = torch.autograd.grad(bound.square().sum(), bound)
    assert slope.tolist() == [6, 6]
    base.div_(3)
    torch.save({"base": base}, tmp_path / "base.pt")
    loaded = torch.load(tmp_path / "base.pt", map_location=DEVICE, weights_only=True)["base"]
    assert isinstance(loaded, pretend_gpu.PretendTensor)
    assert loaded.tolist() == base.tolist()
    assert (torch.ones(3, device=DEVICE) * torch.tensor(2.0)).tolist() == [2, 2, 2]


def gradients_on(device):
    """Of replicas side by side: grouped convolutions, and one network mapped over several sets of weights."""
    draws = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(shape, generator=draws).to(device)

    images, weight = drawn(5, 4 * 3, 8, 8), drawn(4 * 6, 3, 3, 3).requires_grad_()
    maps = nn.functional.conv2d(images, weight, groups=4, padding=1)
    grouped = torch.autograd.grad(maps.relu().square().sum(), weight)

    network = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6, track_running_stats=False),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 4),
    ).to(device)
    weights = {name: drawn(3, *own.shape).requires_grad_() for name, own in network.named_parameters()}
    labels = torch.arange(7, device=device) % 4

    def loss(own, batch):
        return nn.functional.cross_entropy(functional_call(network, own, (batch,)), labels)

    mapped = torch.autograd.grad(vmap(loss)(weights, drawn(3, 7, 3, 8, 8)).sum(), tuple(weights.values()))
    return [*grouped, *mapped]


def test_replicas_side_by_side_have_the_cpus_gradients():
    for ours, theirs in zip(gradients_on(DEVICE), gradients_on(torch.device("cpu")), strict=True):
        assert ours.device == DEVICE
        assert torch.equal(ours.cpu(), theirs)
