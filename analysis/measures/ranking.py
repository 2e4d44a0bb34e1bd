"""Which variant is best, and where that cannot be told."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures import select
from analysis.results import Results
from analysis.stats import bootstrap_interval, iqm, min_seeds_to_rank, rank_intervals

COLUMNS = [
    "variant",
    "normalization",
    "activation",
    "n",
    "accuracy_iqm",
    "accuracy_low",
    "accuracy_high",
    "best_rank",
    "worst_rank",
    "num_ranked",
    "cannot_tell_from",
]


def ranking(results: Results, rng: np.random.Generator) -> pd.DataFrame:
    """Rank intervals of the variants of each activation, by final accuracy at their own best rate.

    Judged validation accuracy, confirm seeds, paired; a diverged trial counts as chance. Activations are
    ranked apart: the question is which normalizer to take, and every further variant widens all intervals.
    See `analysis.stats.ranks` for what they guarantee. A variant without a confirm cell (it has no best rate,
    or not yet) is not ranked.

    Args:
        results: a study's.
        rng: of the bootstrap intervals of the accuracies, which decide nothing; and, of more seeds than 12,
            of the sign flips.

    Returns:
        frame with columns variant, normalization, activation, n (seeds), accuracy_iqm, accuracy_low,
        accuracy_high (95% bootstrap interval), best_rank, worst_rank (1 is the best of its activation),
        num_ranked (of its activation), cannot_tell_from (other variants, comma-separated); by activation, the
        best first.
    """
    groups = [_rank(results, activation, rng) for activation in results.activations]
    ranked = [group for group in groups if len(group)]
    return pd.concat(ranked, ignore_index=True) if ranked else pd.DataFrame(columns=COLUMNS)


def _rank(results: Results, activation: str, rng: np.random.Generator) -> pd.DataFrame:
    """The ranking of one activation's variants."""
    variants = [name for name, own in results.planned.items() if own.activation == activation]
    trials = [
        select.confirm_trials(results, variant)[["variant", "seed", "final_val_accuracy"]]
        for variant in variants
    ]
    table = pd.concat(trials).pivot_table(index="variant", columns="seed", values="final_val_accuracy")
    table = table.loc[[variant for variant in variants if variant in table.index]]
    scores = table.to_numpy(dtype=float)
    ranks = rank_intervals(scores, rng)
    rows = []
    for position, variant in enumerate(table.index):
        own = scores[position][~np.isnan(scores[position])]
        size = bootstrap_interval(own, rng, statistic=iqm)
        tied = ~(ranks.better[position] | ranks.better[:, position])
        tied[position] = False
        accuracy = {"accuracy_iqm": size.value, "accuracy_low": size.low, "accuracy_high": size.high}
        place = {"best_rank": int(ranks.best[position]), "worst_rank": int(ranks.worst[position])}
        normalization = results.planned[str(variant)].normalization
        rows.append(
            {"variant": variant, "normalization": normalization, "activation": activation, "n": own.size}
            | accuracy
            | place
            | {"num_ranked": len(scores), "cannot_tell_from": ", ".join(table.index[tied])}
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.sort_values(
        ["best_rank", "worst_rank", "accuracy_iqm"], ascending=[True, True, False], ignore_index=True
    )


def ranking_words(results: Results, frame: pd.DataFrame) -> list[str]:
    """What a ranking says, and what it cannot, in sentences.

    Args:
        results: the study's.
        frame: from `ranking`.
    """
    sentences = []
    for activation, group in frame.groupby("activation", sort=False):
        num, first = len(group), group[group["best_rank"] == 1]
        if num < 2:
            continue
        if len(first) == num:
            told = f"the {num} variants cannot be told apart: none is ruled out as the best"
        elif len(first) == 1:
            told = f"{first['variant'].iloc[0]} is the best"
        else:
            told = f"{', '.join(first['variant'])} may be the best; {num - len(first)} of {num} are ruled out"
        sentences.append(f"Of the {activation} nets, {told}.")
    if sentences:
        num_seeds, needed = int(frame["n"].max()), min_seeds_to_rank()
        if num_seeds < needed:
            sentences.append(
                f"No result of {num_seeds} seeds could tell any two variants apart; it takes {needed}."
            )
    unranked = [variant for variant in results.variants if variant not in set(frame["variant"])]
    if unranked:
        sentences.append(f"Not ranked, without trials at a best rate of their own: {', '.join(unranked)}.")
    return sentences
