"""What every family of networks promises, and what a family's section has in common with the others'.

Shapes: N images of the batch, C channels, H x W pixels, K classes.

A network is hidden units (a layer with weights, its normalization, its activation; see `Unit`), connected as
its family has it, then a dense layer. Normalizations are of the units alone: the dense layer is the same in
every variant. Nothing here says that each unit feeds the next.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import field_validator
from torch import Tensor, nn

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.initializations import INITIALIZATIONS
from benchmark.variants.networks.units import Dense, Unit
from benchmark.variants.normalization import Placement
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

Shape = tuple[int, int, int]  # (C, H, W) of one example


class FamilySpec(Section):
    """What the `[network]` sections of all families have; each adds its own `family`, a literal.

    Attributes:
        placement: whether normalization comes before the activation or after it.
        init: how weights start, a name in `INITIALIZATIONS`; variants that stand for one have their own.
    """

    placement: Placement = "before"
    init: str = "glorot-uniform"

    @field_validator("init")
    @classmethod
    def _known(cls, name: str) -> str:
        lookup(INITIALIZATIONS, name, "initialization")
        return name


class Network(nn.Module, ABC):
    """One network, for one variant. A family adds its units and its forward pass.

    Args:
        spec: what the network is like.
        variant: its normalization and activation.

    Attributes:
        variant: what it was made for.
        activation: of its hidden units.
        units: the hidden units, by depth; the order of the flat parameter vector.
        dense: the last layer, a family's own to make, after its units.
        initialization: how its weights start.
        dropout_rate: share of units dropped.
        dropout_shapes: (F, H, W) of what each dropout acts on, by depth.
        num_rows: replicas side by side (see `variants.wide`); F and K below are then R times as many.

    Raises:
        InputError: a name is unknown, or the normalization has no definition for such a network.
    """

    unit_name: ClassVar[str]
    """What a unit is called in logs, its number following."""
    has_shortcuts: ClassVar[bool] = False
    """Whether units' outputs are added to what passes them by."""

    dense: Dense

    def __init__(self, spec: FamilySpec, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self._normalization = lookup(NORMALIZATIONS, variant.normalization, "normalization")
        self.activation = lookup(ACTIVATIONS, variant.activation, "activation")
        if self._normalization.residual_scale is not None and not self.has_shortcuts:
            raise InputError(
                f"normalization {variant.normalization!r}: expected a network with shortcuts, as it scales "
                "what is added to them, found a family without: set network.family to one that has them, or "
                "use another normalization"
            )
        self.initialization = INITIALIZATIONS[self._normalization.init or spec.init]
        self.num_rows = 1
        self.dropout_rate = 0.0
        self.dropout_shapes: list[Shape] = []
        self.units = nn.ModuleList()

    @abstractmethod
    def forward(
        self, x: Tensor, masks: Sequence[Tensor] | None = None, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Class scores.

        Args:
            x: [N, C, H, W] float32.
            masks: one [N, F, H, W] tensor per dropout, by which units are multiplied: 0, or what makes up for
                those dropped; None: no dropout.
            noise: one [2 + 2 N, F, H, W] tensor of uniform draws per normalization that takes noise; None:
                no noise.

        Returns:
            [N, K] logits.
        """

    def hidden(self) -> dict[str, Unit]:
        """The units by name and depth: conv1, conv2, ... or hidden1, hidden2, ..."""
        return {f"{self.unit_name}{depth}": unit for depth, unit in enumerate(self.units, start=1)}  # type: ignore[misc]

    def weighted_layers(self) -> dict[str, nn.Conv2d | Dense]:
        """The layers with weights by name and depth: conv1, conv2, ..., dense."""
        layers: dict[str, nn.Conv2d | Dense] = {name: unit.layer for name, unit in self.hidden().items()}
        return {**layers, "dense": self.dense}

    @property
    def noise_shapes(self) -> list[Shape]:
        """(F, H, W) of what each noise acts on, by depth."""
        return [unit.place.shape for unit in self.hidden().values() if unit.takes_noise]

    @property
    def starts_from_data(self) -> bool:
        """Whether anything of it starts from data."""
        units = self.hidden().values()
        return self.initialization.unit_variance or any(unit.starts_from_data for unit in units)

    def running_norms(self) -> dict[str, nn.Module]:
        """The normalizations, by path, whose evaluation mode uses running statistics: their buffers."""
        norms = {f"units.{i}.norm": unit.norm for i, unit in enumerate(self.hidden().values())}
        return {path: norm for path, norm in norms.items() if any(True for _ in norm.buffers())}

    def check(self, batch_size: int) -> None:
        """Refuse what trains, but to no purpose: no statistics, or the same output for every image.

        Args:
            batch_size: of training.

        Raises:
            InputError: says what to change.
        """
        smallest = min(unit.place.num_positions for unit in self.hidden().values())
        if self._normalization.couples_examples and batch_size * smallest == 1:
            raise InputError(
                f"budget.batch_size: expected at least 2 for normalization {self.variant.normalization!r} "
                "where maps are 1 x 1 (of one value there are no statistics), found 1: raise it, or use "
                "larger maps (larger images, or fewer blocks)"
            )

        size = self._normalization.group_size
        if size is not None and batch_size % size:
            raise InputError(
                f"budget.batch_size: expected a multiple of {size} for normalization "
                f"{self.variant.normalization!r}, of which so many examples share statistics, found "
                f"{batch_size}: choose another batch size, or another normalization"
            )

    def _with_noise(self, noise: Sequence[Tensor] | None) -> Iterator[tuple[Unit, Tensor | None]]:
        """Each unit, by depth, and its draws; None where it takes none."""
        draws = iter(noise) if noise is not None else None
        for unit in self.hidden().values():
            yield unit, next(draws) if draws is not None and unit.takes_noise else None

    def _drop(self, x: Tensor, masks: Iterator[Tensor] | None) -> Tensor:
        """What the next mask keeps of x, scaled up; x itself without masks.

        Where dropped units are not set to zero: alpha dropout (Klambauer et al., 1706.02515, section 3). Of x
        with mean 0 and variance 1, the affine map after it restores both.
        """
        if masks is None:
            return x
        mask, dropped = next(masks), self.activation.dropped_to
        if dropped == 0.0:
            return x * mask
        rate = self.dropout_rate
        scale = 1 / math.sqrt((1 - rate) * (1 + rate * dropped**2))
        return scale * x.masked_fill(mask == 0, dropped) - scale * rate * dropped


@torch.no_grad()
def initialize(network: Network, seed: int, gain: float = 1.0) -> None:
    """Draw every layer's weights by the network's initialization, times `gain`; zero biases; in place.

    Where the initialization takes the activation's gain, so do the hidden layers; none follows the dense one.

    Each layer draws from a generator of its own, so that layers of the same shape get the same weights in
    every variant. Normalizations keep their own initial values (scale 1, shift 0), as do scales of branches.
    """
    hidden = network.hidden()
    for name, layer in network.weighted_layers().items():
        network.initialization.fill(layer.weight, seeding.generator(seed, "init", name))
        own = network.activation.gain if network.initialization.takes_gain and name in hidden else 1.0
        layer.weight.mul_(gain * own)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
