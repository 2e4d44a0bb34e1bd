"""Activations. Add one as one entry of `ACTIVATIONS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Activation:
    """One elementwise nonlinearity.

    Attributes:
        build: makes the module.
        description: one line for people.
        source: where it was proposed.
        derivative_max: max |f'(x)|, by which the saturation probe scales; None where f does not saturate
            on both sides.
        has_dead_units: f and f' are zero for all x <= 0, so that a unit can be dead on a whole batch.
    """

    build: Callable[[], nn.Module]
    description: str
    source: str
    derivative_max: float | None = None
    has_dead_units: bool = False


ACTIVATIONS: Mapping[str, Activation] = {
    "sigmoid": Activation(
        nn.Sigmoid, "1 / (1 + exp(-x)), saturates on both sides", "Rumelhart et al. 1986", 0.25
    ),
    "tanh": Activation(nn.Tanh, "tanh(x), saturates on both sides", "LeCun et al. 1998", 1.0),
    "relu": Activation(nn.ReLU, "max(0, x)", "Nair & Hinton 2010", has_dead_units=True),
    "leaky-relu": Activation(nn.LeakyReLU, "x or 0.01 x", "Maas et al. 2013"),
    "elu": Activation(nn.ELU, "x or exp(x) - 1", "1511.07289"),
    "selu": Activation(nn.SELU, "scaled ELU, self-normalizing", "1706.02515"),
    "gelu": Activation(nn.GELU, "x Phi(x)", "1606.08415"),
    "silu": Activation(nn.SiLU, "x sigmoid(x)", "1606.08415; 1702.03118"),
    "softplus": Activation(nn.Softplus, "log(1 + exp(x))", "Dugas et al. 2001"),
    "hard-sigmoid": Activation(
        nn.Hardsigmoid,
        "clip(x / 6 + 1/2, 0, 1), saturates on both sides",
        "PyTorch; after 1511.00363, of slope 1/2",
        1 / 6,
    ),
    "hard-tanh": Activation(nn.Hardtanh, "clip(x, -1, 1), saturates on both sides", "Collobert 2004", 1.0),
    "hard-swish": Activation(nn.Hardswish, "x clip(x + 3, 0, 6) / 6", "1905.02244"),
}
