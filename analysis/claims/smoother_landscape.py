"""Batch normalization lowers the effective smoothness of the loss along the gradient."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.claims import _requirements as needs
from analysis.claims._base import Claim, Pair, Sample, show_times
from analysis.measures import effective_smoothness, paired_difference
from analysis.measures.select import SAME_RATE
from analysis.results import Results
from benchmark.contract import LANDSCAPE, LANDSCAPE_SMOOTHNESS

SWITCH = f'"{LANDSCAPE}" in probes.enabled'


def evaluate(results: Results, pair: Pair) -> Sample:
    """Per confirm seed: log10(effective smoothness without / with), both at the reference's eta*.

    Both at one rate, so that the nets walk with equal steps. A pair of which one net did not train says
    nothing: a dead net is perfectly smooth.
    """
    logs = [_log10(effective_smoothness(results, name, SAME_RATE, pair.reference)) for name in pair.both]
    return Sample.of(paired_difference(*logs))


def _log10(smoothness: pd.DataFrame) -> pd.DataFrame:
    """log10 as intervals; unknown for a net that did not train, or whose gradient never changed."""
    values = smoothness["value"].to_numpy(dtype=float)
    known = (smoothness["status"] == "trained").to_numpy() & (values > 0)
    logs = np.log10(values, out=np.full_like(values, np.nan), where=known)
    return pd.DataFrame(
        {
            "seed": smoothness["seed"].to_numpy(dtype=int),
            "low": np.where(known, logs, -np.inf),
            "high": np.where(known, logs, np.inf),
        }
    )


CLAIM = Claim(
    id="smoother-landscape",
    statement="Batch normalization makes the loss smoother along the gradient.",
    h0="log10(smoothness constant, unnormalized / normalized) <= 0.3",
    h1="log10(smoothness constant, unnormalized / normalized) > 0.3",
    measure="max ||grad(w - a g) - g|| / ||a g|| along the gradient, median over the first half of training",
    contrast="unnormalized / normalized, both at the unnormalized net's best rate, log10",
    pairing="same confirm seed; pairs in which both train",
    unit="decades",
    delta=0.3,
    delta_reason="a factor of two in the step that the local gradient can be trusted for",
    requires=(
        needs.probed(LANDSCAPE_SMOOTHNESS, SWITCH),
        needs.rates_varied,
        needs.variants_decided,
        needs.usable,
        needs.reference_best_known,
        needs.confirmed(SAME_RATE),
    ),
    evaluate=evaluate,
    show=show_times,
    supported="without {norm}, the {act} net's gradient changes {effect} as fast along a step",
    refuted=(
        "{norm} does not make the {act} net's loss smoother by the factor that would matter ({delta}); "
        "without it the gradient changes {effect} as fast along a step"
    ),
    inconclusive=(
        "whether the {act} net's gradient changes more than {delta} as fast along a step without {norm} "
        "is not settled"
    ),
    best_guess="{effect} as fast",
    needs=SWITCH,
)
