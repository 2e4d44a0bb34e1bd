"""Reparametrizations: what a layer multiplies by is a function of its weights.

Shapes: F filters (units), each of as many weights as it has inputs; a weight is [F, C, 3, 3] or [F, D].
"""

import torch
from torch import Tensor, nn

_VARIANCE_EPS = 1e-10  # of the authors' code (openai/weightnorm): a filter may be constant on the images
_STANDARD_EPS = 1e-5  # of the authors' code (joe-siyuan-qiao/WeightStandardization), added to the deviation


class WeightNorm(nn.Module):
    """Weight normalization (Salimans & Kingma 2016, 1602.07868, equation 2): w = g v / ||v||, per filter.

    The layer's own weights are v: they start as in every other variant, so that variants are paired. (The
    paper draws v from N(0, 0.05^2); its scale does not matter to the network's function, which g sets.)

    Args:
        num_filters: F, each with a trainable g, 1 until `calibrate`.
    """

    def __init__(self, num_filters: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_filters))

    def forward(self, weight: Tensor) -> Tensor:
        """V, of any shape [F, ...] -> w of the same shape."""
        factor: Tensor = self.scale / torch.linalg.vector_norm(weight.flatten(1), dim=1)
        return weight * factor.reshape(-1, *[1] * (weight.dim() - 1))

    @torch.no_grad()
    def calibrate(self, output: Tensor, bias: Tensor | None) -> None:
        """Set g and the layer's bias so that its outputs have mean 0 and variance 1 (section 3, equation 6).

        Args:
            output: [N, F, H, W], the layer's outputs with g = 1 and zero bias.
            bias: [F], set in place; None where the layer has none.
        """
        variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
        self.scale.copy_((variance + _VARIANCE_EPS).rsqrt())
        if bias is not None:
            bias.copy_(-mean * self.scale)


class WeightStandardization(nn.Module):
    """Weight standardization (Qiao et al. 2019, 1903.10520): each filter minus its mean, by its deviation.

    The deviation divides by the number of weights less 1, as the authors' code does; their text does by the
    number.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """W, of any shape [F, ...] -> standardized, of the same shape."""
        std, mean = torch.std_mean(weight, tuple(range(1, weight.dim())), keepdim=True)
        return (weight - mean) / (std + _STANDARD_EPS)
