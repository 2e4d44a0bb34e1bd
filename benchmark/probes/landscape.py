"""How the loss changes along its gradient: a walk from w to w - a g, after Santurkar et al. (1805.11604).

The steps a are 1/2, 1, 2 and 4 times a learning rate. There are two walks: at one rate, the unnormalized
variant's best, so that all variants of an activation walk with the same steps; and at the trial's own. Loss
and gradient are those of the same fixed batch throughout, and of one draw of the noise that a normalization
injects: along a walk the loss is one function.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from benchmark.contract import (
    LANDSCAPE_GRADIENT_CHANGE_MAX,
    LANDSCAPE_GRADIENT_CHANGE_MIN,
    LANDSCAPE_LOSS_MAX,
    LANDSCAPE_LOSS_MIN,
    LANDSCAPE_SMOOTHNESS,
    OWN_RATE,
    WHOLE_NETWORK,
)
from benchmark.probes._view import Reading, Readings, View

_OF_A_WALK = {
    LANDSCAPE_LOSS_MIN: ("nats", "least loss on the walk along the gradient, its start included"),
    LANDSCAPE_LOSS_MAX: ("nats", "greatest loss on that walk"),
    LANDSCAPE_GRADIENT_CHANGE_MIN: ("loss/weight", "least ||grad(w - a g) - g|| on that walk"),
    LANDSCAPE_GRADIENT_CHANGE_MAX: ("loss/weight", "greatest ||grad(w - a g) - g|| on that walk"),
    LANDSCAPE_SMOOTHNESS: (
        "loss/weight^2",
        "max ||grad(w - a g) - g|| / ||a g|| on that walk: the effective smoothness, less is smoother",
    ),
}
METRICS = _OF_A_WALK | {
    f"{name}{OWN_RATE}": (unit, f"{words}; at the trial's own rate")
    for name, (unit, words) in _OF_A_WALK.items()
}

_MULTIPLES = (0.5, 1.0, 2.0, 4.0)  # of a walk's rate (protocol, section 7)


def observe(view: View) -> Readings:
    """The readings of `METRICS`, of the whole network; none without a rate to walk at."""
    if view.walk_rate is None:
        return
    walks = {"": _walk(view, view.walk_rate)}
    walks[OWN_RATE] = walks[""] if view.own_rate == view.walk_rate else _walk(view, view.own_rate)
    for suffix, walk in walks.items():
        for name, value in walk.items():
            yield Reading(f"{name}{suffix}", WHOLE_NETWORK, value)


def _walk(view: View, rate: float) -> dict[str, Tensor]:
    """What is read off one walk, by the names of `_OF_A_WALK`."""
    start = view.gradient
    losses, changes, ratios = [view.loss], [], []
    for multiple in _MULTIPLES:
        step = multiple * rate * start
        loss, gradient = view.loss_and_gradient(-step)
        change = vector_norm(gradient - start)
        losses.append(loss)
        changes.append(change)
        ratios.append(change / vector_norm(step))
    all_losses, all_changes = torch.stack(losses), torch.stack(changes)
    return {
        LANDSCAPE_LOSS_MIN: all_losses.min(),
        LANDSCAPE_LOSS_MAX: all_losses.max(),
        LANDSCAPE_GRADIENT_CHANGE_MIN: all_changes.min(),
        LANDSCAPE_GRADIENT_CHANGE_MAX: all_changes.max(),
        LANDSCAPE_SMOOTHNESS: torch.stack(ratios).max(),
    }
