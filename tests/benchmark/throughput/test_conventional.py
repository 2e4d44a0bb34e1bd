"""The conventional script trains the same network, on the same images, as the suite does."""

import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmark.data.augment import Augmentation
from benchmark.throughput.conventional import (
    Conventional,
    Pictures,
    num_cores,
    plain_network,
    plain_optimizer,
    transform_of,
)
from benchmark.throughput.nets import NETS, made_data
from benchmark.variants.networks import NetworkSpec, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.variant import Variant

CPU = torch.device("cpu")


def both(normalization, activation, *, dropout=0.0):
    """Our network and the plain one, in training mode, with equal weights; images and labels."""
    spec, shape = NetworkSpec(blocks=3, width=6, dropout=dropout), (3, 8, 8)
    ours = ConvNet(spec, Variant(normalization, activation), shape, 10)
    initialize(ours, 0)
    plain = plain_network(spec, normalization, activation, shape, 10)
    vector_to_parameters(parameters_to_vector(ours.parameters()).detach(), plain.parameters())
    generator = torch.Generator().manual_seed(1)
    return ours, plain, torch.randn(7, *shape, generator=generator), torch.arange(7)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_equal_weights_give_equal_logits_and_gradients(normalization, activation):
    """In training mode, and in evaluation after a pass that moved the running statistics."""
    ours, plain, images, labels = both(normalization, activation)
    found = []
    for network in (ours, plain):
        network.train()
        logits = network(images)
        nn.functional.cross_entropy(logits, labels).backward()
        gradient = torch.cat([parameter.grad.reshape(-1) for parameter in network.parameters()])
        network.eval()
        found.append((logits, gradient, network(images)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_dropout_stands_where_ours_does():
    """After the same poolings, on maps of the same shapes."""
    _, plain, images, _ = both("batch", "relu", dropout=0.25)
    ours = ConvNet(NetworkSpec(blocks=3, width=6, dropout=0.25), Variant("batch", "relu"), (3, 8, 8), 10)
    shapes = []
    for layer in plain:
        images = layer(images)
        if isinstance(layer, nn.Dropout):
            assert layer.p == 0.25
            shapes.append(tuple(images.shape[1:]))
    assert shapes == [tuple(shape) for shape in ours.dropout_shapes]


def test_the_optimizer_steps_as_the_suites_does():
    study = NETS["digits"].spec()
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = plain_optimizer(study, nn.ParameterList([parameter]))
    rate = torch.tensor(optimizer.param_groups[0]["lr"])
    ours = parameter.detach().clone()
    moments = study.optimizer.moments(ours)
    for step in range(3):
        gradient = torch.tensor([0.5, 3.0]) * (step + 1)
        parameter.grad = gradient.clone()
        optimizer.step()
        study.optimizer.update_(ours, gradient, moments, rate, torch.tensor(step))
    torch.testing.assert_close(parameter.detach(), ours)


@pytest.mark.parametrize("net", ["digits", "cifar-16"])
def test_pictures_are_scaled_as_the_suites_images(net):
    """Without augmentation: to rounding what a split gives."""
    split = made_data(NETS[net], CPU).train
    pictures = Pictures(split, transform_of(None, split))
    image, label = pictures[5]
    torch.testing.assert_close(image, split.take(slice(5, 6))[0], rtol=1e-5, atol=1e-5)
    assert label == int(split.labels[5])
    assert len(pictures) == len(split)


def test_the_augmentation_is_the_studys():
    split = made_data(NETS["cifar-16"], CPU).train
    mirrored = Pictures(split, transform_of(Augmentation(zoom=(1.0, 1.0), shear=0.0), split))
    own = split.take(slice(3, 4))[0]
    seen = [mirrored[3][0] for _ in range(20)]
    flipped = [torch.allclose(image, own.flip(-1), atol=1e-5) for image in seen]
    assert 0 < sum(flipped) < 20
    assert sum(torch.allclose(image, own, atol=1e-5) for image in seen) == 20 - sum(flipped)
    warped = Pictures(split, transform_of(Augmentation(flip=False), split))
    # A zoom near 1 leaves the nearest pixel what it was: not each picture is another one.
    assert sum(torch.allclose(warped[3][0], own, atol=1e-5) for _ in range(20)) < 10


def test_it_trains_and_its_workers_time_is_counted():
    study, data = NETS["cifar-16"].spec(), made_data(NETS["cifar-16"], CPU)
    script = Conventional(study, "batch", data)
    before = parameters_to_vector(script._network.parameters()).detach().clone()
    own = os.times()
    took = script.measure(3)
    children = os.times().children_user - own.children_user
    assert not torch.equal(before, parameters_to_vector(script._network.parameters()))
    assert took.wall > 0
    # Of all batches 3 are counted; what the workers did for those is more than nothing and not all.
    share = 3 / (3 + 2 * num_cores() + 1)
    assert took.cpu > 0.9 * children * share
    assert script.num_images == 80
    assert np.isfinite([took.wall, took.cpu]).all()
