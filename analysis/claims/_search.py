"""What the claims on stable rates say of how the rates were searched."""

from __future__ import annotations

import numpy as np

from analysis.claims import _requirements as needs
from analysis.claims._base import Pair
from analysis.measures import max_stable_rate, select
from analysis.results import Results


def search_caveats(results: Results, pair: Pair, *, both_edges: bool) -> list[str]:
    """Whole phrases on edges that stayed coarse, and on seeds that were searched for a stable rate.

    Args:
        results: a study's.
        pair: what is compared.
        both_edges: does the claim read the lower edges too?
    """
    wide = needs.wide_edges(results, pair, both_edges=both_edges)
    said = [f"{wide} stability edges are known to no better than {needs.EDGE_RESOLUTION} decades"]
    return said * bool(wide) + [text for name in pair.both if (text := searched_words(results, name))]


def searched_words(results: Results, variant: str) -> str:
    """Which seeds of a variant were stable at no rate of the grid, and what was found; empty if none was."""
    seeds = select.decided(results, variant).get("searched_seeds", [])
    if not seeds:
        return ""
    edges = max_stable_rate(results, variant).set_index("seed").loc[seeds]
    found = int(np.isfinite(edges["low"].to_numpy(dtype=float)).sum())
    which = ", ".join(map(str, seeds))
    return (
        f"{variant} trained under seed{'s' * (len(seeds) > 1)} {which}, but stably at no rate of the grid: "
        f"the rates beside its best one were searched, and hold a stable one for {found} of {len(seeds)}"
    )
