"""What filters do alone: filter response normalization with its unit, and a tanh in normalization's place.

Shapes: N images, C channels, H x W positions.
"""

import torch
from torch import Tensor, nn

_LEARNED_EPS, _LEAST_EPS = 1e-4, 1e-6  # 1911.09737, section 3.1: eps = 1e-6 + |eps_l|, eps_l at first 1e-4


class FilterResponseNorm(nn.Module):
    """Filter response normalization (Singh & Krishnan 2020, 1911.09737, equations 1 and 2).

    y = gamma x / sqrt(nu2 + eps) + beta, nu2 being the mean of x^2 over one map: no centring, and nothing of
    other examples or channels.

    Args:
        num_channels: C.
        num_positions: H x W. Of one, x / sqrt(x^2 + eps) would be little more than x's sign; there eps is
            learned, as the authors do (section 3.1): one scalar of the layer.
        eps: added to the mean square elsewhere.
    """

    def __init__(self, num_channels: int, num_positions: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.learned_eps = nn.Parameter(torch.tensor(_LEARNED_EPS)) if num_positions == 1 else None
        self.eps = eps if self.learned_eps is None else _LEAST_EPS

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        mean_square = x.square().mean((2, 3), keepdim=True) + self.eps
        if self.learned_eps is not None:
            mean_square = mean_square + self.learned_eps.abs()
        return x * mean_square.rsqrt() * self.weight[:, None, None] + self.bias[:, None, None]


class ThresholdedLinearUnit(nn.Module):
    """z = max(y, tau), a threshold per channel in place of ReLU's 0 (1911.09737, section 3.2).

    Args:
        num_channels: C, each with a trainable tau, at first 0.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return torch.maximum(x, self.threshold[:, None, None])


class DynamicTanh(nn.Module):
    """Dynamic tanh (Zhu et al. 2025, 2503.10622, equation 2): y = gamma tanh(alpha x) + beta.

    Args:
        num_channels: C, each with its gamma and beta; alpha is one scalar of the layer, at first 0.5.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return torch.tanh(self.alpha * x) * self.weight[:, None, None] + self.bias[:, None, None]


class ScaledActivation(nn.Module):
    """An activation times a constant, as networks without normalization have it (2101.08692, section 3.1).

    Args:
        activation: [N, C, H, W] -> [N, C, H, W].
        gain: the constant.
    """

    def __init__(self, activation: nn.Module, gain: float) -> None:
        super().__init__()
        self.activation = activation
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        out: Tensor = self.activation(x) * self.gain
        return out
