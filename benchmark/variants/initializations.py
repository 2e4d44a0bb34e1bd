"""Initial weights. Add a scheme as one entry of `INITIALIZATIONS`.

Biases start at zero in all of them, and each layer draws from a generator of its own, so that layers of the
same shape get the same weights in every variant that starts alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Initialization:
    """One way to draw a layer's weights.

    Attributes:
        fill: draws weights [F, C, 3, 3] or [F, D] in place.
        description: one line for people.
        source: where it was proposed.
        takes_gain: whether a hidden layer's weights are then multiplied by its activation's gain.
        unit_variance: whether each layer is then scaled to outputs of variance 1 on training images.
    """

    fill: Callable[[Tensor, torch.Generator], Tensor]
    description: str
    source: str
    takes_gain: bool = False
    unit_variance: bool = False


def _orthogonal(weight: Tensor, generator: torch.Generator) -> Tensor:
    return nn.init.orthogonal_(weight, generator=generator)


_GAUSSIAN_STD = 0.1  # small next to a unit's input range; 1502.03167 says "small", not how small

INITIALIZATIONS: Mapping[str, Initialization] = {
    "glorot-uniform": Initialization(
        lambda weight, generator: nn.init.xavier_uniform_(weight, generator=generator),
        "U(-a, a), a = sqrt(6 / (fan-in + fan-out)): Keras' default, the source's",
        "Glorot & Bengio 2010",
    ),
    "he": Initialization(
        lambda weight, generator: nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator),
        "N(0, 2/fan-in)",
        "He et al. 2015 (1502.01852)",
    ),
    "lecun": Initialization(
        lambda weight, generator: nn.init.kaiming_normal_(weight, nonlinearity="linear", generator=generator),
        "N(0, 1/fan-in)",
        "LeCun et al. 1998; for selu, Klambauer et al. 2017 (1706.02515)",
    ),
    "orthogonal": Initialization(
        _orthogonal,
        "a random matrix with orthonormal rows or columns, times the activation's gain (sqrt 2 for relu)",
        "Saxe et al. 2014 (1312.6120)",
        takes_gain=True,
    ),
    "lsuv": Initialization(
        _orthogonal,
        "orthogonal, then layer by layer scaled to outputs of variance 1 on training images",
        "Mishkin & Matas 2016 (1511.06422)",
        unit_variance=True,
    ),
    "gaussian": Initialization(
        lambda weight, generator: nn.init.normal_(weight, std=_GAUSSIAN_STD, generator=generator),
        "N(0, 0.1^2), whatever the layer's size",
        "after the MNIST experiment of Ioffe & Szegedy 2015 (1502.03167, section 4.1)",
    ),
}
