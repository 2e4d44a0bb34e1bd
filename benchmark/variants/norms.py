"""Normalizations. Add one as one entry of `NORMALIZATIONS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

Shape = tuple[int, int, int]  # what is normalized: (C, H, W) of one example


@dataclass(frozen=True)
class Normalization:
    """One way to normalize a convolution's output before its activation.

    Attributes:
        build: makes the module for feature maps [N, C, H, W] of a given (C, H, W).
        description: one line for people.
        source: where it was proposed.
        keeps_bias: whether the convolution before it keeps its bias.
        couples_examples: whether, in training, an example's output depends on the rest of its batch.
    """

    build: Callable[[Shape], nn.Module]
    description: str
    source: str
    keeps_bias: bool = True
    couples_examples: bool = False


def _batch(shape: Shape) -> nn.Module:
    # Keras' defaults, which the source left as they were: its momentum 0.99 is PyTorch's 0.01.
    return nn.BatchNorm2d(shape[0], eps=1e-3, momentum=0.01)


NORMALIZATIONS: Mapping[str, Normalization] = {
    "none": Normalization(
        lambda shape: nn.Identity(), "no normalization: the baseline", "the source notebook"
    ),
    "batch": Normalization(
        _batch,
        "per channel, over the batch and positions; learned scale and shift",
        "Ioffe & Szegedy 2015 (1502.03167)",
        # Redundant beside BN's shift, but the source's Keras layers have it: its parameter count says so.
        keeps_bias=True,
        couples_examples=True,
    ),
}
