"""The networks: the notebook's family of convolutional ones, and a fully connected one.

Shapes: N images of the batch, C channels, H x W pixels, K classes.

    cnn  [N, C, H, W] -> (blocks - 1) x {unit, unit, max pool 2x2, dropout} -> {unit, unit} -> head -> [N, K]
    mlp  [N, C, H, W] -> depth x {unit, dropout} -> dense -> [N, K]

A unit is a layer with weights (a convolution 3x3 or a fully connected one), its normalization and activation.
Normalizations are of the units alone: the last, dense layer is the same in every variant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Discriminator, Field, Tag, field_validator
from torch import Tensor, nn

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.initializations import INITIALIZATIONS
from benchmark.variants.networks.units import Placement, Unit, check_average, conv_unit, dense_unit
from benchmark.variants.norms import NORMALIZATIONS, Place

Shape = tuple[int, int, int]  # (C, H, W) of one example


@dataclass(frozen=True, order=True)
class Variant:
    """What is compared: a pair of a normalization and an activation, written `batch-relu`."""

    normalization: str
    activation: str

    def __str__(self) -> str:
        return f"{self.normalization}-{self.activation}"


class _CommonSpec(Section):
    placement: Placement = "before"
    init: str = "glorot-uniform"

    @field_validator("init")
    @classmethod
    def _known(cls, name: str) -> str:
        lookup(INITIALIZATIONS, name, "initialization")
        return name


class NetworkSpec(_CommonSpec):
    """The `[network]` section of a study: the notebook's family.

    Attributes:
        blocks: pairs of convolutions, the last without pooling; the notebook has 5.
        width: filters of every block but the last, which has 5/3 of it; the notebook has 60 and 100.
        dropout: share of units dropped after each pooling.
        head: what the dense layer sees of the last block: all of it, or each filter's average.
        placement: whether normalization comes before the activation or after it.
        init: how weights start, a name in `INITIALIZATIONS`; variants that stand for one have their own.
    """

    family: Literal["cnn"] = "cnn"
    blocks: int = Field(default=5, ge=1)
    width: int = Field(default=60, ge=3)
    dropout: float = Field(default=0.15, ge=0.0, lt=1.0)
    head: Literal["flatten", "average"] = "flatten"


class MlpSpec(_CommonSpec):
    """The `[network]` section of a study with `family = "mlp"`.

    Three layers of 100 units are those of the MNIST experiment of Ioffe & Szegedy (1502.03167, section 4.1),
    as is the initialization `gaussian`.

    Attributes:
        depth: hidden layers.
        units: of each.
        dropout: share of units dropped after each hidden layer.
        placement: whether normalization comes before the activation or after it.
        init: how weights start, a name in `INITIALIZATIONS`.
    """

    family: Literal["mlp"] = "mlp"
    depth: int = Field(default=3, ge=1)
    units: int = Field(default=100, ge=2)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


def _family(section: Any) -> str:
    """Which family a section is of: the convolutional one, unless it says otherwise."""
    family = section.get("family", "cnn") if isinstance(section, dict) else getattr(section, "family", None)
    return str(family)


AnyNetworkSpec = Annotated[
    Annotated[NetworkSpec, Tag("cnn")] | Annotated[MlpSpec, Tag("mlp")], Discriminator(_family)
]
FAMILIES = ("cnn", "mlp")


class Network(nn.Module):
    """What the families have in common: hidden units in a row, then a dense layer.

    Args:
        spec: what the network is like.
        variant: its normalization and activation.

    Attributes:
        units: by depth.
        unit_name: what a unit is called in logs, its number following.
        pooled: for each unit, whether pooling follows it.
        dropped: for each unit, whether dropout follows it, after any pooling.
        dropout_rate: share of units dropped.
        dropout_shapes: (F, H, W) of what each dropout acts on, by depth.
        initialization: how its weights start.
    """

    dense: nn.Linear

    def __init__(self, spec: NetworkSpec | MlpSpec, variant: Variant, unit_name: str) -> None:
        super().__init__()
        self._normalization = lookup(NORMALIZATIONS, variant.normalization, "normalization")
        self._activation = lookup(ACTIVATIONS, variant.activation, "activation")
        self.initialization = INITIALIZATIONS[self._normalization.init or spec.init]
        self.unit_name = unit_name
        self.dropout_rate = spec.dropout
        self.units = nn.ModuleList()
        self.pooled: list[bool] = []
        self.dropped: list[bool] = []
        self.dropout_shapes: list[Shape] = []

    @property
    def noise_shapes(self) -> list[Shape]:
        """(F, H, W) of what each noise acts on, by depth."""
        return [unit.place.shape for unit in self.hidden().values() if unit.takes_noise]

    def forward(
        self, x: Tensor, masks: Sequence[Tensor] | None = None, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Class scores.

        Args:
            x: [N, C, H, W] float32.
            masks: one [N, F, H, W] boolean tensor per dropout, true where a unit is kept; None: no dropout.
            noise: one [2 + 2 N, F, H, W] tensor of uniform draws per normalization that takes noise; None:
                no noise.

        Returns:
            [N, K] logits.
        """
        dropouts = iter(masks) if masks is not None else None
        noises = iter(noise) if noise is not None else None
        for unit, pool, drop in zip(self.hidden().values(), self.pooled, self.dropped, strict=True):
            x = unit(x, next(noises) if noises is not None and unit.takes_noise else None)
            if pool:
                x = nn.functional.max_pool2d(x, 2)
            if drop and dropouts is not None:
                x = x * next(dropouts) * (1.0 / (1.0 - self.dropout_rate))
        return self._classify(x)

    def _classify(self, x: Tensor) -> Tensor:
        """[N, F, H, W] -> [N, K] logits."""
        logits: Tensor = self.dense(x.flatten(1))
        return logits

    def hidden(self) -> dict[str, Unit]:
        """The units by name and depth: conv1, conv2, ... or hidden1, hidden2, ..."""
        return {f"{self.unit_name}{depth}": unit for depth, unit in enumerate(self.units, start=1)}  # type: ignore[misc]

    def weighted_layers(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """The layers with weights by name and depth: conv1, conv2, ..., dense."""
        layers: dict[str, nn.Conv2d | nn.Linear] = {name: unit.layer for name, unit in self.hidden().items()}
        return {**layers, "dense": self.dense}


class ConvNet(Network):
    """One network of the notebook's family, for one variant.

    Args:
        spec: its size.
        variant: its normalization and activation.
        image_shape: (C, H, W) of the input.
        num_classes: K.
        num_steps: the budget, by which a normalization's schedule is scaled.

    Raises:
        InputError: the images are too small for that many poolings, a name is unknown, or the normalization
            has no definition for a layer's shape.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        variant: Variant,
        image_shape: Shape,
        num_classes: int,
        num_steps: int = 1000,
    ) -> None:
        super().__init__(spec, variant, "conv")
        channels, height, width = image_shape
        check_blocks(spec.blocks, height, width)
        for block in range(spec.blocks):
            last = block == spec.blocks - 1
            filters = spec.width * 5 // 3 if last else spec.width
            for position in range(2):
                place = Place((filters, height, width), last and position == 1, num_steps)
                self.units.append(
                    conv_unit(channels, self._normalization, self._activation, place, spec.placement)
                )
                channels = filters
            self.pooled += [False, not last]
            if not last:
                height, width = height // 2, width // 2
                self.dropout_shapes.append((filters, height, width))
        self.dropped = self.pooled
        self._averages = spec.head == "average"
        self.dense = nn.Linear(channels if self._averages else channels * height * width, num_classes)

    def _classify(self, x: Tensor) -> Tensor:
        return super()._classify(x.mean((2, 3)) if self._averages else x)


class Mlp(Network):
    """One fully connected network, for one variant; its hidden units are maps of 1 x 1.

    Args:
        spec: its size.
        variant: its normalization and activation.
        image_shape: (C, H, W) of the input.
        num_classes: K.
        num_steps: the budget, by which a normalization's schedule is scaled.

    Raises:
        InputError: a name is unknown, or the normalization has no definition for a layer's shape.
    """

    def __init__(
        self, spec: MlpSpec, variant: Variant, image_shape: Shape, num_classes: int, num_steps: int = 1000
    ) -> None:
        super().__init__(spec, variant, "hidden")
        channels, height, width = image_shape
        features = channels * height * width
        for depth in range(spec.depth):
            place = Place((spec.units, 1, 1), depth == spec.depth - 1, num_steps)
            self.units.append(
                dense_unit(features, self._normalization, self._activation, place, spec.placement)
            )
            features = spec.units
            self.dropout_shapes.append(place.shape)
        self.pooled = [False] * spec.depth
        self.dropped = [True] * spec.depth
        self.dense = nn.Linear(features, num_classes)


def build_network(
    spec: NetworkSpec | MlpSpec,
    variant: Variant,
    image_shape: Shape,
    num_classes: int,
    num_steps: int,
    batch_size: int,
) -> Network:
    """The network that a study trains, its weights not yet initialized.

    Raises:
        InputError: the variant has no definition for this network, these images or this batch size, or its
            output would be the same for every image.
    """
    build: Any = Mlp if isinstance(spec, MlpSpec) else ConvNet
    network: Network = build(spec, variant, image_shape, num_classes, num_steps)
    couples = lookup(NORMALIZATIONS, variant.normalization, "normalization").couples_examples
    smallest = min(unit.place.num_positions for unit in network.hidden().values())
    if couples and batch_size * smallest == 1:
        raise InputError(
            f"budget.batch_size: expected at least 2 for normalization {variant.normalization!r} where maps "
            "are 1 x 1 (of one value there are no statistics), found 1: raise it, or use fewer blocks"
        )
    if isinstance(spec, NetworkSpec) and spec.head == "average":
        last = network.hidden()[f"conv{len(network.units)}"]
        check_average(last, variant.normalization, variant.activation, alone=couples and batch_size == 1)
    return network


def check_blocks(blocks: int, height: int, width: int) -> None:
    """Raise InputError if `blocks - 1` poolings leave nothing of an image of `height` x `width`."""
    most = min(height, width).bit_length()
    if blocks > most:
        raise InputError(
            f"network.blocks: expected at most {most} for images of {height} x {width} "
            f"(each block but the last halves them), found {blocks}: lower it"
        )


@torch.no_grad()
def initialize(network: Network, seed: int, gain: float = 1.0) -> None:
    """Draw every layer's weights by the network's initialization, times `gain`; zero biases; in place.

    Each layer draws from a generator of its own, so that layers of the same shape get the same weights in
    every variant. Normalizations keep their own initial values (scale 1, shift 0).
    """
    for name, layer in network.weighted_layers().items():
        network.initialization.fill(layer.weight, seeding.generator(seed, "init", name))
        layer.weight.mul_(gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
