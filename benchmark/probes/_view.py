"""What every probe looks at: one forward and backward pass of a fixed batch, taken once for all of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from benchmark.variants.activations import Activation


@dataclass(frozen=True)
class View:
    """A network seen from inside, in training mode (batch statistics), dropout off, on one fixed batch.

    Attributes:
        weights: by layer name and depth (conv1, ..., dense); convolutions [F, C, 3, 3], dense [K, D].
        gradients: dL/dW of each, of the batch's mean loss.
        updates: what the last training step added to each; None before the first.
        preactivations: [N, F, H, W], what enters each convolution's activation, by layer name.
        activation: the network's activation.
    """

    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    updates: dict[str, Tensor] | None
    preactivations: dict[str, Tensor]
    activation: Activation


@dataclass(frozen=True)
class Reading:
    """One number of one layer, still on the device."""

    probe: str
    layer: str
    value: Tensor


Readings = Iterator[Reading]
