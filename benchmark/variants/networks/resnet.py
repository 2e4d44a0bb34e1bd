"""Residual networks for small images: those of He et al. for CIFAR (1512.03385, section 4.2).

Shapes: N images of the batch, C channels, H x W pixels, K classes.

    [N, C, H, W] -> stem -> 3 stages x n blocks -> average of each filter -> dense -> [N, K]
    stem   unit
    block  x -> unit -> unit without its activation, + shortcut of x -> activation

A unit is a convolution 3x3, its normalization and activation: 6 n + 1 of them and the dense layer are the
6 n + 2 layers. Stages have 1, 2 and 4 times `width` filters, each but the first on maps of half the side:
their first convolution has stride 2, and the shortcut there takes every second position and has zeros for the
filters that are new (the paper's option A), so no shortcut has weights.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from benchmark.base.errors import InputError
from benchmark.variants.networks.base import FamilySpec, Network, Shape
from benchmark.variants.networks.units import Dense, conv_unit
from benchmark.variants.normalization import Place
from benchmark.variants.variant import Variant

_NUM_STAGES = 3


class ResNetSpec(FamilySpec):
    """The `[network]` section of a study with `family = "resnet"`.

    Three blocks per stage of width 16 are ResNet-20, of 0.27 million parameters on CIFAR-10. There is no
    dropout, and the normalization is where the paper has it, before the addition and the activation.

    Attributes:
        blocks_per_stage: n, for 6 n + 2 layers.
        width: filters of the first stage; the others have 2 and 4 times as many.
        init: how weights start, a name in `INITIALIZATIONS`; the paper's is that of He et al. (1502.01852).
    """

    family: Literal["resnet"] = "resnet"
    placement: Literal["before"] = "before"
    init: str = "he"
    blocks_per_stage: int = Field(default=3, ge=1, le=300)
    width: int = Field(default=16, ge=2, le=100_000)


class ResNet(Network):
    """One residual network, for one variant.

    Args:
        spec: its size.
        variant: its normalization and activation.
        image_shape: (C, H, W) of the input.
        num_classes: K.
        num_steps: the budget, by which a normalization's schedule is scaled.

    Raises:
        InputError: the images are too small for the stages, a name is unknown, or the normalization has no
            definition for a layer's shape.
    """

    unit_name = "conv"
    has_shortcuts = True

    def __init__(
        self,
        spec: ResNetSpec,
        variant: Variant,
        image_shape: Shape,
        num_classes: int,
        num_steps: int = 1000,
    ) -> None:
        super().__init__(spec, variant)
        channels, height, width = image_shape
        least = 2 ** (_NUM_STAGES - 1)
        if min(height, width) < least:
            raise InputError(
                f"network.family: expected images of at least {least} x {least} for 'resnet', whose stages "
                f"halve them {_NUM_STAGES - 1} times, found {height} x {width}: use another family"
            )

        def add(filters: int, stride: int = 1, *, ends_branch: bool = False, is_last: bool = False) -> None:
            nonlocal channels, height, width
            height, width = -(-height // stride), -(-width // stride)
            place = Place(
                (filters, height, width), is_last, num_steps, spec.placement, ends_branch=ends_branch
            )
            self.units.append(conv_unit(channels, self._normalization, self.activation, place, stride))
            channels = filters

        add(spec.width)
        num_blocks = _NUM_STAGES * spec.blocks_per_stage
        for block in range(num_blocks):
            stage, position = divmod(block, spec.blocks_per_stage)
            filters = spec.width * 2**stage
            add(filters, stride=2 if stage > 0 and position == 0 else 1)
            add(filters, ends_branch=True, is_last=block == num_blocks - 1)
        self.dense = Dense(channels, num_classes)

    def forward(
        self, x: Tensor, masks: Sequence[Tensor] | None = None, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """[N, C, H, W] -> [N, K] logits; see `Network.forward`."""
        units = self._with_noise(noise)
        stem, draws = next(units)
        x = stem(x, draws)
        for (first, first_draws), (second, second_draws) in zip(units, units, strict=True):
            x = second(first(x, first_draws), second_draws, _shortcut(x, second.place, self.num_rows))
        logits: Tensor = self.dense(x.mean((2, 3)))
        return logits


def _shortcut(x: Tensor, to: Place, num_rows: int) -> Tensor:
    """[N, R C, H, W] -> R times the shape at `to`: every so many positions, and zeros for new filters."""
    stride = -(-x.shape[2] // to.shape[1])
    rows = x[:, :, ::stride, ::stride].unflatten(1, (num_rows, -1))
    return nn.functional.pad(rows, (0, 0, 0, 0, 0, to.num_channels - rows.shape[2])).flatten(1, 2)
