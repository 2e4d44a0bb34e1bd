"""From what MLflow hands out to tidy frames: trials, and their curves and probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.data.trial_checks import check_trial
from analysis.results import TRIAL_FRAME, TRIAL_KEYS
from benchmark.contract import ENDED, FINAL_METRICS, INIT_GAIN, Tag


def trials_frame(runs: Sequence[Any], study: Mapping[str, Any]) -> pd.DataFrame:
    """One row per trial; one without an outcome has no numbers.

    Args:
        runs: MLflow's, of trials.
        study: the resolved study.

    Raises:
        InputError: a trial lacks what it must say.
    """
    rows = []
    for run in runs:
        check_trial(run, study)
        tags, params = run.data.tags, run.data.params
        metrics = run.data.metrics if tags[Tag.STATUS] in ENDED else {}
        rows.append(
            {
                "trial_hash": tags[Tag.TRIAL_HASH],
                "run_id": run.info.run_id,
                "variant": tags[Tag.VARIANT],
                "normalization": tags[Tag.NORMALIZATION],
                "activation": tags[Tag.ACTIVATION],
                "stage": tags[Tag.STAGE],
                "learning_rate": float(tags[Tag.LEARNING_RATE]),
                "seed": int(tags[Tag.SEED]),
                "init_gain": float(params.get(INIT_GAIN, np.nan)),
                "status": tags[Tag.STATUS],
                "status_ema": tags[Tag.STATUS_EMA],
            }
            | {name: metrics.get(name, np.nan) for name in FINAL_METRICS}
        )
    return pd.DataFrame(rows, columns=list(TRIAL_FRAME))


def stack(tables: Sequence[pa.Table | None], trials: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One frame of all trials' tables, the trial's keys beside every row; the right columns even when empty.

    Args:
        tables: per trial, all with the same columns; None where it has none.
        trials: one row per trial, in the same order.
        columns: of the frame.
    """
    rows = np.array([0 if table is None else table.num_rows for table in tables], dtype=int)
    if not rows.any():
        return pd.DataFrame(columns=list(columns))
    whole = pa.concat_tables([table for table in tables if table is not None], promote_options="permissive")
    frame: pd.DataFrame = whole.combine_chunks().to_pandas()  # text in thousands of pieces is slow to look at
    keys = trials.rename(columns={"learning_rate": "trial_learning_rate"})[list(TRIAL_KEYS)]
    repeated = keys.loc[keys.index.repeat(rows)].reset_index(drop=True)
    return pd.concat([repeated, frame], axis=1)[list(columns)]
