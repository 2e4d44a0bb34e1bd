"""How the loss changes along its gradient: a walk from w to w - a g, after Santurkar et al. (1805.11604).

The steps a are 1/2, 1, 2 and 4 times one learning rate, the unnormalized variant's best, so that all variants
of an activation walk with the same steps; loss and gradient are those of the same fixed batch throughout, and
of one draw of the noise that a normalization injects: along a walk the loss is one function.
"""

import torch
from torch.linalg import vector_norm

from benchmark.contract import (
    LANDSCAPE_GRADIENT_CHANGE_MAX,
    LANDSCAPE_GRADIENT_CHANGE_MIN,
    LANDSCAPE_LOSS_MAX,
    LANDSCAPE_LOSS_MIN,
    LANDSCAPE_SMOOTHNESS,
    WHOLE_NETWORK,
)
from benchmark.probes._view import Reading, Readings, View

METRICS = {
    LANDSCAPE_LOSS_MIN: ("nats", "least loss on the walk along the gradient, its start included"),
    LANDSCAPE_LOSS_MAX: ("nats", "greatest loss on that walk"),
    LANDSCAPE_GRADIENT_CHANGE_MIN: ("loss/weight", "least ||grad(w - a g) - g|| on that walk"),
    LANDSCAPE_GRADIENT_CHANGE_MAX: ("loss/weight", "greatest ||grad(w - a g) - g|| on that walk"),
    LANDSCAPE_SMOOTHNESS: (
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
    all_losses, all_changes = torch.stack(losses), torch.stack(changes)
    yield Reading(LANDSCAPE_LOSS_MIN, WHOLE_NETWORK, all_losses.min())
    yield Reading(LANDSCAPE_LOSS_MAX, WHOLE_NETWORK, all_losses.max())
    yield Reading(LANDSCAPE_GRADIENT_CHANGE_MIN, WHOLE_NETWORK, all_changes.min())
    yield Reading(LANDSCAPE_GRADIENT_CHANGE_MAX, WHOLE_NETWORK, all_changes.max())
    yield Reading(LANDSCAPE_SMOOTHNESS, WHOLE_NETWORK, torch.stack(ratios).max())
