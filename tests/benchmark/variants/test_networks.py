"""Placement, head, the fully connected family, and how weights start."""

import json
import math

import pytest
import torch
from made_networks import make_network
from made_trials import make_data, make_trial, run_trial, study_table
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from torch import nn

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.study.spec import StudySpec
from benchmark.training.step import dropout_masks
from benchmark.variants.data_start import start_from_data
from benchmark.variants.initializations import INITIALIZATIONS
from benchmark.variants.networks import AnyNetworkSpec, MlpSpec, NetworkSpec, build_network, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.networks.mlp import Mlp
from benchmark.variants.normalization import Place
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

SPECS = TypeAdapter(AnyNetworkSpec)
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


@pytest.mark.parametrize("placement", ["before", "after"])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer", "rms"])
def test_the_mlp_is_a_plain_stack_of_torchs_layers(normalization, placement):
    network = make_network(normalization, "sigmoid", family="mlp", placement=placement)
    size = network.units[0].linear.out_features
    build = {
        "none": nn.Identity,
        "batch": lambda: nn.BatchNorm1d(size, eps=1e-3, momentum=0.01),
        "layer": lambda: nn.LayerNorm(size, eps=1e-3),
        "rms": lambda: nn.RMSNorm(size, eps=1e-3),
    }[normalization]
    layers = []
    for unit in network.units:
        norm = build()
        norm.load_state_dict(unit.norm.state_dict())
        pair = [norm, nn.Sigmoid()] if placement == "before" else [nn.Sigmoid(), norm]
        layers += [unit.linear, *pair]
    plain = nn.Sequential(nn.Flatten(), *layers, network.dense)
    for mode in (True, False):
        torch.testing.assert_close(network.train(mode)(IMAGES), plain.train(mode)(IMAGES))


def test_the_mlp_of_the_mnist_experiment():
    """1502.03167, section 4.1: 28x28 input, three hidden layers of 100 sigmoid units, ten classes."""
    network = Mlp(MlpSpec(), Variant("batch", "sigmoid"), (1, 28, 28), 10)
    shapes = {name: tuple(layer.weight.shape) for name, layer in network.weighted_layers().items()}
    assert shapes == {
        "hidden1": (100, 784),
        "hidden2": (100, 100),
        "hidden3": (100, 100),
        "dense": (10, 100),
    }
    assert dropout_masks(network, 2, seeding.stream_key(0, "dropout"), torch.tensor(0)) is None


def test_the_mlp_drops_hidden_units():
    network = Mlp(MlpSpec(units=8, dropout=0.5), Variant("none", "tanh"), (1, 8, 8), 4)
    initialize(network, 0)
    masks = dropout_masks(network, 5, seeding.stream_key(0, "dropout"), torch.tensor(0))
    assert [tuple(mask.shape) for mask in masks] == [(5, 8, 1, 1)] * 3
    x = IMAGES.flatten(1)
    for unit, mask in zip(network.units, masks, strict=True):
        x = torch.tanh(unit.linear(x)) * mask[:, :, 0, 0] * 2
    torch.testing.assert_close(network(IMAGES, masks), network.dense(x))


def test_a_section_is_of_one_family_and_has_its_keys_alone():
    assert SPECS.validate_python({"blocks": 3}) == NetworkSpec(blocks=3)
    assert SPECS.validate_python({"family": "mlp", "units": 7}) == MlpSpec(units=7)
    for wrong in ({"family": "mlp", "blocks": 3}, {"units": 7}, {"family": "rnn"}, "mlp"):
        with pytest.raises(ValidationError):
            SPECS.validate_python(wrong)
    with pytest.raises(ValidationError, match="unknown initialization 'hee': did you mean 'he'"):
        NetworkSpec(init="hee")


def test_an_mlp_study_trains_and_is_probed(tmp_path):
    table = study_table(probes={"enabled": ["gradients", "activations"]})
    table["network"] = {"family": "mlp", "units": 12}
    study = StudySpec.model_validate_json(json.dumps(table))
    evaluations, outcome = run_trial(make_trial(study), make_data(), tmp_path)
    assert outcome.status == "trained"
    layers = {row["layer"]: row["index"] for row in evaluations[-1].probes}
    assert layers == {"hidden1": 0, "hidden2": 1, "hidden3": 2, "dense": 3}
    read = {row["probe"] for row in evaluations[-1].probes if row["layer"] == "hidden2"}
    assert {"gradient_norm", "preactivation_p50", "dead_share"} <= read


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


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_initializations_say_what_they_are_and_are_the_networks_choice(name):
    assert INITIALIZATIONS[name].description
    assert INITIALIZATIONS[name].source
    network = ConvNet(NetworkSpec(blocks=3, width=6, init=name), Variant("none", "relu"), (1, 8, 8), 4)
    initialize(network, 7)
    for layer, module in network.weighted_layers().items():
        expected = torch.empty_like(module.weight)
        INITIALIZATIONS[name].fill(expected, seeding.generator(7, "init", layer))
        assert torch.equal(module.weight.detach(), expected.detach())
        assert not module.bias.any()


@pytest.mark.parametrize("name", [name for name in NORMALIZATIONS if NORMALIZATIONS[name].init])
def test_a_variants_own_initialization_comes_before_the_studys(name):
    spec = NetworkSpec(blocks=3, width=6, init="gaussian")
    network = ConvNet(spec, Variant(name, "relu"), (1, 8, 8), 4)
    assert network.initialization is INITIALIZATIONS[NORMALIZATIONS[name].init]


@pytest.mark.parametrize("gain", [1.0, 0.1, 10.0])
@pytest.mark.parametrize("family", ["cnn", "mlp"])
def test_lsuv_starts_every_layer_at_variance_1_times_gain(family, gain):
    """1511.06422: of each layer's outputs on the images, the last included; a gain then scales weights."""
    images = make_data().train.take(slice(None))
    network = make_network("none-lsuv", "relu", family=family)
    initialize(network, 0, gain)
    start_from_data(network, images, gain)
    for layer in network.weighted_layers().values():
        layer.weight.data.div_(gain)
    stds = []
    for unit in network.units:
        unit.activation.register_forward_hook(lambda m, inputs, out: stds.append(inputs[0].std()))
    stds.append(network(images).std())
    torch.testing.assert_close(torch.stack(stds), torch.ones(len(network.units) + 1), atol=1e-3, rtol=0)


def test_lsuv_of_normalized_units_works_too_and_is_repeatable():
    images = make_data().train.take(slice(None))
    a, b = (make_network("batch", init="lsuv") for _ in range(2))
    for network in (a, b):
        start_from_data(network, images)
    out = a.units[0].weigh(images)
    assert out.std().item() == pytest.approx(1, rel=1e-4)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_a_gain_scales_the_initial_weights(gain):
    plain, scaled = make_network("none-he"), make_network("none-he")
    initialize(scaled, 0, gain)
    for a, b in zip(plain.weighted_layers().values(), scaled.weighted_layers().values(), strict=True):
        torch.testing.assert_close(b.weight, gain * a.weight)


def test_what_no_layer_can_have_is_refused_before_training():
    with pytest.raises(InputError, match="'group10'"):
        build_network(NetworkSpec(blocks=3, width=8), Variant("group10", "relu"), (1, 8, 8), 4, 100, 16)
    with pytest.raises(InputError, match="'instance'"):
        build_network(MlpSpec(), Variant("instance", "relu"), (1, 8, 8), 4, 100, 16)


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


def test_groups_of_one_channel_centre_each_map_as_instance_normalization_does():
    for norm, centred in (
        (NORMALIZATIONS["instance"], True),
        (NORMALIZATIONS["group4"], True),
        (NORMALIZATIONS["group2"], False),
        (NORMALIZATIONS["layer"], False),
        (NORMALIZATIONS["layer-channel"], False),
        (NORMALIZATIONS["rms"], False),
    ):
        module = norm.build(Place((4, 3, 3)))
        means = module(torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0))).mean((2, 3))
        assert (means.abs().max() < 1e-6) == centred == norm.centres_each_map(Place((4, 3, 3)))
