"""Normalizations of one example at a time.

Shapes: N images, C channels, H x W positions.
"""

import torch
from torch import Tensor, nn


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalization of each position over its channels; scale and shift per channel.

    [N, C, H, W] -> [N, C, H, W], y[n, :, h, w] = LN(x[n, :, h, w]).
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class RmsNorm(nn.Module):
    """Root mean square normalization (Zhang & Sennrich 2019, 1910.07467, equation 4), without a shift.

    [N, C, H, W] -> [N, C, H, W], y = g x / sqrt(mean(x^2) + eps), the mean over an example's C, H and W. The
    gain g is per channel, as group normalization has it for convolutions: one per position would undo their
    sharing of weights. (Equation 4 has no eps; the authors' code adds 1e-8 outside the root.)

    Args:
        num_channels: C.
        eps: added to the mean square.
    """

    def __init__(self, num_channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return nn.functional.rms_norm(x, x.shape[1:], eps=self.eps) * self.weight[:, None, None]
