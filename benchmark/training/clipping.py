"""What bounds a gradient before the optimizer sees it.

Shapes: R replicas, P parameters of one.
"""

import torch
from torch import Tensor

from benchmark.training.state import Layout

_LEAST_NORM = 1e-3  # of a unit's weights, below which they count as so long: 2102.06171, equation 3
_TINY = 1e-6  # of a gradient, by which the authors' code divides at least
_LAST_LAYER = "dense."


def clip_norm_(gradient: Tensor, norm: Tensor, most: float) -> None:
    """Shorten gradients [R, P] of norms [R] to at most `most` (Pascanu et al., 1211.5063, algorithm 1)."""
    gradient.mul_((most / norm).clamp_max(1.0)[:, None])


def clip_by_units_(layout: Layout, gradient: Tensor, parameters: Tensor, share: float) -> None:
    """Adaptive gradient clipping (Brock et al. 2021, 2102.06171, equation 3), in place.

    A unit's gradient is at most `share` as long as its weights. A unit is what a filter multiplies its inputs
    by; a layer's vector of biases, of scales or of shifts is one unit, as in the authors' code. The last
    layer is left alone (their section 4.1).

    Args:
        layout: of the parameters.
        gradient: [R, P], shortened in place.
        parameters: [R, P].
        share: lambda.
    """
    weights = layout.split(parameters)
    for name, part in layout.split(gradient).items():
        if name.startswith(_LAST_LAYER):
            continue
        num_units = part.shape[1] if part.dim() > 2 else 1
        units = part.view(len(part), num_units, -1)
        lengths = torch.linalg.vector_norm(weights[name].view(units.shape), dim=2, keepdim=True)
        norms = torch.linalg.vector_norm(units, dim=2, keepdim=True)
        units.mul_((share * lengths.clamp_min(_LEAST_NORM) / norms.clamp_min(_TINY)).clamp_max(1.0))
