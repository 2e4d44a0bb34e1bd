"""Batch normalization's defaults, two exact identities of it, and which normalizations centre a map."""

import pytest
import torch
from torch import nn

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
