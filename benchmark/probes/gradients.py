"""Gradients, weights and updates, layer by layer: does the gradient reach the first layers alive?

Noise that a normalization injects is on, in one draw per reading, as it would be in the next training step.
"""

from torch.linalg import vector_norm

from benchmark.contract import GRADIENT_NORM, GRADIENT_TIMES_WEIGHT
from benchmark.probes._view import Reading, Readings, View

METRICS = {
    GRADIENT_NORM: ("loss/weight", "||dL/dW|| of a layer's weights on the probe batch"),
    GRADIENT_TIMES_WEIGHT: (
        "loss",
        "||dL/dW|| ||W|| of the weights that the layer multiplies by: the same in whatever unit they are",
    ),
    "gradient_ratio": ("1", "||dL/dW|| / ||W||"),
    "weight_norm": ("weight", "||W|| of a layer's weights"),
    "update_ratio": ("1", "||dW|| / ||W|| of the last training step"),
}


def observe(view: View) -> Readings:
    """The readings of `METRICS`, one per layer; no update ratio before the first step."""
    for layer, weight in view.weights.items():
        norm, gradient = vector_norm(weight), vector_norm(view.gradients[layer])
        yield Reading(GRADIENT_NORM, layer, gradient)
        effective, of_effective = view.effective[layer]
        yield Reading(GRADIENT_TIMES_WEIGHT, layer, vector_norm(of_effective) * vector_norm(effective))
        yield Reading("gradient_ratio", layer, gradient / norm)
        yield Reading("weight_norm", layer, norm)
        if view.updates is not None:
            yield Reading("update_ratio", layer, vector_norm(view.updates[layer]) / norm)
