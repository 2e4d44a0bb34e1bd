"""Calibration of the ranking: how often a rank interval misses, and what it can tell apart."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from analysis import stats
from analysis.stats.signed_rank import Floats
from benchmark.contract import ALPHA

NUM_CONTESTANTS = (4, 10, 30)
NUM_SEEDS = (6, 8, 10)
GAPS = (1.0, 2.0, 4.0, 8.0)
"""Steps between neighbours in a ranking, in standard deviations of one contestant over seeds."""

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


def _lattice(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Accuracies near the top on 180 images, as small studies have them."""
    return np.asarray(rng.binomial(180, 0.975, size=size) / 180)


def _spreads(size: tuple[int, int]) -> Floats:
    """Standard deviations over two decades, [N, 1]."""
    return np.geomspace(0.1, 10, size[0])[:, None]


NULLS: Mapping[str, Draw] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "skewed": lambda rng, size: -rng.exponential(size=size),
    "accuracies on a lattice": _lattice,
    "one seed in ten fails": lambda rng, size: np.where(rng.random(size) < 0.1, 0.1, _lattice(rng, size)),
    "normal, unequal spreads": lambda rng, size: rng.standard_normal(size) * _spreads(size),
    "skewed, unequal spreads": lambda rng, size: (1 - rng.exponential(size=size)) * _spreads(size),
}
"""Contestants that are equally good, [N, n] each. The promise is for the jointly symmetric: the normal."""


def run(num_studies: int, seed: int) -> pd.DataFrame:
    """Simulate and rank.

    Args:
        num_studies: per cell.
        seed: of the whole table; each cell has a stream of its own.

    Returns:
        frame with columns quantity, shape, contestants, n, rate: `missed`, the share of rankings of equals
        that tell any two apart; `told apart`, the share of neighbours a gap apart that are (shape: the gap).
    """
    rows = []
    for num in NUM_CONTESTANTS:
        for n in NUM_SEEDS:
            for index, (shape, draw) in enumerate(NULLS.items()):
                rng = np.random.default_rng([seed, num, n, index])
                missed = [
                    stats.rank_intervals(draw(rng, (num, n)), rng).better.any() for _ in range(num_studies)
                ]
                rows.append(("missed", shape, num, n, float(np.mean(missed))))
            for gap in GAPS:
                rng = np.random.default_rng([seed, num, n, int(gap * 100)])
                truth = -gap * np.arange(num)[:, None]
                told = [
                    np.diagonal(
                        stats.rank_intervals(truth + rng.standard_normal((num, n)), rng).better, offset=1
                    ).mean()
                    for _ in range(max(1, num_studies // 10))
                ]
                rows.append(("told apart", f"{gap:g} standard deviations", num, n, float(np.mean(told))))
    return pd.DataFrame(rows, columns=["quantity", "shape", "contestants", "n", "rate"])


def table_markdown(table: pd.DataFrame, num_studies: int) -> str:
    """The two tables as Markdown.

    Args:
        table: what `run` returned.
        num_studies: per cell.
    """
    error = float(np.sqrt(ALPHA * (1 - ALPHA) / num_studies))
    notes = {
        "missed": "Share of rankings of equally good contestants in which any interval misses, promised for "
        f"the normal ones: at most .05; {num_studies} studies per cell, standard error {error:.3f} at .05.",
        "told apart": "Share of neighbours told apart, normal data, contestants this far from each other.",
    }
    lines = []
    for quantity, own in table.groupby("quantity", sort=False):
        wide = own.pivot(index="shape", columns=["contestants", "n"], values="rate").loc[
            list(dict.fromkeys(own["shape"]))
        ]
        columns: list[tuple[int, int]] = wide.columns.to_list()  # type: ignore[assignment]
        heads = [f"{num} ranked, n = {n}" for num, n in columns]
        lines += [f"\n## Ranking: {quantity}\n", notes[str(quantity)] + "\n"]
        lines += ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        lines += [
            f"| {shape} | " + " | ".join(f"{rate:.3f}".removeprefix("0") for rate in rates) + " |"
            for shape, rates in zip(wide.index, wide.to_numpy(), strict=True)
        ]
    return "\n".join(lines) + "\n"
