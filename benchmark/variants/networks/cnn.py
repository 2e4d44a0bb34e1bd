"""The notebook's family of convolutional networks.

Shapes: N images of the batch, C channels, H x W pixels, K classes.

    [N, C, H, W] -> (blocks - 1) x {unit, unit, max pool 2x2, dropout} -> {unit, unit} -> head -> [N, K]
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.base.errors import InputError
from benchmark.variants.networks.base import FamilySpec, Network, Shape
from benchmark.variants.networks.units import Dense, conv_unit
from benchmark.variants.normalization import Place
from benchmark.variants.variant import Variant


class NetworkSpec(FamilySpec):
    """The `[network]` section of a study: the notebook's family.

    Attributes:
        blocks: pairs of convolutions, the last without pooling; the notebook has 5.
        width: filters of every block but the last, which has 5/3 of it; the notebook has 60 and 100.
        dropout: share of units dropped after each pooling.
        head: what the dense layer sees of the last block: all of it, or each filter's average.
    """

    family: Literal["cnn"] = "cnn"
    blocks: int = Field(default=5, ge=1)
    width: int = Field(default=60, ge=3, le=100_000)
    dropout: float = Field(default=0.15, ge=0.0, lt=1.0)
    head: Literal["flatten", "average"] = "flatten"


class ConvNet(Network):
    """One network of the notebook's family, for one variant.

    Args:
        spec: its size.
        variant: its normalization and activation.
        image_shape: (C, H, W) of the input.
        num_classes: K.
        num_steps: the budget, by which a normalization's schedule is scaled.

    Attributes:
        pooled: for each unit, whether pooling, and dropout, follow it.

    Raises:
        InputError: the images are too small for that many poolings, a name is unknown, or the normalization
            has no definition for a layer's shape.
    """

    unit_name = "conv"

    def __init__(
        self,
        spec: NetworkSpec,
        variant: Variant,
        image_shape: Shape,
        num_classes: int,
        num_steps: int = 1000,
    ) -> None:
        super().__init__(spec, variant)
        self.dropout_rate = spec.dropout
        self.pooled: list[bool] = []
        channels, height, width = image_shape
        check_blocks(spec.blocks, height, width)
        for block in range(spec.blocks):
            last = block == spec.blocks - 1
            filters = spec.width * 5 // 3 if last else spec.width
            for position in range(2):
                is_last = last and position == 1
                place = Place((filters, height, width), is_last, num_steps, spec.placement)
                self.units.append(conv_unit(channels, self._normalization, self.activation, place))
                channels = filters
            self.pooled += [False, not last]
            if not last:
                height, width = height // 2, width // 2
                self.dropout_shapes.append((filters, height, width))
        self._averages = spec.head == "average"
        self.dense = Dense(channels if self._averages else channels * height * width, num_classes)

    def forward(
        self, x: Tensor, masks: Sequence[Tensor] | None = None, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """[N, C, H, W] -> [N, K] logits; see `Network.forward`."""
        dropouts = iter(masks) if masks is not None else None
        for (unit, draws), pool in zip(self._with_noise(noise), self.pooled, strict=True):
            x = unit(x, draws)
            if pool:
                x = self._drop(nn.functional.max_pool2d(x, 2), dropouts)
        logits: Tensor = self.dense(x.mean((2, 3)) if self._averages else x.flatten(1))
        return logits

    def check(self, batch_size: int) -> None:
        """Refuse, beside what no family can have, averages that say nothing of the image."""
        super().check(batch_size)
        if self._averages:
            alone = self._normalization.couples_examples and batch_size == 1
            self._check_average(alone=alone)

    def _check_average(self, *, alone: bool) -> None:
        """Raise InputError if averages of the last maps say nothing of the image.

        Normalized over its own positions, a map has mean 0; any affine function of it then has the same
        average in every image. The activation between is affine in placement "before" if it is so wherever
        one of n values of mean 0 and variance 1 can lie: within sqrt(n - 1).

        Args:
            alone: its normalization is over the batch, and batches are of one image.
        """
        place = self.hidden()[f"{self.unit_name}{len(self.units)}"].place
        own_statistics = self._normalization.centres_each_map(place)
        if place.placement == "after":
            if not (own_statistics or alone):
                return
            cause = "placement 'after'" + (" and budget.batch_size 1" if alone else "")
        else:
            n = place.num_positions
            if not (own_statistics and _is_affine(self.activation.build(), math.sqrt(n - 1))):
                return
            cause = f"activation {self.variant.activation!r} on maps of {n} positions"
        raise InputError(
            f"network.head: expected 'flatten' for normalization {self.variant.normalization!r} with {cause} "
            "(the average of a map is then, in training, the same for every image), found 'average': use "
            "'flatten', or another normalization"
        )


def check_blocks(blocks: int, height: int, width: int) -> None:
    """Raise InputError if `blocks - 1` poolings leave nothing of an image of `height` x `width`."""
    most = min(height, width).bit_length()
    if blocks > most:
        raise InputError(
            f"network.blocks: expected at most {most} for images of {height} x {width} "
            f"(each block but the last halves them), found {blocks}: lower it"
        )


def _is_affine(activation: nn.Module, reach: float) -> bool:
    """Whether an activation is a x + b on [-reach, reach]."""
    x = torch.linspace(-reach, reach, 101, dtype=torch.float64)
    return bool(activation(x).diff(n=2).abs().max() < 1e-9)
