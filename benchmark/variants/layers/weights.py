"""Reparametrizations: what a layer multiplies by is a function of its weights.

Shapes: F filters (units), each of as many weights as it has inputs; a weight is [F, C, 3, 3] or [F, D].
"""

import math

import torch
from torch import Tensor, nn

_VARIANCE_EPS = 1e-10  # of the authors' code (openai/weightnorm): a filter may be constant on the images
_SCALED_EPS = (
    1e-4  # of the authors' code (deepmind-research/nfnets): the least that fan-in x variance counts as
)
_STANDARD_EPS = 1e-5  # of the authors' code (joe-siyuan-qiao/WeightStandardization), added to the deviation


class Reparametrization(nn.Module):
    """What a layer's weights pass through: weights of any shape [F, ...] -> of the same shape.

    Attributes:
        starts_from_data: whether `start_from_data` sets anything.
    """

    starts_from_data = False

    def start_from_data(self, output: Tensor, bias: Tensor | None) -> None:
        """Set what is to start from data; in place.

        Args:
            output: [N, F, H, W], what the layer gives as it stands, its bias being zero.
            bias: [F], the layer's own; None where it has none.
        """


class WeightNorm(Reparametrization):
    """Weight normalization (Salimans & Kingma 2016, 1602.07868, equation 2): w = g v / ||v||, per filter.

    The layer's own weights are v: they start as in every other variant, so that variants are paired. (The
    paper draws v from N(0, 0.05^2); its scale does not matter to the network's function, which g sets.)

    Args:
        num_filters: F, each with a trainable g, 1 until `start_from_data`.
    """

    starts_from_data = True

    def __init__(self, num_filters: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_filters))

    def forward(self, weight: Tensor) -> Tensor:
        """V, of any shape [F, ...] -> w of the same shape."""
        factor: Tensor = self.scale / torch.linalg.vector_norm(weight.flatten(1), dim=1)
        return weight * factor.reshape(-1, *[1] * (weight.dim() - 1))

    @torch.no_grad()
    def start_from_data(self, output: Tensor, bias: Tensor | None) -> None:
        """Set g and the bias so that the outputs have mean 0 and variance 1 (section 3, equation 6)."""
        variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
        self.scale.copy_((variance + _VARIANCE_EPS).rsqrt())
        if bias is not None:
            bias.copy_(-mean * self.scale)


class WeightStandardization(Reparametrization):
    """Weight standardization (Qiao et al. 2019, 1903.10520): each filter minus its mean, by its deviation.

    The deviation divides by the number of weights less 1, as the authors' code does; their text does by the
    number.

    A filter of n such weights makes outputs of some sqrt(n) times its inputs, which the group normalization
    that follows takes back. Where an activation comes first, it would be driven to its ends. There the
    weights are divided by sqrt(n) too: scaled weight standardization (Brock et al. 2021, 2101.08692),
    without the gains that make up for an activation's.

    Args:
        scaled: whether to divide by sqrt(n).
    """

    def __init__(self, *, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, weight: Tensor) -> Tensor:
        """W, of any shape [F, ...] -> standardized, of the same shape."""
        std, mean = torch.std_mean(weight, tuple(range(1, weight.dim())), keepdim=True)
        standardized = (weight - mean) / (std + _STANDARD_EPS)
        return standardized / math.sqrt(weight[0].numel()) if self.scaled else standardized


class ScaledWeightStandardization(Reparametrization):
    """Scaled weight standardization (Brock et al. 2021, 2101.08692): w = g (v - mean) / (std sqrt(n)).

    Mean and variance are of a filter's n weights. Of inputs of variance 1 it makes outputs of variance 1, if
    the activation before gives variance 1: see `ScaledActivation`.

    Args:
        num_filters: F, each with a trainable g, at first 1 (as in the authors' code).
    """

    def __init__(self, num_filters: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_filters))

    def forward(self, weight: Tensor) -> Tensor:
        """V, of any shape [F, ...] -> w of the same shape."""
        flat = weight.flatten(1)
        variance, mean = torch.var_mean(flat, 1, correction=0, keepdim=True)
        factor = (variance * flat.shape[1]).clamp_min(_SCALED_EPS).rsqrt() * self.scale[:, None]
        return ((flat - mean) * factor).view_as(weight)
