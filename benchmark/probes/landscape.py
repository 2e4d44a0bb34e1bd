"""How the loss changes along its gradient: a walk from w to w - a g, after Santurkar et al. (1805.11604).

The steps a are 1/2, 1, 2 and 4 times one learning rate, the unnormalized variant's best, so that all variants
of an activation walk with the same steps; loss and gradient are those of the same fixed batch throughout, and
of one draw of the noise that a normalization injects: along a walk the loss is one function.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from benchmark.probes._view import Reading, Readings, View

METRICS = {
    "landscape_loss_range": ("nats", "greatest minus least loss on the walk along the gradient"),
    "landscape_gradient_range": (
        "loss/weight",
        "greatest minus least ||grad(w - a g) - g|| on that walk",
    ),
    "landscape_smoothness": (
        "loss/weight^2",
        "max ||grad(w - a g) - g|| / ||a g|| on that walk: the effective smoothness, less is smoother",
    ),
}

_MULTIPLES = (0.5, 1.0, 2.0, 4.0)  # of the walk's rate (protocol, section 7)


def observe(view: View) -> Readings:
    """The readings of `METRICS`, of the whole network; none without a rate to walk at."""
    if view.walk_rate is None:
        return
    start = view.gradient
    losses, changes, ratios = [view.loss], [], []
    for multiple in _MULTIPLES:
        step = multiple * view.walk_rate * start
        loss, gradient = view.loss_and_gradient(-step)
        change = vector_norm(gradient - start)
        losses.append(loss)
        changes.append(change)
        ratios.append(change / vector_norm(step))
    yield Reading("landscape_loss_range", "all", _range(losses))
    yield Reading("landscape_gradient_range", "all", _range(changes))
    yield Reading("landscape_smoothness", "all", torch.stack(ratios).max())


def _range(values: list[Tensor]) -> Tensor:
    stacked = torch.stack(values)
    return stacked.max() - stacked.min()
