"""How likely the normalized net beats the unnormalized one of the same seed."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.figures._cells import best_trials
from analysis.results import Results, Variant
from analysis.stats import probability_of_improvement
from benchmark.contract import BASELINE

TITLE = "Probability of improvement"
CAPTION = (
    "How often a normalized net ends with a higher validation accuracy than the unnormalized one of the "
    "same activation and seed, each at its own best learning rate ({n} pairs; a tie counts half), with a "
    "95% bootstrap interval. Dotted: a coin toss. Dashed: 0.75. Bouthillier et al. (2021) call an "
    "improvement significant where the interval's lower end is above the dotted line, and meaningful too "
    "where its upper end is above the dashed one. It describes and decides nothing; when all pairs agree the "
    "bootstrap has no width to show. A net whose seeds are not those of the other (it has no confirm trials) "
    "is left out."
)
INTERVAL_SEED = 20210301


def prepare(results: Results) -> pd.DataFrame:
    """P(normalized beats unnormalized) per normalized variant.

    Returns:
        frame with columns variant, normalization, activation, baseline, probability, low, high, n
        (pairs).
    """
    trials = best_trials(results)
    by_seed = trials.pivot(index="seed", columns="variant", values="final_val_accuracy")
    rows = []
    for activation in results.activations:
        baseline = Variant(BASELINE, activation).name
        for normalization in results.normalizations:
            variant = Variant(normalization, activation).name
            if variant == baseline or not {variant, baseline} <= set(by_seed.columns):
                continue
            pairs = by_seed[[variant, baseline]].dropna()
            if pairs.empty:
                continue
            won = probability_of_improvement(
                pairs[variant], pairs[baseline], np.random.default_rng(INTERVAL_SEED)
            )
            rows.append((variant, baseline, won.value, won.low, won.high, won.n))
    frame = pd.DataFrame(rows, columns=["variant", "baseline", "probability", "low", "high", "n"])
    return results.with_names(frame)


def draw(frame: pd.DataFrame) -> Figure:
    """A row per comparison."""
    figure, axes = _style.panels(1, 1, 0.45 * len(frame) + 0.6)
    panel = axes[0, 0]
    for position, row in enumerate(frame.itertuples()):
        style = _style.style_of(str(row.normalization), str(row.activation))
        panel.hlines(position, row.low, row.high, color=style.colour, linewidth=2.5)
        panel.plot(
            row.probability,
            position,
            marker=style.marker,
            color=style.colour,
            markersize=8,
            markeredgecolor="white",
        )
    panel.axvline(0.5, color="#777777", linestyle=":", linewidth=1)
    panel.axvline(0.75, color="#777777", linestyle="--", linewidth=1)
    _style.name_rows(panel, [f"{row.variant} over {row.baseline}" for row in frame.itertuples()])
    panel.set(xlim=(-0.02, 1.02), xlabel="probability of the higher final validation accuracy")
    return figure


def applies(results: Results) -> str | None:
    """Needs a normalized and an unnormalized variant with common seeds."""
    if prepare(results).empty:
        return "no normalized variant shares seeds with the unnormalized one of its activation yet"
    return None


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies)
