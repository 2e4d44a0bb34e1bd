"""Hidden units: a layer with weights, its normalization, its activation, in the order that their place says.

Shapes: N images, C channels, H x W positions, F filters. Of R replicas side by side (see `variants.wide`) all
channels are R times as many.
"""

import torch
from torch import Tensor, nn

from benchmark.variants.activations import Activation
from benchmark.variants.layers.weights import Reparametrization
from benchmark.variants.normalization import Normalization, Place


class Dense(nn.Linear):
    """A fully connected layer; of R replicas' weights [R F, D] each takes its own D of the R D features."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, D] or [N, R D] -> [N, F] or [N, R F]."""
        return self.weigh(input, self.weight)

    def weigh(self, x: Tensor, weight: Tensor) -> Tensor:
        """The same with other weights in place of its own."""
        num_rows = x.shape[1] // weight.shape[1]
        if num_rows == 1:
            return nn.functional.linear(x, weight, self.bias)
        rows = x.unflatten(1, (num_rows, -1)).transpose(0, 1)
        weights = weight.unflatten(0, (num_rows, -1))
        biases = [None] * num_rows if self.bias is None else self.bias.view(num_rows, -1)
        if x.device.type == "cpu":
            # A batch of products picks its kernel by the size of the batch: rounding would depend on it.
            each = zip(rows, weights, biases, strict=True)
            return torch.cat([nn.functional.linear(*own) for own in each], 1)
        out = torch.bmm(rows, weights.mT)
        if self.bias is not None:
            out = out + self.bias.view(num_rows, 1, -1)
        return out.transpose(0, 1).flatten(1)


class Unit(nn.Module):
    """[N, C, H, W] -> [N, F, H, W].

    Args:
        layer_name: what the layer is called among the parameters.
        layer: has the weights.
        normalization: what to normalize by.
        activation: its nonlinearity.
        place: where it stands; its shape is that of the layer's output.
    """

    activation: nn.Module
    norm: nn.Module

    def __init__(
        self,
        layer_name: str,
        layer: nn.Conv2d | Dense,
        normalization: Normalization,
        activation: Activation,
        place: Place,
    ) -> None:
        super().__init__()
        self._layer_name = layer_name
        self.add_module(layer_name, layer)
        self.reparametrization: Reparametrization | None = None
        if normalization.reparametrize is not None:
            self.reparametrization = normalization.reparametrize(place)
        self.norm = normalization.build(place)
        self.activation = normalization.build_activation(activation, place)
        self.place = place
        self.takes_noise = normalization.takes_noise
        self.channels_last = False  # whether maps are to lie in memory position by position
        self.residual_scale: nn.Parameter | None = None
        if place.ends_branch and normalization.residual_scale is not None:
            self.residual_scale = nn.Parameter(torch.tensor(normalization.residual_scale))

    @property
    def layer(self) -> nn.Conv2d | Dense:
        """The layer with the weights."""
        layer: nn.Conv2d | Dense = getattr(self, self._layer_name)
        return layer

    @property
    def starts_from_data(self) -> bool:
        """Whether its own way to have weights starts from data."""
        return self.reparametrization is not None and self.reparametrization.starts_from_data

    def forward(self, x: Tensor, noise: Tensor | None = None, shortcut: Tensor | None = None) -> Tensor:
        """What leaves the unit.

        Args:
            x: [N, C, H, W].
            noise: the draws of a normalization that takes them.
            shortcut: [N, F, H, W], added before the activation, in placement "before".

        Returns:
            [N, F, H, W].
        """
        out = self.weigh(x)
        if self.place.placement == "after":
            return self._normalize(self.activation(out), noise)
        out = self._normalize(out, noise)
        if self.residual_scale is not None:
            out = self._scaled(out, self.residual_scale)
        if shortcut is not None:
            out = out + shortcut
        activated: Tensor = self.activation(out)
        return activated

    def weigh(self, x: Tensor) -> Tensor:
        """The layer's output, before normalization and activation."""
        layer = self.layer
        weight = layer.weight if self.reparametrization is None else self.reparametrization(layer.weight)
        if isinstance(layer, nn.Conv2d):
            if self.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            num_rows = x.shape[1] // weight.shape[1]
            return nn.functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding, groups=num_rows)
        return layer.weigh(x.flatten(1), weight)[:, :, None, None]

    def start_from_data(self, x: Tensor, *, unit_variance: bool) -> None:
        """Set what starts from data: x is what enters the unit at initialization."""
        if unit_variance:
            scale_to_unit_variance(self.layer, self.weigh(x))
        if self.reparametrization is not None and self.reparametrization.starts_from_data:
            self.reparametrization.start_from_data(self.weigh(x), self.layer.bias)

    @staticmethod
    def _scaled(x: Tensor, scale: Tensor) -> Tensor:
        """X times its scale, or each replica's channels times its own of [R]."""
        if scale.dim() == 0:
            return x * scale
        rows: Tensor = x.unflatten(1, (len(scale), -1)) * scale[:, None, None, None]
        return rows.flatten(1, 2)

    def _normalize(self, x: Tensor, noise: Tensor | None) -> Tensor:
        out: Tensor = self.norm(x) if noise is None else self.norm(x, noise)
        return out


def conv_unit(
    in_channels: int, normalization: Normalization, activation: Activation, place: Place, stride: int = 1
) -> Unit:
    """A unit of a convolution 3x3, zeros around its input; of stride 1 its maps are as large."""
    conv = nn.Conv2d(in_channels, place.num_channels, 3, stride, padding=1, bias=normalization.keeps_bias)
    return Unit("conv", conv, normalization, activation, place)


def dense_unit(in_features: int, normalization: Normalization, activation: Activation, place: Place) -> Unit:
    """A unit of a fully connected layer: [N, C, H, W] -> [N, F, 1, 1]."""
    linear = Dense(in_features, place.num_channels, bias=normalization.keeps_bias)
    return Unit("linear", linear, normalization, activation, place)


@torch.no_grad()
def scale_to_unit_variance(layer: nn.Conv2d | Dense, output: Tensor) -> None:
    """Scale a layer's weights so that `output`, what they gave, has variance 1 (1511.06422, algorithm 1).

    The paper repeats the division until the variance is near 1. The layer being linear and its bias zero, the
    first makes it 1.
    """
    layer.weight.div_(output.std())
