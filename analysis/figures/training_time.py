"""What an optimizer step, and a whole training, costs each variant in time."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import _style
from analysis.figures._base import Drawing
from analysis.results import Results

TITLE = "Training time per variant"
CAPTION = (
    "Seconds of training per 100 optimizer steps, by one engine where it takes all variants. They were "
    "timed in turns, before the first trial; each mark is a round ({n} per variant), the bar their median. "
    "Evaluation is not counted. Read the ratio between variants rather than the seconds, which are this "
    "machine's."
)


def prepare(results: Results) -> pd.DataFrame:
    """What a step took, round by round.

    Returns:
        frame with columns variant, normalization, activation, round, seconds_per_100_steps, n (rounds of the
        variant).
    """
    columns = ["variant", "round", "seconds_per_100_steps", "n"]
    rows = [
        (variant, number, 100 * seconds, len(rounds))
        for variant, rounds in results.steps_s.items()
        for number, seconds in enumerate(rounds)
    ]
    return results.with_names(pd.DataFrame(rows, columns=columns))


def draw(frame: pd.DataFrame) -> Figure:
    """A row per variant, time on the horizontal axis, from zero."""
    variants = list(frame["variant"].unique())
    figure, axes = _style.panels(1, 1, 0.45 * len(variants) + 0.6)
    panel = axes[0, 0]
    for position, variant in enumerate(variants):
        rows = frame[frame["variant"] == variant]
        style = _style.style_of_rows(rows)
        seconds = rows["seconds_per_100_steps"].sort_values()
        offsets = _style.spread(len(seconds))
        panel.barh(position, seconds.median(), height=0.62, color=style.colour, alpha=0.25)
        panel.plot(seconds, position + offsets, linestyle="", marker=style.marker, color=style.colour)
    _style.name_rows(panel, variants)
    panel.set(xlim=(0, None), xlabel="training seconds per 100 optimizer steps")
    return figure


def applies(results: Results) -> str | None:
    """Needs the times, which are measured before the first trial."""
    return None if results.steps_s else "no step has been timed yet"


DRAWING: Drawing[Results] = Drawing(TITLE, CAPTION, prepare, draw, applies, claims=("worth-its-cost",))
