"""Normalizations of one example at a time.

Shapes: N images, C channels, H x W positions. Of R replicas side by side (see `variants.wide`), C is R times
a replica's, and each replica's channels are normalized by themselves.
"""

import torch
from torch import Tensor, nn


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalization of each position over its channels; scale and shift per channel.

    [N, C, H, W] -> [N, C, H, W], y[n, :, h, w] = LN(x[n, :, h, w]).
    """

    num_rows = 1

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        if self.num_rows == 1:
            return super().forward(input.movedim(1, -1)).movedim(-1, 1)
        rows = input.movedim(1, -1).unflatten(-1, (self.num_rows, -1))
        out = nn.functional.layer_norm(rows, rows.shape[-1:], eps=self.eps).flatten(-2)
        return (out * self.weight + self.bias).movedim(-1, 1)


class RmsNorm(nn.Module):
    """Root mean square normalization (Zhang & Sennrich 2019, 1910.07467, equation 4), without a shift.

    [N, C, H, W] -> [N, C, H, W], y = g x / sqrt(mean(x^2) + eps), the mean over an example's C, H and W. The
    gain g is per channel, as group normalization has it for convolutions: one per position would undo their
    sharing of weights. (Equation 4 has no eps; the authors' code adds 1e-8 outside the root.)

    Args:
        num_channels: C.
        eps: added to the mean square.
    """

    num_rows = 1

    def __init__(self, num_channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        # Contiguous: how strides fall together would decide the order in which the mean is summed.
        rows = x.unflatten(1, (self.num_rows, -1)).contiguous()
        out = nn.functional.rms_norm(rows, rows.shape[2:], eps=self.eps).flatten(1, 2)
        return out * self.weight[:, None, None]
