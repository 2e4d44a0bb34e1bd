"""Writing to MLflow: the one package that imports it, lazily, for that takes seconds.

An experiment per study; in it a run per study run, a child per variant, a grandchild per trial. What is
logged, and how it is named, is the contract with `analysis`; `SCHEMA_VERSION` numbers it.
"""

from benchmark.tracking.mlflow.store import connect, default_uri
from benchmark.tracking.mlflow.study_log import SCHEMA_VERSION, Tracker, count_trials
from benchmark.tracking.mlflow.trial_log import Record, TrialLog

__all__ = ["SCHEMA_VERSION", "Record", "Tracker", "TrialLog", "connect", "count_trials", "default_uri"]
