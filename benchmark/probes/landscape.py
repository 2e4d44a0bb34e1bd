"""How the loss changes along its gradient: a walk from w to w - a g, after Santurkar et al. (1805.11604).

The steps a are 1/2, 1, 2 and 4 times one learning rate, the unnormalized variant's best, so that all variants
of an activation walk with the same steps; loss and gradient are those of the same fixed batch throughout, and
of one draw of the noise that a normalization injects: along a walk the loss is one function.
"""

import torch
from torch.linalg import vector_norm

from benchmark.probes._view import Reading, Readings, View

METRICS = {
    "landscape_loss_min": ("nats", "least loss on the walk along the gradient, its start included"),
    "landscape_loss_max": ("nats", "greatest loss on that walk"),
    "landscape_gradient_change_min": ("loss/weight", "least ||grad(w - a g) - g|| on that walk"),
    "landscape_gradient_change_max": ("loss/weight", "greatest ||grad(w - a g) - g|| on that walk"),
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
    for name, values in (("loss", losses), ("gradient_change", changes)):
        yield Reading(f"landscape_{name}_min", "all", torch.stack(values).min())
        yield Reading(f"landscape_{name}_max", "all", torch.stack(values).max())
    yield Reading("landscape_smoothness", "all", torch.stack(ratios).max())
