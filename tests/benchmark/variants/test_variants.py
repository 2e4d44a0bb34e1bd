"""The network: sizes, initial weights, dropout, and two exact identities of batch normalization."""

import math

import pytest
import torch
from made_networks import fitting_spec
from pydantic import ValidationError
from scipy import stats
from torch import nn

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.training.step import dropout_masks
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import NetworkSpec, initialize
from benchmark.variants.networks.cnn import ConvNet, check_blocks
from benchmark.variants.normalization import Place
from benchmark.variants.norms import ANYWHERE, NORMALIZATIONS
from benchmark.variants.variant import Variant

NOTEBOOK = NetworkSpec(blocks=5, width=60, dropout=0.15)
SMALL = NetworkSpec(blocks=3, width=6)


def count(tensors):
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize(
    ("normalization", "num_trainable", "num_with_statistics"),
    [("none", 413_200, 413_200), ("batch", 414_560, 415_920)],
)
def test_the_notebooks_parameter_counts(normalization, num_trainable, num_with_statistics):
    network = ConvNet(NOTEBOOK, Variant(normalization, "relu"), (3, 32, 32), 100)
    statistics = [b for name, b in network.named_buffers() if not name.endswith("num_batches_tracked")]
    assert count(network.parameters()) == num_trainable
    assert num_trainable + count(statistics) == num_with_statistics


def test_the_shapes_of_the_notebooks_network():
    network = ConvNet(NOTEBOOK, Variant("batch", "sigmoid"), (3, 32, 32), 100)
    assert [unit.conv.weight.shape[:2] for unit in network.units] == [
        (60, 3),
        *[(60, 60)] * 7,
        (100, 60),
        (100, 100),
    ]
    assert network.pooled == [False, True] * 4 + [False, False]
    assert network.dropout_shapes == [(60, 16, 16), (60, 8, 8), (60, 4, 4), (60, 2, 2)]
    assert network.dense.weight.shape == (100, 400)
    assert list(network.weighted_layers()) == [*(f"conv{i}" for i in range(1, 11)), "dense"]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


def test_batch_normalization_has_keras_defaults():
    norm = NORMALIZATIONS["batch"].build(Place((7, 4, 4)))
    assert (norm.num_features, norm.eps, norm.momentum) == (7, 1e-3, 0.01)


@pytest.mark.parametrize("normalization", ANYWHERE)
def test_all_variants_of_a_seed_start_from_the_same_weights(normalization):
    """All but those that stand for another initialization."""
    spec = fitting_spec(normalization)

    def weights(normalization, activation, seed):
        network = ConvNet(spec, Variant(normalization, activation), (1, 8, 8), 10)
        initialize(network, seed)
        return {name: layer.weight.detach() for name, layer in network.weighted_layers().items()}

    expected, others = weights("none", "relu", 0), weights("none", "relu", 1)
    for activation in ACTIVATIONS if normalization in ("none", "batch") else ("tanh",):
        found = weights(normalization, activation, 0)
        same = [torch.equal(found[name], weight) for name, weight in expected.items()]
        assert same == [NORMALIZATIONS[normalization].init is None] * len(expected)
    assert not any(torch.equal(others[name], weight) for name, weight in expected.items())


def test_initial_weights_are_glorot_uniform_and_biases_zero():
    network = ConvNet(NOTEBOOK, Variant("batch", "relu"), (3, 32, 32), 100)
    initialize(network, 0)
    for layer in network.weighted_layers().values():
        weight = layer.weight.detach()
        area = weight[0, 0].numel()  # Glorot & Bengio 2010, equation 16; of a convolution: per position
        bound = math.sqrt(6 / (area * (weight.shape[0] + weight.shape[1])))
        assert weight.abs().max() <= bound
        assert stats.kstest(weight.flatten().numpy(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.001
        assert not layer.bias.any()
    for unit in network.units:
        assert torch.equal(unit.norm.weight, torch.ones_like(unit.norm.weight))
        assert not unit.norm.bias.any()


def test_layers_of_one_shape_start_differently():
    network = ConvNet(NOTEBOOK, Variant("none", "relu"), (3, 32, 32), 100)
    initialize(network, 0)
    assert not torch.equal(network.units[1].conv.weight, network.units[2].conv.weight)


def test_dropout_keeps_its_share_of_units():
    network = ConvNet(NOTEBOOK, Variant("none", "relu"), (3, 32, 32), 100)
    masks = dropout_masks(network, 20, seeding.stream_key(0, "dropout"), torch.tensor(0))
    assert [tuple(mask.shape) for mask in masks] == [(20, *shape) for shape in network.dropout_shapes]
    kept = torch.cat([mask.flatten() for mask in masks])
    assert kept.dtype == torch.bool
    assert stats.binomtest(int(kept.sum()), kept.numel(), 0.85).pvalue > 0.01


def test_dropout_scales_what_it_keeps_up():
    """On the last pooled feature map, of which the rest of the network is a known function."""
    network = ConvNet(SMALL, Variant("none", "relu"), (1, 8, 8), 4)
    initialize(network, 0)
    images = torch.rand(3, 1, 8, 8)
    all_kept = [torch.ones(3, *shape, dtype=torch.bool) for shape in network.dropout_shapes]
    some_kept = [all_kept[0], torch.rand(3, *network.dropout_shapes[1]) < 0.5]
    scale = 1 / 0.85

    x = images
    for unit, pool in zip(network.units[:4], network.pooled, strict=False):
        x = unit(x)
        x = scale * nn.functional.max_pool2d(x, 2) if pool else x
    x = torch.where(some_kept[1], x, 0.0)
    x = network.dense(network.units[5](network.units[4](x)).flatten(1))

    torch.testing.assert_close(network(images, some_kept), x)
    assert not torch.allclose(network(images, some_kept), network(images))


def test_no_dropout_means_no_masks():
    network = ConvNet(NetworkSpec(blocks=3, width=3, dropout=0.0), Variant("none", "relu"), (1, 8, 8), 4)
    assert dropout_masks(network, 2, seeding.stream_key(0, "dropout"), torch.tensor(0)) is None


@pytest.mark.parametrize(("side", "most"), [(4, 3), (7, 3), (8, 4), (28, 5), (32, 6)])
def test_blocks_must_leave_something_of_the_image(side, most):
    check_blocks(most, side, side + 5)
    network = ConvNet(NetworkSpec(blocks=most, width=3), Variant("none", "relu"), (1, side, side), 2)
    assert network(torch.zeros(1, 1, side, side)).shape == (1, 2)
    with pytest.raises(
        InputError, match=rf"network.blocks: expected at most {most} .* found {most + 1}: lower"
    ):
        ConvNet(NetworkSpec(blocks=most + 1, width=3), Variant("none", "relu"), (1, side, side), 2)


def test_one_block_pools_and_drops_nothing():
    network = ConvNet(NetworkSpec(blocks=1, width=6), Variant("batch", "relu"), (3, 8, 8), 4)
    assert [unit.conv.weight.shape[:2] for unit in network.units] == [(10, 3), (10, 10)]
    assert network.pooled == [False, False]
    assert not dropout_masks(network, 2, seeding.stream_key(0, "dropout"), torch.tensor(0))
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize("bad", [{"blocks": 0}, {"width": 2}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_networks_are_refused(bad):
    with pytest.raises(ValidationError):
        NetworkSpec(**bad)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown normalization 'bacth': did you mean 'batch'"):
        ConvNet(SMALL, Variant("bacth", "relu"), (1, 8, 8), 4)
    with pytest.raises(InputError, match="unknown activation 'relue': did you mean 'relu'"):
        ConvNet(SMALL, Variant("batch", "relue"), (1, 8, 8), 4)


@pytest.mark.parametrize("factor", [0.1, 10.0, 1000.0])
def test_batch_normalization_undoes_a_weights_scale(factor):
    """Section 7's identities: BN((aW)u) = BN(Wu), and d/d(aW) = (1/a) d/dW, up to eps."""
    torch.manual_seed(0)
    images, cotangent = torch.randn(16, 3, 6, 6).double(), torch.randn(16, 5, 6, 6).double()
    weight = torch.randn(5, 3, 3, 3).double()
    norm = NORMALIZATIONS["batch"].build(Place((5, 6, 6))).double().train()
    norm.eps = 1e-12  # the identity holds up to eps

    def normalized(weight):
        weight = weight.clone().requires_grad_()
        out = norm(nn.functional.conv2d(images, weight, padding=1))
        (gradient,) = torch.autograd.grad((out * cotangent).sum(), weight)
        return out, gradient

    out, gradient = normalized(weight)
    scaled_out, scaled_gradient = normalized(factor * weight)
    torch.testing.assert_close(scaled_out, out, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(scaled_gradient * factor, gradient, rtol=1e-6, atol=1e-8)
