"""Internal covariate shift, measured as Santurkar et al. do (1805.11604, definition 2.1).

How much the gradient of a layer changes when the layers below it take their step and it does not: G is its
gradient before the step, G' after the step of all layers below, both on the same batch: here the probe batch,
the same throughout, where they take the step's own; and a layer's parameters are its weights, its bias and
its normalization's, where they name the weights. Noise that a normalization injects is the last training
step's in both: redrawn, it would move the gradient though no layer had stepped. The step is the last training
step, so there is nothing to read at initialization.

A gradient that is ten times as large changes ten times as much: nets compare by the change's share of it.
"""

from torch.linalg import vector_norm
from torch.nn.functional import cosine_similarity

from benchmark.contract import COVARIATE_SHIFT, COVARIATE_SHIFT_COSINE, COVARIATE_SHIFT_RELATIVE
from benchmark.probes._view import Reading, Readings, View

METRICS = {
    COVARIATE_SHIFT: ("loss/weight", "||G - G'|| of a layer whose lower layers took their step"),
    COVARIATE_SHIFT_RELATIVE: ("1", "||G - G'|| / ||G||"),
    COVARIATE_SHIFT_COSINE: ("1", "cosine between G and G'"),
}


_FLOOR = 1e-30  # of a gradient's norm, as of the attenuation slope's (protocol, section 7)


def observe(view: View) -> Readings:
    """The readings of `METRICS`, one per layer; the first has no layers below it, so its shift is 0."""
    if not view.is_stepped:
        return
    before = view.partly_stepped(0)
    ends = [*list(view.starts.values())[1:], len(before)]
    for depth, ((layer, start), end) in enumerate(zip(view.starts.items(), ends, strict=True)):
        after = view.partly_stepped(depth) if depth > 0 else before
        old, new = before[start:end], after[start:end]
        shift = vector_norm(old - new)
        yield Reading(COVARIATE_SHIFT, layer, shift)
        # A layer that is switched off, as SkipInit's branches are at first, has no gradient that could shift.
        yield Reading(COVARIATE_SHIFT_RELATIVE, layer, shift / vector_norm(old).clamp_min(_FLOOR))
        yield Reading(COVARIATE_SHIFT_COSINE, layer, cosine_similarity(old, new, dim=0))
