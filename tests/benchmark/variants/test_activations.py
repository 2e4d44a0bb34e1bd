"""Every activation and its derivative against their formulas, in NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import erf, expit

from benchmark.variants.activations import ACTIVATIONS

# 1706.02515, section 2.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1))


def elu_slope(x, alpha=1.0):
    return np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))


def inside(x, end):
    """1 between -end and end, 0 outside."""
    return (np.abs(x) < end).astype(float)


FORMULAS = {  # f, f'
    "sigmoid": (expit, lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1, 0)),
    "leaky-relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "elu": (elu, elu_slope),
    "selu": (lambda x: SELU_SCALE * elu(x, SELU_ALPHA), lambda x: SELU_SCALE * elu_slope(x, SELU_ALPHA)),
    "gelu": (
        lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
        lambda x: stats.norm.cdf(x) + x * stats.norm.pdf(x),
    ),
    "silu": (lambda x: x * expit(x), lambda x: expit(x) + x * expit(x) * expit(-x)),
    "softplus": (lambda x: np.log1p(np.exp(x)), expit),
    "hard-sigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: inside(x, 3) / 6),
    "hard-tanh": (lambda x: np.clip(x, -1, 1), lambda x: inside(x, 1)),
    "hard-swish": (
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(x > 3, 1, inside(x, 3) * (2 * x + 3) / 6),
    ),
}


def with_slope(name, x):
    """f(x) and f'(x) by autograd."""
    point = torch.from_numpy(x).requires_grad_()
    y = ACTIVATIONS[name].build()(point)
    (slope,) = torch.autograd.grad(y.sum(), point)
    return y.detach().numpy(), slope.numpy()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas(name):
    x = np.linspace(-12, 12, 4_000)  # of an even number: no kink (0, 1, 3) is on the grid
    for found, formula in zip(with_slope(name, x), FORMULAS[name], strict=True):
        np.testing.assert_allclose(found, formula(x), rtol=1e-7, atol=1e-12)  # torch has a 1/6 in float32


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivatives_maximum(name):
    """By autograd, on a grid that no maximum escapes by more than 1e-5."""
    _, slope = with_slope(name, np.linspace(-40, 40, 8_000_001))
    assert np.abs(slope).max() == pytest.approx(ACTIVATIONS[name].derivative_max, rel=1e-5)
    assert np.abs(slope).max() <= ACTIVATIONS[name].derivative_max * (1 + 1e-7)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_saturates_flattens_out(name):
    _, (left, right) = with_slope(name, np.array([-40.0, 40.0]))
    entry = ACTIVATIONS[name]
    flat = min(abs(left), abs(right)) < 1e-9 * entry.derivative_max
    assert flat == (entry.saturates or entry.has_dead_units)
    assert not (entry.saturates and entry.has_dead_units)
