"""The fully connected family."""

import json

import pytest
import torch
from made_networks import make_network
from made_trials import make_data, make_trial, run_trial, study_table
from torch import nn

from benchmark.base import seeding
from benchmark.study.spec import StudySpec
from benchmark.training.step import dropout_masks
from benchmark.variants.networks import MlpSpec, initialize
from benchmark.variants.networks.mlp import Mlp
from benchmark.variants.variant import Variant

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


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
        x = torch.tanh(unit.linear(x)) * mask[:, :, 0, 0]
    torch.testing.assert_close(network(IMAGES, masks), network.dense(x))


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
