"""From what MLflow hands out to tidy frames: trials, and their curves and probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.results import FINAL_METRICS, TRIAL_COLUMNS, TRIAL_KEYS


def trials_frame(runs: Sequence[Any]) -> pd.DataFrame:
    """One row per trial."""
    rows = []
    for run in runs:
        tags = run.data.tags
        row: dict[str, Any] = {
            "trial_hash": tags["trial_hash"],
            "run_id": run.info.run_id,
            "variant": tags["variant"],
            "normalization": tags["normalization"],
            "activation": tags["activation"],
            "stage": tags["stage"],
            "learning_rate": float(tags["learning_rate"]),
            "seed": int(tags["seed"]),
            "status": tags.get("status", "running"),
            "status_ema": tags.get("status_ema", tags.get("status", "running")),
        }
        if "init_gain" in run.data.params:
            row["init_gain"] = float(run.data.params["init_gain"])
        rows.append(row | {name: run.data.metrics.get(name, np.nan) for name in FINAL_METRICS})
    columns = [*TRIAL_COLUMNS, *(["init_gain"] if any("init_gain" in row for row in rows) else [])]
    return pd.DataFrame(rows, columns=columns)


def stack(tables: Sequence[pa.Table | None], trials: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One frame of all trials' tables, the trial's keys beside every row; the right columns even when empty.

    Args:
        tables: per trial, None where it logged none.
        trials: one row per trial, in the same order.
        columns: of the frame.
    """
    rows = np.array([0 if table is None else table.num_rows for table in tables], dtype=int)
    if not rows.any():
        return pd.DataFrame(columns=list(columns))
    frame: pd.DataFrame = pa.concat_tables(
        [table for table in tables if table is not None and table.num_rows], promote_options="permissive"
    ).to_pandas()
    keys = trials.rename(columns={"learning_rate": "trial_learning_rate"})[list(TRIAL_KEYS)]
    repeated = keys.loc[keys.index.repeat(rows)].reset_index(drop=True)
    return pd.concat([repeated, frame], axis=1).reindex(columns=list(columns))
