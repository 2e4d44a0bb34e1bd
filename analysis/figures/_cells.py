"""Which trials and which stretches of curve a figure shows; no statistics."""

from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.measures import select
from analysis.measures.rates import cell_losses
from analysis.results import Results

LOSSES = ("train_loss", "val_loss", "val_loss_ema", "clean_train_loss", "clean_train_loss_ema")
ACCURACIES = (
    "train_accuracy",
    "val_accuracy",
    "val_accuracy_ema",
    "clean_train_accuracy",
    "clean_train_accuracy_ema",
)


@lru_cache(maxsize=8)  # most figures ask, each twice
def best_trials(results: Results) -> pd.DataFrame:
    """Each variant's trials at its own eta*: the confirm stage's, else the sweep's.

    A variant without an eta* (it never trained, or its sweep is unfinished) is shown at the sweep rate with
    the least mean capped loss, which is what it could do at best so far.
    """
    chosen = []
    for variant in results.variants:
        rate = _own_best_rate(results, variant)
        for stage in ("confirm", "sweep"):
            trials = select.ended_trials(results, stage, variant=variant)
            trials = trials[select.same_rate(trials["learning_rate"], rate)]
            if len(trials):
                chosen.append(trials.sort_values("seed"))
                break
    return pd.concat(chosen, ignore_index=True) if chosen else results.trials.iloc[:0]


@lru_cache(maxsize=8)
def equal_rate_trials(results: Results) -> pd.DataFrame:
    """Each variant's confirm trials at the unnormalized variant's eta*: the rate is the same for all.

    Of a study of one rate, all its trials.
    """
    if results.study["search"]["sampler"] == "fixed":
        return best_trials(results)
    cells = [select.confirm_trials(results, variant, select.SAME_RATE) for variant in results.variants]
    return pd.concat(cells, ignore_index=True) if cells else results.trials.iloc[:0]


def in_study_order(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Rows by the study's order of variants; within a variant, as they were."""
    order = {variant: position for position, variant in enumerate(results.variants)}
    return frame.sort_values(
        "variant", key=lambda column: column.map(order), kind="stable", ignore_index=True
    )


def completed_curves(results: Results, trials: pd.DataFrame) -> pd.DataFrame:
    """The trials' curves, every trial of a variant on the same steps.

    From where a trial diverged on, its losses count as the loss cap and its accuracies as chance
    (protocol, 5): dropping it would make the mean of the others look better than the variant is.

    Returns:
        frame with columns variant, seed, step, diverged (of the row) and the curve's metrics.
    """
    metrics = [*LOSSES, *ACCURACIES]
    of_stages = results.curves.groupby("stage")["step"].unique().items()
    steps_of = {stage: np.sort(steps) for stage, steps in of_stages}
    pieces = []
    for variant, group in trials.groupby("variant", sort=False):
        steps = steps_of[group["stage"].iloc[0]]
        for name, seed, status in zip(group["trial_hash"], group["seed"], group["status"], strict=True):
            own = select.rows_of(results.curves, [name]).drop_duplicates("step").set_index("step")
            if own.empty:
                continue
            curve = own[metrics].replace([np.inf, -np.inf], np.nan).reindex(steps)
            lost = np.zeros(len(steps), dtype=bool)
            if status == "diverged":
                lost = (steps > 0) & curve["val_loss"].isna().to_numpy()
                curve.loc[lost, [name for name in metrics if name in LOSSES]] = results.loss_cap
                curve.loc[lost, [name for name in metrics if name in ACCURACIES]] = results.chance
            pieces.append(curve.reset_index().assign(variant=str(variant), seed=int(seed), diverged=lost))
    columns = ["step", *metrics, "variant", "seed", "diverged"]
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=columns)


def _own_best_rate(results: Results, variant: str) -> float:
    decided = select.best_rate(results, variant)
    if decided is not None:
        return decided
    sweep = select.ended_trials(results, "sweep", variant=variant)
    if sweep.empty:
        return float("nan")
    losses = cell_losses(results, sweep)
    return float(losses.index.to_numpy()[losses.argmin()])
