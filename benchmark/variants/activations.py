"""Activations. Add one as one entry of `ACTIVATIONS`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn


@dataclass(frozen=True)
class Activation:
    """One elementwise nonlinearity.

    Attributes:
        build: makes the module.
        description: one line for people.
        source: where it was proposed.
        derivative_max: the least upper bound of |f'(x)|, by which the saturation probe scales.
        saturates: f'(x) vanishes towards an end, where f is not simply zero (that is `has_dead_units`).
        has_dead_units: f and f' are zero for all x <= 0, so that a unit can be dead on a whole batch.
        gain: by which orthogonal weights before it are multiplied: torch's recommendation
            (`nn.init.calculate_gain`), and 1 where it has none.
        dropped_to: what dropout sets a unit to: zero, or what alpha dropout does.
    """

    build: Callable[[], nn.Module]
    description: str
    source: str
    derivative_max: float
    saturates: bool = False
    has_dead_units: bool = False
    gain: float = 1.0
    dropped_to: float = 0.0

    @cached_property
    def unit_gain(self) -> float:
        """By what it is multiplied to give variance 1 of standard normal inputs: 1 / sqrt(var f(z)).

        Of ReLU sqrt(2 / (1 - 1/pi)) (Brock et al. 2021, 2101.08692, section 3.1). By the trapezoid rule.
        """
        z = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
        density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
        value = self.build()(z)
        mean = torch.trapezoid(value * density, z)
        return float(torch.trapezoid((value - mean).square() * density, z).rsqrt())


# SELU's slope left of 0 is scale * alpha * exp(x), right of it the scale; constants of 1706.02515, section 2.
_SELU_MAX = 1.0507009873554805 * 1.6732632423543772
_gain = nn.init.calculate_gain
# f' = Phi(x) + x phi(x) and f'' = (2 - x^2) phi(x), so the maximum is at x = sqrt(2).
_GELU_MAX = (1 + math.erf(1.0)) / 2 + math.exp(-1.0) / math.sqrt(math.pi)
# With s = sigmoid(x), f' = s + x s (1 - s), and f'' = 0 where x tanh(x / 2) = 2: f' = 1/2 + x/4 there.
_SILU_MAX = 0.5 + 2.3993572805154675 / 4

ACTIVATIONS: Mapping[str, Activation] = {
    "sigmoid": Activation(
        nn.Sigmoid,
        "1 / (1 + exp(-x)), saturates on both sides",
        "Rumelhart et al. 1986",
        0.25,
        saturates=True,
    ),
    "tanh": Activation(
        nn.Tanh,
        "tanh(x), saturates on both sides",
        "LeCun et al. 1998",
        1.0,
        saturates=True,
        gain=_gain("tanh"),
    ),
    "relu": Activation(
        nn.ReLU, "max(0, x)", "Nair & Hinton 2010", 1.0, has_dead_units=True, gain=_gain("relu")
    ),
    "leaky-relu": Activation(
        nn.LeakyReLU, "x or 0.01 x", "Maas et al. 2013", 1.0, gain=_gain("leaky_relu", 0.01)
    ),
    "elu": Activation(nn.ELU, "x or exp(x) - 1", "1511.07289", 1.0, saturates=True),
    "selu": Activation(
        nn.SELU,
        "scaled ELU, self-normalizing; dropped units take its least value (alpha dropout)",
        "1706.02515",
        _SELU_MAX,
        saturates=True,
        gain=_gain("selu"),
        dropped_to=-_SELU_MAX,
    ),
    "gelu": Activation(nn.GELU, "x Phi(x)", "1606.08415", _GELU_MAX, saturates=True),
    "silu": Activation(nn.SiLU, "x sigmoid(x)", "1606.08415; 1702.03118", _SILU_MAX, saturates=True),
    "softplus": Activation(nn.Softplus, "log(1 + exp(x))", "Dugas et al. 2001", 1.0, saturates=True),
    "hard-sigmoid": Activation(
        nn.Hardsigmoid,
        "clip(x / 6 + 1/2, 0, 1), saturates on both sides",
        "PyTorch; after 1511.00363, of slope 1/2",
        1 / 6,
        saturates=True,
    ),
    "hard-tanh": Activation(
        nn.Hardtanh, "clip(x, -1, 1), saturates on both sides", "Collobert 2004", 1.0, saturates=True
    ),
    # Its slope, (2 x + 3) / 6 between -3 and 3, is greatest just left of 3.
    "hard-swish": Activation(nn.Hardswish, "x clip(x + 3, 0, 6) / 6", "1905.02244", 1.5, saturates=True),
}
