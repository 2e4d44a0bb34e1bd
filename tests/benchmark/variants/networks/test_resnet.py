"""The residual family, against torch's functions written out, and its sizes against the paper's."""

import math

import pytest
import torch
from made_networks import make_network
from made_trials import make_data, make_study, make_trial, run_trial
from pydantic import TypeAdapter, ValidationError
from torch import nn

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.training.step import dropout_masks, noise_draws
from benchmark.variants.data_start import start_from_data
from benchmark.variants.networks import (
    AnyNetworkSpec,
    MlpSpec,
    NetworkSpec,
    ResNetSpec,
    build_network,
    initialize,
)
from benchmark.variants.networks.resnet import ResNet
from benchmark.variants.variant import Variant

SPECS = TypeAdapter(AnyNetworkSpec)
IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def resnet(normalization="none", activation="relu", image_shape=(3, 32, 32), num_classes=10, **spec):
    return ResNet(ResNetSpec(**spec), Variant(normalization, activation), image_shape, num_classes)


def moved(network):
    """The network with no scale of 1, no shift, bias or residual scale of 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator) / 4)
    return network


@pytest.mark.parametrize(
    ("blocks_per_stage", "depth", "millions"),
    [(3, 20, 0.27), (5, 32, 0.46), (7, 44, 0.66), (9, 56, 0.85), (18, 110, 1.7)],
)
def test_sizes_are_those_of_the_papers_table_6(blocks_per_stage, depth, millions):
    network = resnet("batch", blocks_per_stage=blocks_per_stage)
    assert len(network.weighted_layers()) == depth
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.025)
    if depth == 20:  # without biases of convolutions, as usually built, 269,722
        assert count - sum(unit.layer.bias.numel() for unit in network.units) == 269_722


def test_the_shapes_of_resnet_20():
    network = resnet("batch")
    places = [unit.place for unit in network.hidden().values()]
    assert [place.shape for place in places] == ([(16, 32, 32)] * 7 + [(32, 16, 16)] * 6 + [(64, 8, 8)] * 6)
    assert [place.ends_branch for place in places] == [False, *[False, True] * 9]
    assert [place.is_last for place in places] == [False] * 18 + [True]
    assert list(network.weighted_layers()) == [*(f"conv{i}" for i in range(1, 20)), "dense"]
    assert network.dense.weight.shape == (10, 64)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def written_out(network, x, norm, act, scale):
    """Section 4.2 in torch's functions: a block of two convolutions, option A where the shape changes."""
    units = list(network.units)

    def conv(unit, x, stride=1):
        return nn.functional.conv2d(x, unit.conv.weight, unit.conv.bias, stride=stride, padding=1)

    x = act(norm(units[0], conv(units[0], x)))
    for block in range(3 * (len(units) // 6)):
        first, second = units[1 + 2 * block], units[2 + 2 * block]
        filters = first.conv.weight.shape[0]
        grows = filters != x.shape[1]
        out = act(norm(first, conv(first, x, 2 if grows else 1)))
        out = scale(second) * norm(second, conv(second, out))
        if grows:
            zeros = torch.zeros(len(x), filters - x.shape[1], *out.shape[2:])
            x = torch.cat([nn.functional.avg_pool2d(x, 1, stride=2), zeros], 1)
        x = act(out + x)
    x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
    return nn.functional.linear(x, network.dense.weight, network.dense.bias)


@pytest.mark.parametrize("blocks_per_stage", [1, 2])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer", "none-skip-init"])
def test_it_is_the_papers_network(normalization, blocks_per_stage):
    network = moved(
        resnet(normalization, "tanh", (1, 8, 8), width=6, blocks_per_stage=blocks_per_stage)
    ).train()
    norms = {
        "batch": lambda unit, x: nn.functional.batch_norm(
            x, None, None, unit.norm.weight, unit.norm.bias, training=True, eps=1e-3
        ),
        "layer": lambda unit, x: nn.functional.group_norm(x, 1, unit.norm.weight, unit.norm.bias, 1e-3),
    }

    def scale(unit):
        return unit.residual_scale if normalization == "none-skip-init" else 1.0

    expected = written_out(network, IMAGES, norms.get(normalization, lambda unit, x: x), torch.tanh, scale)
    torch.testing.assert_close(network(IMAGES), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("side", "sides"), [(4, (4, 2, 1)), (5, (5, 3, 2)), (7, (7, 4, 2)), (28, (28, 14, 7))]
)
def test_maps_are_halved_twice_upwards_from_odd_sides(side, sides):
    network = resnet(image_shape=(1, side, side + 1), width=4, blocks_per_stage=1)
    assert [network.units[i].place.shape[1] for i in (0, 3, 5)] == list(sides)
    assert network(torch.zeros(2, 1, side, side + 1)).shape == (2, 10)


def test_images_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(
        InputError, match=r"network.family: expected images of at least 4 x 4 .* found 3 x 9: use"
    ):
        resnet(image_shape=(1, 3, 9))


def test_groups_that_do_not_divide_its_widths_are_refused():
    with pytest.raises(InputError, match=r"'group10': expected .* 16 filters .* found 10: choose another"):
        resnet("group10")


def test_its_section():
    assert SPECS.validate_python({"family": "resnet"}) == ResNetSpec(blocks_per_stage=3, width=16, init="he")
    for wrong in (
        {"placement": "after"},
        {"dropout": 0.1},
        {"blocks": 3},
        {"blocks_per_stage": 0},
        {"width": 1},
    ):
        with pytest.raises(ValidationError):
            SPECS.validate_python({"family": "resnet", **wrong})


class TestSkipInit:
    def test_each_branch_has_a_scale_that_is_trained_and_starts_at_0(self):
        plain, network = resnet(), resnet("none-skip-init")
        names = {name for name, _ in network.named_parameters()} - {
            name for name, _ in plain.named_parameters()
        }
        assert names == {f"units.{i}.residual_scale" for i in range(2, 19, 2)}
        assert all(
            network.get_parameter(name).shape == () and network.get_parameter(name) == 0 for name in names
        )

    def test_at_first_blocks_are_their_shortcuts(self):
        """So the output is that of the stem alone, whatever the branches hold."""
        network, other = (make_network("none-skip-init", "tanh", seed=seed) for seed in (0, 1))
        other.units[0].load_state_dict(network.units[0].state_dict())
        other.dense.load_state_dict(network.dense.state_dict())
        assert torch.equal(network(IMAGES), other(IMAGES))
        x = network.units[0](IMAGES)
        for _ in range(3):
            x = torch.tanh(x)  # after each addition
        logits = nn.functional.linear(
            x[:, :, ::4, ::4].mean((2, 3)), network.dense.weight[:, : x.shape[1]], network.dense.bias
        )
        torch.testing.assert_close(network(IMAGES), logits)

    def test_at_first_branches_have_no_gradient_but_their_scales_have(self):
        network = make_network("none-skip-init", "tanh")
        network(IMAGES)[:, 0].sum().backward()
        for unit in list(network.units)[1:]:
            assert not unit.conv.weight.grad.any()
        assert network.units[0].conv.weight.grad.any()
        scales = [unit.residual_scale for unit in network.units if unit.residual_scale is not None]
        assert len(scales) == 3
        assert all(scale.grad != 0 for scale in scales)

    def test_it_trains(self, tmp_path):
        study = make_study(
            variants={"normalizations": ["none", "none-skip-init"], "reference": "none-relu"},
            network={"family": "resnet", "width": 6},
        )
        data = make_data()
        _, outcome = run_trial(make_trial(study, "none-skip-init-relu", learning_rate=0.02), data, tmp_path)
        assert outcome.status == "trained"
        weights = torch.load(tmp_path / "last.pt")
        assert all(weights[f"units.{i}.residual_scale"] != 0 for i in (2, 4, 6))

    @pytest.mark.parametrize("spec", [NetworkSpec(), MlpSpec()])
    def test_without_shortcuts_it_is_refused(self, spec):
        variant = Variant("none-skip-init", "relu")
        with pytest.raises(
            InputError, match=r"'none-skip-init': expected a network with shortcuts, .*: set network.family"
        ):
            build_network(spec, variant, (1, 32, 32), 10, 100, 16)


def test_it_drops_nothing_and_its_noise_is_of_each_unit():
    network = make_network("batch-noisy", family="resnet")
    key = seeding.stream_key(0, "noise")
    assert dropout_masks(network, 2, seeding.stream_key(0, "dropout"), torch.tensor(0)) is None
    draws = noise_draws(network, 5, key, 0)
    assert [tuple(draw.shape) for draw in draws] == [(12, *unit.place.shape) for unit in network.units]
    assert not torch.equal(network.train()(IMAGES, None, draws), network(IMAGES))


@pytest.mark.parametrize("name", ["weight", "weight-mean-batch"])
def test_weight_normalization_starts_with_mean_0_and_variance_1(name):
    network = make_network(name, family="resnet")
    start_from_data(network, IMAGES)
    seen = []
    for unit in network.units:
        unit.norm.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0]))
    network.train()(IMAGES)
    for x in seen:
        if name == "weight":
            torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(x.var((0, 2, 3), correction=0), torch.ones(x.shape[1]), atol=1e-2, rtol=0)
    assert len(seen) == 7


def test_initial_weights_are_he_normal():
    network = resnet()
    initialize(network, 0)
    weight = network.weighted_layers()["conv19"].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
