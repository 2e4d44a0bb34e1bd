"""What holds of every family: sections, names, initial weights."""

import math

import pytest
import torch
from made_networks import fitting_spec, make_network
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from benchmark.base.errors import InputError
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import AnyNetworkSpec, MlpSpec, NetworkSpec, build_network, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.norms import ANYWHERE, NORMALIZATIONS
from benchmark.variants.variant import Variant

SPECS = TypeAdapter(AnyNetworkSpec)


NOTEBOOK = NetworkSpec(blocks=5, width=60, dropout=0.15)


SMALL = NetworkSpec(blocks=3, width=6)


def test_a_section_is_of_one_family_and_has_its_keys_alone():
    assert SPECS.validate_python({"blocks": 3}) == NetworkSpec(blocks=3)
    assert SPECS.validate_python({"family": "mlp", "units": 7}) == MlpSpec(units=7)
    for wrong in ({"family": "mlp", "blocks": 3}, {"units": 7}, {"family": "rnn"}, "mlp"):
        with pytest.raises(ValidationError):
            SPECS.validate_python(wrong)
    with pytest.raises(ValidationError, match="unknown initialization 'hee': did you mean 'he'"):
        NetworkSpec(init="hee")


def test_what_no_layer_can_have_is_refused_before_training():
    with pytest.raises(InputError, match="'group10'"):
        build_network(NetworkSpec(blocks=3, width=8), Variant("group10", "relu"), (1, 8, 8), 4, 100, 16)
    with pytest.raises(InputError, match="'instance'"):
        build_network(MlpSpec(), Variant("instance", "relu"), (1, 8, 8), 4, 100, 16)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown normalization 'bacth': did you mean 'batch'"):
        ConvNet(SMALL, Variant("bacth", "relu"), (1, 8, 8), 4)
    with pytest.raises(InputError, match="unknown activation 'relue': did you mean 'relu'"):
        ConvNet(SMALL, Variant("batch", "relue"), (1, 8, 8), 4)


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


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_a_gain_scales_the_initial_weights(gain):
    plain, scaled = make_network("none-he"), make_network("none-he")
    initialize(scaled, 0, gain)
    for a, b in zip(plain.weighted_layers().values(), scaled.weighted_layers().values(), strict=True):
        torch.testing.assert_close(b.weight, gain * a.weight)
