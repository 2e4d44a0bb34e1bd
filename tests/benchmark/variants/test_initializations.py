"""Initial weights, against their distributions, and whose choice they are."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from benchmark.base import seeding
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.initializations import INITIALIZATIONS
from benchmark.variants.networks import NetworkSpec, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant


def draw(name, shape=(400, 30, 3, 3)):
    weight = torch.empty(shape)
    return INITIALIZATIONS[name].fill(weight, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "std"), [("he", math.sqrt(2 / 270)), ("lecun", math.sqrt(1 / 270)), ("gaussian", 0.1)]
)
def test_normal_initializations(name, std):
    sample = draw(name).flatten()[::7].numpy()
    assert stats.kstest(sample, stats.norm(0, std).cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", ["orthogonal", "lsuv"])
def test_orthogonal_initializations(name):
    rows = draw(name, (20, 30, 3, 3)).flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(20), atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_orthogonal_weights_are_times_the_activations_gain(activation):
    """As nn.init.orthogonal_ with nn.init.calculate_gain; the dense layer feeds no activation."""
    known = {"leaky-relu": ("leaky_relu", 0.01), **{n: (n,) for n in ("sigmoid", "tanh", "relu", "selu")}}
    gain = nn.init.calculate_gain(*known[activation]) if activation in known else 1.0
    spec = NetworkSpec(blocks=3, width=6)
    network = ConvNet(spec, Variant("none-orthogonal", activation), (1, 8, 8), 4)
    initialize(network, 7)
    for layer, module in network.weighted_layers().items():
        expected = nn.init.orthogonal_(
            torch.empty_like(module.weight),
            gain if layer != "dense" else 1.0,
            generator=seeding.generator(7, "init", layer),
        )
        torch.testing.assert_close(module.weight, expected)


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_initializations_say_what_they_are_and_are_the_networks_choice(name):
    assert INITIALIZATIONS[name].description
    assert INITIALIZATIONS[name].source
    network = ConvNet(NetworkSpec(blocks=3, width=6, init=name), Variant("none", "relu"), (1, 8, 8), 4)
    initialize(network, 7)
    for layer, module in network.weighted_layers().items():
        expected = torch.empty_like(module.weight)
        INITIALIZATIONS[name].fill(expected, seeding.generator(7, "init", layer))
        gain = math.sqrt(2.0) if name == "orthogonal" and layer != "dense" else 1.0
        assert torch.equal(module.weight.detach(), gain * expected.detach())
        assert not module.bias.any()


@pytest.mark.parametrize("name", [name for name in NORMALIZATIONS if NORMALIZATIONS[name].init])
def test_a_variants_own_initialization_comes_before_the_studys(name):
    spec = NetworkSpec(blocks=3, width=6, init="gaussian")
    network = ConvNet(spec, Variant(name, "relu"), (1, 8, 8), 4)
    assert network.initialization is INITIALIZATIONS[NORMALIZATIONS[name].init]
