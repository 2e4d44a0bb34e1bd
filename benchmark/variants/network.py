"""The notebook's family of convolutional networks.

Shapes: N images of the batch, C channels, H x W pixels, K classes.

    [N, C, H, W] -> (blocks - 1) x {conv 3x3, norm, act, conv 3x3, norm, act, max pool 2x2, dropout}
                 -> {conv 3x3, norm, act, conv 3x3, norm, act} -> flatten -> dense -> [N, K] logits
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark import seeding
from benchmark.config import Section
from benchmark.errors import InputError
from benchmark.registry import lookup
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.norms import NORMALIZATIONS

_MIN_BLOCKS = 3


@dataclass(frozen=True, order=True)
class Variant:
    """What is compared: a pair of a normalization and an activation, written `batch-relu`."""

    normalization: str
    activation: str

    def __str__(self) -> str:
        return f"{self.normalization}-{self.activation}"


class NetworkSpec(Section):
    """The `[network]` section of a study.

    Attributes:
        blocks: pairs of convolutions, the last without pooling; the notebook has 5.
        width: filters of every block but the last, which has 5/3 of it; the notebook has 60 and 100.
        dropout: share of units dropped after each pooling.
    """

    blocks: int = Field(default=5, ge=_MIN_BLOCKS)
    width: int = Field(default=60, ge=3)
    dropout: float = Field(default=0.15, ge=0.0, lt=1.0)


class ConvUnit(nn.Module):
    """Convolution 3x3 'same', normalization, activation. [N, C, H, W] -> [N, F, H, W]."""

    def __init__(self, in_channels: int, shape: tuple[int, int, int], variant: Variant) -> None:
        super().__init__()
        normalization = lookup(NORMALIZATIONS, variant.normalization, "normalization")
        activation = lookup(ACTIVATIONS, variant.activation, "activation")
        self.conv = nn.Conv2d(in_channels, shape[0], 3, padding="same", bias=normalization.keeps_bias)
        self.norm = normalization.build(shape)
        self.activation = activation.build()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, F, H, W]."""
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class ConvNet(nn.Module):
    """One network of the family, for one variant.

    Args:
        spec: its size.
        variant: its normalization and activation.
        image_shape: (C, H, W) of the input.
        num_classes: K.

    Attributes:
        units: the convolution units, by depth.
        pooled: for each unit, whether pooling and dropout follow it.
        dropout_shapes: (F, H, W) of what each dropout acts on, by depth.

    Raises:
        InputError: the images are too small for that many poolings, or a name is unknown.
    """

    def __init__(
        self, spec: NetworkSpec, variant: Variant, image_shape: tuple[int, int, int], num_classes: int
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        check_blocks(spec.blocks, height, width)
        self.dropout_rate = spec.dropout
        self.units = nn.ModuleList()
        self.pooled: list[bool] = []
        self.dropout_shapes: list[tuple[int, int, int]] = []
        for block in range(spec.blocks):
            last = block == spec.blocks - 1
            filters = spec.width * 5 // 3 if last else spec.width
            for _ in range(2):
                self.units.append(ConvUnit(channels, (filters, height, width), variant))
                channels = filters
            self.pooled += [False, not last]
            if not last:
                height, width = height // 2, width // 2
                self.dropout_shapes.append((filters, height, width))
        self.dense = nn.Linear(channels * height * width, num_classes)

    def forward(self, x: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Class scores.

        Args:
            x: [N, C, H, W] float32.
            masks: one [N, F, H, W] boolean tensor per dropout, true where a unit is kept; None: no dropout.

        Returns:
            [N, K] logits.
        """
        dropouts = iter(masks) if masks is not None else None
        for unit, pool in zip(self.units, self.pooled, strict=True):
            x = unit(x)
            if pool:
                x = nn.functional.max_pool2d(x, 2)
                if dropouts is not None:
                    x = x * next(dropouts) * (1.0 / (1.0 - self.dropout_rate))
        logits: Tensor = self.dense(x.flatten(1))
        return logits

    def weighted_layers(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """The layers with weights by name and depth: conv1, conv2, ..., dense."""
        layers: dict[str, nn.Conv2d | nn.Linear] = {}
        for depth, unit in enumerate(self.units, start=1):
            layers[f"conv{depth}"] = unit.conv  # type: ignore[assignment]
        layers["dense"] = self.dense
        return layers


def check_blocks(blocks: int, height: int, width: int) -> None:
    """Raise InputError if `blocks - 1` poolings leave nothing of an image of `height` x `width`."""
    most = min(height, width).bit_length()
    if blocks > most:
        raise InputError(
            f"network.blocks: expected at most {most} for images of {height} x {width} "
            f"(each block but the last halves them), found {blocks}: lower it"
        )


@torch.no_grad()
def initialize(network: ConvNet, seed: int, gain: float = 1.0) -> None:
    """Glorot uniform weights (Glorot & Bengio 2010) times `gain`, zero biases: Keras' defaults, in place.

    Each layer draws from a generator of its own, so that layers of the same shape get the same weights in
    every variant. Normalizations keep their own initial values (scale 1, shift 0).
    """
    for name, layer in network.weighted_layers().items():
        nn.init.xavier_uniform_(layer.weight, gain, generator=seeding.generator(seed, "init", name))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
