"""What every probe looks at: one forward and backward pass of a fixed batch, taken once for all of them.

Shapes: P trainable parameters, N images of the probe batch, F filters, H x W positions, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from benchmark.variants.activations import Activation


@dataclass(frozen=True)
class View:
    """A network seen from inside, in training mode (batch statistics), dropout off, on one fixed batch.

    A normalization that takes noise takes the draws of the step that comes next, the same in every pass, but
    for `partly_stepped`.

    Attributes:
        weights: by layer name and depth (conv1, ..., dense); convolutions [F, C, 3, 3], others [F, D].
        gradients: dL/dW of each, of the batch's mean loss.
        updates: what the last training step added to each; None before the first.
        preactivations: [N, F, H, W], what enters each hidden unit's activation, by layer name; of an mlp
            [N, F, 1, 1].
        activation: the network's activation.
        loss: the batch's mean loss, scalar.
        gradient: of the loss by all parameters, [P].
        loss_and_gradient: the same two with a displacement [P] added to the parameters.
        partly_stepped: the gradient [P] where the first so many layers have taken the last training step and
            the others have not, their noise being that of the next step and of the last; None before the
            first step.
        starts: where each layer's parameters (its normalization's too) begin in [P], by layer and depth.
        walk_rate: the learning rate that landscape walks step at; None: no walks.
    """

    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    updates: dict[str, Tensor] | None
    preactivations: dict[str, Tensor]
    activation: Activation
    loss: Tensor
    gradient: Tensor
    loss_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]]
    partly_stepped: Callable[[int], Tensor] | None
    starts: dict[str, int]
    walk_rate: float | None


@dataclass(frozen=True)
class Reading:
    """One number of one layer (`all`: of the whole network), still on the device."""

    probe: str
    layer: str
    value: Tensor


Readings = Iterator[Reading]
