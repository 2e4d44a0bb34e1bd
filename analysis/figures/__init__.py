"""The report's figures: one file each. A new one is a file with a `DRAWING` and a line here."""

from analysis.family import Family
from analysis.figures import (
    all_variants,
    axis_error,
    axis_stable_rate,
    covariate_shift,
    equal_loss_smoothness,
    generalization_gap,
    gradient_depth,
    landscape,
    learning_curves,
    max_stable_rate,
    outcome_map,
    performance_profile,
    probability_of_improvement,
    ranking,
    rate_response,
    saturation,
    seed_spread,
    statistics_difference,
    throughput,
    time_to_target,
    training_time,
)
from analysis.figures._base import Drawing, Source
from analysis.figures._style import save, styled
from analysis.results import Results

__all__ = ["AXIS_FIGURES", "FIGURES", "Drawing", "Source", "save", "styled", "throughput"]

FIGURES: dict[str, Drawing[Results]] = {
    "ranking": ranking.DRAWING,
    "learning-curves": learning_curves.DRAWING,
    "all-variants": all_variants.DRAWING,
    "rate-response": rate_response.DRAWING,
    "outcome-map": outcome_map.DRAWING,
    "max-stable-rate": max_stable_rate.DRAWING,
    "time-to-target": time_to_target.DRAWING,
    "training-time": training_time.DRAWING,
    "gradient-depth": gradient_depth.DRAWING,
    "saturation": saturation.DRAWING,
    "landscape": landscape.DRAWING,
    "equal-loss-smoothness": equal_loss_smoothness.DRAWING,
    "covariate-shift": covariate_shift.DRAWING,
    "generalization-gap": generalization_gap.DRAWING,
    "seed-spread": seed_spread.DRAWING,
    "probability-of-improvement": probability_of_improvement.DRAWING,
    "performance-profile": performance_profile.DRAWING,
    "statistics-difference": statistics_difference.DRAWING,
}

AXIS_FIGURES: dict[str, Drawing[Family]] = {
    "axis-error": axis_error.DRAWING,
    "axis-stable-rate": axis_stable_rate.DRAWING,
}
"""Of a study with an axis: drawn from its runs at all values."""
