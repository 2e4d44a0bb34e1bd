"""What enters the activations, layer by layer: its distribution, and the share that has stopped learning.

Ioffe & Szegedy's figure 1 shows the percentiles of a typical unit of the last hidden layer; here of each
layer's first unit, fixed beforehand, since "typical" is a choice. Noise that a normalization injects is on,
in one draw per reading, as it would be in the next training step: it is there to shift these distributions.

Shapes: N images of the probe batch, F filters, H x W positions.
"""

import torch
from torch import Tensor

from benchmark.contract import (
    DEAD_SHARE,
    PREACTIVATION_P15,
    PREACTIVATION_P50,
    PREACTIVATION_P85,
    SATURATED_SHARE,
)
from benchmark.probes._view import Reading, Readings, View

METRICS = {
    "preactivation_mean": ("1", "mean of what enters the activation, over the probe batch and all units"),
    "preactivation_std": ("1", "its standard deviation"),
    PREACTIVATION_P15: ("1", "15th percentile of one fixed unit's input over the probe batch"),
    PREACTIVATION_P50: ("1", "50th percentile, after figure 1 of Ioffe & Szegedy (1502.03167)"),
    PREACTIVATION_P85: ("1", "85th percentile"),
    SATURATED_SHARE: ("share", "inputs where |f'(x)| is below 5% of its maximum (saturating activations)"),
    DEAD_SHARE: ("share", "units below their threshold, ReLU's 0, on the whole probe batch"),
}

_SATURATION = 0.05  # of the derivative's maximum (protocol, section 7)
# Ioffe & Szegedy (1502.03167), figure 1.
_PERCENTILES = {PREACTIVATION_P15: 0.15, PREACTIVATION_P50: 0.50, PREACTIVATION_P85: 0.85}


def observe(view: View) -> Readings:
    """The readings of `METRICS` that apply to the network's activation, one per hidden layer."""
    for layer, x in view.preactivations.items():
        yield Reading("preactivation_mean", layer, x.mean())
        yield Reading("preactivation_std", layer, x.std())
        # The fixed unit: the first filter, at the centre.
        unit = x[:, 0, x.shape[2] // 2, x.shape[3] // 2]
        # Filled in on the device: a tensor of them would be copied there from the host.
        shares = torch.stack([unit.new_full((), share) for share in _PERCENTILES.values()])
        for name, level in zip(_PERCENTILES, torch.quantile(unit, shares), strict=True):
            yield Reading(name, layer, level)
        if view.activation.saturates:
            flat = _derivative(view, x).abs() < _SATURATION * view.activation.derivative_max
            yield Reading(SATURATED_SHARE, layer, flat.float().mean())
        if view.activation.has_dead_units:
            yield Reading(DEAD_SHARE, layer, (x <= _floor(view, layer)).all(0).float().mean())


def _floor(view: View, layer: str) -> Tensor | float:
    """What units have to exceed to be seen: 0, or thresholds [F, 1, 1] that stand in its place."""
    threshold = view.threshold(layer)
    return 0.0 if threshold is None else threshold[:, None, None]


def _derivative(view: View, x: Tensor) -> Tensor:
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(view.activation.build()(point).sum(), point)
    return slope
