"""What an entry of `NORMALIZATIONS` says of itself, and what it is told of the place where it stands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from benchmark.variants.activations import ACTIVATIONS, Activation
from benchmark.variants.layers.weights import Reparametrization

Placement = Literal["before", "after"]
"""Whether a normalization comes before the activation or after it."""


@dataclass(frozen=True)
class Place:
    """Where in the network a normalization stands.

    Attributes:
        shape: (C, H, W) of one example there.
        is_last: whether it is in the network's last hidden unit.
        num_steps: the budget, by which schedules are scaled.
        placement: whether it comes before the unit's activation or after it.
        ends_branch: whether what it gives is added to a shortcut.
    """

    shape: tuple[int, int, int]
    is_last: bool = False
    num_steps: int = 1000
    placement: Placement = "before"
    ends_branch: bool = False

    @property
    def num_channels(self) -> int:
        """C."""
        return self.shape[0]

    @property
    def num_positions(self) -> int:
        """H x W."""
        return self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class Normalization:
    """One way to normalize a layer, or to do without.

    Attributes:
        build: makes the module that follows the layer, for its place; raises InputError where it has none.
        description: one line for people.
        source: where it was proposed.
        words: what it is called within a sentence.
        is_competitor: whether it stands in batch normalization's place without normalizing a layer's output.
        keeps_bias: whether the layer before it keeps its bias.
        couples_examples: whether, in training, an example's output depends on the rest of its batch.
        centres_each_map: whether, at a place, each map of each example has mean 0 before its shift.
        judged_by: the running statistics that it is judged by, if it has any: those re-estimated for it, or
            the moving averages, where these are part of what it is. Its modules with running statistics have
            them in buffers, and a `momentum`, of which 1 leaves the last batch's own.
        takes_noise: its module takes uniform draws as a second argument (see `layers.batchwise.with_noise`).
        reparametrize: makes the module that the layer's weights pass through, for its place.
        init: the initialization it stands for, in place of the study's.
        clip_norm: the gradient's norm is clipped to this.
        unit_clip: the norm of each unit's gradient is clipped to this part of its weights' norm.
        group_size: how many examples share statistics, where the batch is cut into groups of so many.
        activation: makes what stands in place of an activation, for its place; None: the activation itself.
        residual_scale: residual branches are multiplied by a trainable scalar that starts here; networks
            without shortcuts have no branches, and refuse it.
    """

    build: Callable[[Place], nn.Module]
    description: str
    source: str
    words: str
    is_competitor: bool = False
    keeps_bias: bool = True
    couples_examples: bool = False
    centres_each_map: Callable[[Place], bool] = lambda place: False
    judged_by: Literal["reestimated", "moving-average"] | None = None
    takes_noise: bool = False
    reparametrize: Callable[[Place], Reparametrization] | None = None
    init: str | None = None
    clip_norm: float | None = None
    unit_clip: float | None = None
    group_size: int | None = None
    activation: Callable[[Activation, Place], nn.Module] | None = None
    residual_scale: float | None = None

    @property
    def is_reestimated(self) -> bool:
        """Whether it is judged with statistics re-estimated at the evaluation."""
        return self.judged_by == "reestimated"

    def build_activation(self, activation: Activation, place: Place) -> nn.Module:
        """The activation at a place, or what stands there instead."""
        return activation.build() if self.activation is None else self.activation(activation, place)

    def num_parameters(self, place: Place, activation: Activation = ACTIVATIONS["relu"]) -> int:
        """What it costs at a place: trainable parameters beyond those of the unnormalized network."""
        modules: list[nn.Module] = [self.build(place), self.build_activation(activation, place)]
        if self.reparametrize is not None:
            modules.append(self.reparametrize(place))
        own = sum(parameter.numel() for module in modules for parameter in module.parameters())
        own += int(place.ends_branch and self.residual_scale is not None)
        return own if self.keeps_bias else own - place.num_channels
