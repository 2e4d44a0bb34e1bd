"""Batch normalization's defaults, identities of scale-invariant layers, and which norms centre a map."""

import pytest
import torch
from made_networks import make_network
from torch import nn

from benchmark.variants.layers import weights
from benchmark.variants.normalization import Place
from benchmark.variants.norms import NORMALIZATIONS


def test_batch_normalization_has_keras_defaults():
    norm = NORMALIZATIONS["batch"].build(Place((7, 4, 4)))
    assert (norm.num_features, norm.eps, norm.momentum) == (7, 1e-3, 0.01)


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


SCALE_INVARIANT = ("batch", "layer", "group2", "rms", "weight", "weight-std-group2")


@pytest.mark.parametrize("name", SCALE_INVARIANT)
@pytest.mark.parametrize(("rule", "power"), [(torch.optim.SGD, 2), (torch.optim.Adam, 1)])
def test_of_a_scale_invariant_layer_a_gain_is_another_rate(name, rule, power, monkeypatch):
    """From weights a times as large, a rate a^2 times as large takes the same way, a times as large.

    Of SGD: L(a w) = L(w), so the gradient at a w is 1/a of that at w. Adam takes the gradient's scale off, so
    there the rate has to be a times as large. (Van Laarhoven, 1706.05350, section 2; torch's own rules.)
    """
    monkeypatch.setattr(weights, "_STANDARD_EPS", 0.0)
    gain, ways = 3.0, []
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(16) % 4
    for factor in (1.0, gain):
        network = make_network(name, "tanh").double()
        exact(network)
        hidden, others = [], {id(parameter): parameter for parameter in network.parameters()}
        with torch.no_grad():
            for unit in network.hidden().values():
                # A bias is normalized with what it is added to, where outputs are.
                own = [unit.layer.weight] if "weight" in name else list(unit.layer.parameters())
                hidden += [others.pop(id(parameter)).mul_(factor) for parameter in own]
        groups = [
            {"params": hidden, "lr": 0.05 * factor**power},
            {"params": list(others.values()), "lr": 0.05},
        ]
        optimizer = rule(groups, lr=0.05, **({"eps": 1e-30} if rule is torch.optim.Adam else {}))
        way = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network.train()(images), labels)
            loss.backward()
            optimizer.step()
            way.append(loss.item())
        ways.append(way)
    assert ways[1] == pytest.approx(ways[0], rel=1e-6)
    assert abs(ways[0][-1] - ways[0][0]) > 1e-3


def exact(network):
    """Without the epsilons, up to which a normalized layer does not see its weights' scale."""
    for module in network.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-20


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
