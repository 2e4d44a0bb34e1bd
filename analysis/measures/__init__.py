"""Measures derived from what was logged: Results in, tidy frames out (protocol, 6 and 7)."""

from analysis.measures.axis import (
    STABLE_RATE,
    axis_errors,
    axis_places,
    axis_table,
    axis_trends,
    is_logarithmic,
)
from analysis.measures.inside import (
    attenuation,
    attenuation_at_init,
    effective_smoothness,
    gain_stability,
    in_hidden_layers,
    layer_profile,
    planned_gains,
)
from analysis.measures.quality import (
    best_after_k,
    expected_maximum,
    gap_at,
    generalization_gap,
    loss_spikes,
    seed_spread,
)
from analysis.measures.ranking import ranking, ranking_words
from analysis.measures.rates import (
    Rho,
    failure_share,
    learning_rate_sensitivity,
    max_stable_rate,
    stability,
    stability_threshold,
    stable_band,
)
from analysis.measures.select import (
    as_points,
    best_rate,
    confirm_rate,
    confirm_trials,
    curves_of,
    paired_difference,
    reference_of,
)
from analysis.measures.speed import (
    anytime_accuracy,
    best_accuracy,
    log_speedup,
    target_accuracy,
    time_to_target,
)
from analysis.measures.tables import cell_table, probe_cost, rate_multiples_table, time_table, variant_table
from analysis.results import split_variant

__all__ = [
    "STABLE_RATE",
    "Rho",
    "anytime_accuracy",
    "as_points",
    "attenuation",
    "attenuation_at_init",
    "axis_errors",
    "axis_places",
    "axis_table",
    "axis_trends",
    "best_accuracy",
    "best_after_k",
    "best_rate",
    "cell_table",
    "confirm_rate",
    "confirm_trials",
    "curves_of",
    "effective_smoothness",
    "expected_maximum",
    "failure_share",
    "gain_stability",
    "gap_at",
    "generalization_gap",
    "in_hidden_layers",
    "is_logarithmic",
    "layer_profile",
    "learning_rate_sensitivity",
    "log_speedup",
    "loss_spikes",
    "max_stable_rate",
    "paired_difference",
    "planned_gains",
    "probe_cost",
    "ranking",
    "ranking_words",
    "rate_multiples_table",
    "reference_of",
    "seed_spread",
    "split_variant",
    "stability",
    "stability_threshold",
    "stable_band",
    "target_accuracy",
    "time_table",
    "time_to_target",
    "variant_table",
]
