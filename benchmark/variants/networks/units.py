"""Hidden units: a layer with weights, its normalization, its activation, in the order that `placement` says.

Shapes: N images, C channels, H x W positions, F filters.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.base.errors import InputError
from benchmark.variants.activations import Activation
from benchmark.variants.layers.weights import WeightNorm
from benchmark.variants.norms import Normalization, Place, centres_each_map

Placement = Literal["before", "after"]


class Unit(nn.Module):
    """[N, C, H, W] -> [N, F, H, W].

    Args:
        layer_name: what the layer is called among the parameters.
        layer: has the weights.
        normalization: what to normalize by.
        activation: its nonlinearity.
        place: where it stands; its shape is that of the layer's output.
        placement: whether the normalization comes before the activation or after it.
    """

    activation: nn.Module
    norm: nn.Module

    def __init__(
        self,
        layer_name: str,
        layer: nn.Conv2d | nn.Linear,
        normalization: Normalization,
        activation: Activation,
        place: Place,
        placement: Placement,
    ) -> None:
        super().__init__()
        self._layer_name = layer_name
        self.add_module(layer_name, layer)
        self.reparametrization: nn.Module | None = None
        if normalization.reparametrize is not None:
            self.reparametrization = normalization.reparametrize(place.num_channels)
        self.norm = normalization.build(place)
        self.activation = activation.build()
        self.place = place
        self.placement = placement
        self.takes_noise = normalization.takes_noise

    @property
    def layer(self) -> nn.Conv2d | nn.Linear:
        """The layer with the weights."""
        layer: nn.Conv2d | nn.Linear = getattr(self, self._layer_name)
        return layer

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """[N, C, H, W] -> [N, F, H, W]; `noise`: the draws of a normalization that takes them."""
        out = self.weigh(x)
        if self.placement == "before":
            activated: Tensor = self.activation(self._normalize(out, noise))
            return activated
        return self._normalize(self.activation(out), noise)

    def weigh(self, x: Tensor) -> Tensor:
        """The layer's output, before normalization and activation."""
        layer = self.layer
        weight = layer.weight if self.reparametrization is None else self.reparametrization(layer.weight)
        if isinstance(layer, nn.Conv2d):
            return nn.functional.conv2d(x, weight, layer.bias, padding="same")
        return nn.functional.linear(x.flatten(1), weight, layer.bias)[:, :, None, None]

    def calibrate(self, x: Tensor, *, unit_variance: bool) -> None:
        """Set what an initialization takes from data: x is what enters the unit at initialization."""
        if unit_variance:
            scale_to_unit_variance(self.layer, self.weigh(x))
        if isinstance(self.reparametrization, WeightNorm):
            self.reparametrization.calibrate(self.weigh(x), self.layer.bias)

    def _normalize(self, x: Tensor, noise: Tensor | None) -> Tensor:
        out: Tensor = self.norm(x) if noise is None else self.norm(x, noise)
        return out


def conv_unit(
    in_channels: int, normalization: Normalization, activation: Activation, place: Place, placement: Placement
) -> Unit:
    """A unit of a convolution 3x3 'same'."""
    conv = nn.Conv2d(in_channels, place.num_channels, 3, padding="same", bias=normalization.keeps_bias)
    return Unit("conv", conv, normalization, activation, place, placement)


def dense_unit(
    in_features: int, normalization: Normalization, activation: Activation, place: Place, placement: Placement
) -> Unit:
    """A unit of a fully connected layer: [N, C, H, W] -> [N, F, 1, 1]."""
    linear = nn.Linear(in_features, place.num_channels, bias=normalization.keeps_bias)
    return Unit("linear", linear, normalization, activation, place, placement)


@torch.no_grad()
def scale_to_unit_variance(layer: nn.Conv2d | nn.Linear, output: Tensor) -> None:
    """Scale a layer's weights so that `output`, what they gave, has variance 1 (1511.06422, algorithm 1).

    The paper repeats the division until the variance is near 1. The layer being linear and its bias zero, the
    first makes it 1.
    """
    layer.weight.div_(output.std())


def check_average(last: Unit, normalization: str, activation: str, *, alone: bool) -> None:
    """Raise InputError if averages of the last maps say nothing of the image.

    Normalized over its own positions, a map has mean 0; any affine function of it then has the same average
    in every image. The activation between is affine in placement "before" if it is so wherever one of n
    values of mean 0 and variance 1 can lie: within sqrt(n - 1).

    Args:
        last: the network's last unit.
        normalization: its name.
        activation: its name.
        alone: its normalization is over the batch, and batches are of one image.
    """
    own_statistics = centres_each_map(last.norm)
    if last.placement == "after":
        if not (own_statistics or alone):
            return
        cause = "placement 'after'" + (" and budget.batch_size 1" if alone else "")
    else:
        n = last.place.num_positions
        if not (own_statistics and _is_affine(last.activation, math.sqrt(n - 1))):
            return
        cause = f"activation {activation!r} on maps of {n} positions"
    raise InputError(
        f"network.head: expected 'flatten' for normalization {normalization!r} with {cause} (the "
        "average of a map is then, in training, the same for every image), found 'average': use 'flatten', "
        "or another normalization"
    )


def _is_affine(activation: nn.Module, reach: float) -> bool:
    """Whether an activation is a x + b on [-reach, reach]."""
    x = torch.linspace(-reach, reach, 101, dtype=torch.float64)
    return bool(activation(x).diff(n=2).abs().max() < 1e-9)
