"""What a figure of the report is: its words, the frame it shows, and how that frame is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import pandas as pd
from matplotlib.figure import Figure

from analysis.family import Family
from analysis.results import Results

Source = TypeVar("Source", Results, Family)
"""What a figure is drawn from: one study run, or one at every value of an axis."""


def in_unit(words: str, unit: str) -> str:
    """An axis' words with their unit, where they have one."""
    return words if unit == "1" else f"{words} ({unit})"


@dataclass(frozen=True)
class Drawing(Generic[Source]):
    """One figure.

    `prepare` holds all the information and is what the tests look at; `draw` only paints it.

    Attributes:
        title: the heading above the figure.
        caption: what is shown, what a band is; `{n}` stands for the number of seeds behind it.
        prepare: results (or family) -> tidy frame. Its column `n`, where there is one, counts seeds.
        draw: frame -> matplotlib figure, not registered with pyplot (nothing to close).
        applies: None, or the reason in plain words why this study has nothing to draw.
        claims: ids of the claims whose section shows this figure.
    """

    title: str
    caption: str
    prepare: Callable[[Source], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
    applies: Callable[[Source], str | None]
    claims: tuple[str, ...] = ()

    def describe(self, frame: pd.DataFrame) -> str:
        """The caption with the number of seeds filled in, as "8" or "6 to 8"."""
        counts = frame["n"].dropna() if "n" in frame else pd.Series(dtype=int)
        if counts.empty:
            return self.caption.format(n="no")
        low, high = int(counts.min()), int(counts.max())
        return self.caption.format(n=str(low) if low == high else f"{low} to {high}")
