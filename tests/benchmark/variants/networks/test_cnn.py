"""The notebook's family: sizes, placement and head, dropout, and what is refused."""

import pytest
import torch
from made_networks import make_network
from pydantic import ValidationError
from scipy import stats
from torch import nn

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.training.step import dropout_masks
from benchmark.variants.networks import NetworkSpec, build_network, initialize
from benchmark.variants.networks.cnn import ConvNet, check_blocks
from benchmark.variants.variant import Variant

NOTEBOOK = NetworkSpec(blocks=5, width=60, dropout=0.15)


SMALL = NetworkSpec(blocks=3, width=6)


IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", ["flatten", "average"])
@pytest.mark.parametrize("placement", ["before", "after"])
def test_placement_and_head_written_out(placement, head):
    network = make_network("batch", "tanh", placement=placement, head=head).eval()
    x = IMAGES
    for unit, pool in zip(network.units, network.pooled, strict=True):
        x = nn.functional.conv2d(x, unit.conv.weight, unit.conv.bias, padding=1)
        x = torch.tanh(unit.norm(x)) if placement == "before" else unit.norm(torch.tanh(x))
        x = nn.functional.max_pool2d(x, 2) if pool else x
    x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1) if head == "average" else x.flatten(1)
    expected = nn.functional.linear(x, network.dense.weight, network.dense.bias)
    torch.testing.assert_close(network(IMAGES), expected)


def test_the_average_head_sees_each_filter_once():
    heads = {
        head: ConvNet(NetworkSpec(head=head), Variant("none", "relu"), (3, 32, 32), 100)
        for head in ("flatten", "average")
    }
    assert heads["flatten"].dense.weight.shape == (100, 400)
    assert heads["average"].dense.weight.shape == (100, 100)


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


def test_dropout_keeps_its_share_of_units():
    network = ConvNet(NOTEBOOK, Variant("none", "relu"), (3, 32, 32), 100)
    masks = dropout_masks(network, 20, seeding.stream_key(0, "dropout"), torch.tensor(0))
    assert [tuple(mask.shape) for mask in masks] == [(20, *shape) for shape in network.dropout_shapes]
    factors = torch.cat([mask.flatten() for mask in masks])
    kept = factors > 0
    assert set(factors.tolist()) == {0.0, torch.tensor(1 / 0.85).item()}
    assert stats.binomtest(int(kept.sum()), kept.numel(), 0.85).pvalue > 0.01


def test_dropout_scales_what_it_keeps_up():
    """On the last pooled feature map, of which the rest of the network is a known function."""
    network = ConvNet(SMALL, Variant("none", "relu"), (1, 8, 8), 4)
    initialize(network, 0)
    images = torch.rand(3, 1, 8, 8)
    scale = 1 / 0.85
    all_kept = [torch.full((3, *shape), scale) for shape in network.dropout_shapes]
    some_kept = [all_kept[0], torch.where(torch.rand(3, *network.dropout_shapes[1]) < 0.5, scale, 0.0)]

    x = images
    for unit, pool in zip(network.units[:4], network.pooled, strict=False):
        x = unit(x)
        x = scale * nn.functional.max_pool2d(x, 2) if pool else x
    x = torch.where(some_kept[1] > 0, x, 0.0)
    x = network.dense(network.units[5](network.units[4](x)).flatten(1))

    torch.testing.assert_close(network(images, some_kept), x)
    assert not torch.allclose(network(images, some_kept), network(images))


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5])
def test_of_selu_it_is_alpha_dropout(rate):
    """As torch's own is of the units that it drops; and mean and variance stay as they were."""
    network = ConvNet(NetworkSpec(blocks=3, width=6, dropout=rate), Variant("none", "selu"), (1, 8, 8), 4)
    x = torch.randn(400, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):  # of the CPU alone: the pretend GPU has no generator
        torch.manual_seed(0)
        expected = nn.functional.alpha_dropout(x, rate, training=True)
    values, counts = expected.unique(return_counts=True)
    kept = expected != values[counts.argmax()]
    assert stats.binomtest(int(kept.sum()), kept.numel(), 1 - rate).pvalue > 1e-3
    mask = kept / (1 - rate)
    found = network._drop(x, iter([mask]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.mean().item() == pytest.approx(0, abs=0.03)
    assert found.var().item() == pytest.approx(1, abs=0.03)


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


def average_of_the_last_maps(variant, placement, *, image_side=8, batch_size=16):
    spec = NetworkSpec(blocks=3, width=6, head="average", placement=placement)
    return build_network(spec, variant, (1, image_side, image_side), 4, 100, batch_size)


def test_averages_that_are_the_same_for_every_image_are_refused():
    """Of maps of mean 0, as they are or through what is linear within sqrt(n - 1) of n positions."""
    message = (
        "network.head: expected 'flatten' for normalization '{}' with {} .* found 'average': use 'flatten'"
    )
    instance, hard = Variant("instance", "relu"), Variant("instance", "hard-sigmoid")
    with pytest.raises(InputError, match=message.format("instance", "placement 'after'")):
        average_of_the_last_maps(instance, "after")
    with pytest.raises(
        InputError, match=message.format("instance", "activation 'hard-sigmoid' on maps of 4")
    ):
        average_of_the_last_maps(hard, "before")
    for name in ("batch", "batch-last", "weight-mean-batch"):
        cause = "placement 'after' and budget.batch_size 1"
        with pytest.raises(InputError, match=message.format(name, cause)):
            average_of_the_last_maps(Variant(name, "relu"), "after", batch_size=1)
        average_of_the_last_maps(Variant(name, "relu"), "before", batch_size=1)
        average_of_the_last_maps(Variant(name, "relu"), "after", batch_size=2)
    average_of_the_last_maps(instance, "before")
    average_of_the_last_maps(hard, "before", image_side=16)  # of 16 positions, one may lie beyond 3
    average_of_the_last_maps(Variant("group2", "relu"), "after")
    average_of_the_last_maps(Variant("none", "hard-sigmoid"), "after", batch_size=1)
