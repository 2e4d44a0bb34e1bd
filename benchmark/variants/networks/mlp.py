"""Fully connected networks; their hidden units are maps of 1 x 1.

Shapes: N images of the batch, C channels, H x W pixels, K classes.

    [N, C, H, W] -> depth x {unit, dropout} -> dense -> [N, K]
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from benchmark.variants.networks.base import FamilySpec, Network, Shape
from benchmark.variants.networks.units import Dense, dense_unit
from benchmark.variants.normalization import Place
from benchmark.variants.variant import Variant


class MlpSpec(FamilySpec):
    """The `[network]` section of a study with `family = "mlp"`.

    Three layers of 100 units are those of the MNIST experiment of Ioffe & Szegedy (1502.03167, section 4.1),
    as is the initialization `gaussian`.

    Attributes:
        depth: hidden layers.
        units: of each.
        dropout: share of units dropped after each hidden layer.
    """

    family: Literal["mlp"] = "mlp"
    depth: int = Field(default=3, ge=1, le=1000)
    units: int = Field(default=100, ge=2, le=100_000)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class Mlp(Network):
    """One fully connected network, for one variant.

    Args:
        spec: its size.
        variant: its normalization and activation.
        image_shape: (C, H, W) of the input.
        num_classes: K.
        num_steps: the budget, by which a normalization's schedule is scaled.

    Raises:
        InputError: a name is unknown, or the normalization has no definition for a layer's shape.
    """

    unit_name = "hidden"

    def __init__(
        self, spec: MlpSpec, variant: Variant, image_shape: Shape, num_classes: int, num_steps: int = 1000
    ) -> None:
        super().__init__(spec, variant)
        self.dropout_rate = spec.dropout
        channels, height, width = image_shape
        features = channels * height * width
        for depth in range(spec.depth):
            place = Place((spec.units, 1, 1), depth == spec.depth - 1, num_steps, spec.placement)
            self.units.append(dense_unit(features, self._normalization, self.activation, place))
            features = spec.units
            self.dropout_shapes.append(place.shape)
        self.dense = Dense(features, num_classes)

    def forward(
        self, x: Tensor, masks: Sequence[Tensor] | None = None, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """[N, C, H, W] -> [N, K] logits; see `Network.forward`."""
        dropouts = iter(masks) if masks is not None else None
        for unit, draws in self._with_noise(noise):
            x = self._drop(unit(x, draws), dropouts)
        logits: Tensor = self.dense(x.flatten(1))
        return logits
