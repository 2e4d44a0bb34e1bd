"""What `benchmark` and `analysis` must agree on: names, roles, the protocol's shares, factors, small rules.

With `files` and `addresses` beside it the only module of `benchmark` that `analysis` imports; it imports
nothing but the standard library. What a trial logs is said here once, every metric with its unit and
direction, and written into each study run.
Directions: `min` and `max` say which way is better; `none`: neither.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

PROTOCOL_VERSION = "1.2.1"
"""Of `docs/protocol.md`; CHANGELOG.md says what changed."""

PROTOCOL = ".".join(PROTOCOL_VERSION.split(".")[:2])
"""Major.Minor, within which results compare; the patch level is free."""

SCHEMA_VERSION = 2
"""Of what is logged, where, and how it is named."""

# Names of variants and of what is done with them.
STUDY_NAME = r"^[a-z0-9][a-z0-9-]*$"
"""What a study may be called: what is a folder's name, and none that leads out of a folder."""
BASELINE = "none"
"""The normalization that every claim compares with: none."""
CONFIRMATORY = "batch"
"""The normalization that the protocol's claims are about; verdicts on others are exploratory."""
STAGES = ("sweep", "refine", "gains", "confirm")
ENDED = ("trained", "stuck", "diverged")
"""Outcomes that are results; a trial that failed or still runs has none."""

CONFIRM_SEED_OFFSET = 1000
"""Confirm seeds start here, beyond a study's first: disjoint from any sweep's."""
RATE_MULTIPLES = (1, 5, 30)
"""Multiples of the unnormalized rate at which normalized variants are confirmed: BN-Baseline, BN-x5 and
BN-x30 of Ioffe & Szegedy's table (1502.03167, figure 3)."""
BEST = "best"
"""The role of a confirm cell at the variant's own best rate."""


def role_of(multiple: int) -> str:
    """The role of a confirm cell at a multiple of the unnormalized rate: `x5`."""
    return f"x{multiple}"


ROLES = (BEST, *map(role_of, RATE_MULTIPLES))

# Shares and factors of the protocol.
ALPHA = 0.05
"""Of every one-sided test (section 8)."""
STABLE_SHARE = 0.9
"""Rho: of its variant's best accuracy above chance, what a stable trial keeps (section 5), by default."""
TRAINED_CONFIDENCE = 0.999
"""One-sided, of being above chance (section 5)."""
DIVERGENCE_FACTOR = 1000.0
"""A training loss above this multiple of max(loss cap, initial loss) counts as diverged (section 5): the
relative-loss rule after Bjorck et al. (1806.02375)."""
USABLE_SHARE = 0.1
"""Of the study's best accuracy above chance: a variant whose best cell keeps less is unusable (section 5)."""
RUNNING_WEIGHT = 0.01
"""Of the newest batch in the moving averages of batch statistics: Keras' default momentum, 0.99. The variants
that are judged by their averages have their own."""
TARGET_SHARE = 0.95
"""Of the unnormalized variant's accuracy above chance: the target (section 6), after AlgoPerf."""
TRAINED_SEEDS_SHARE = 0.5
"""The least share of a cell's seeds that train at a rate that can be the best one (section 4)."""


def replication_name(study: str, number: int) -> str:
    """The name of a study's replication, which is a study of its own; numbers count from 1."""
    return f"{study}-replication-{number}"


def variant_name(normalization: str, activation: str) -> str:
    """What a variant is called, in tags and files. Nothing parses it: both names may have hyphens."""
    return f"{normalization}-{activation}"


def share_above_chance(accuracy: float, chance: float, share: float) -> float:
    """The accuracy that keeps a share of another one's height above chance: thresholds and targets."""
    return chance + share * (accuracy - chance)


def is_usable(accuracy: float, best: float, chance: float) -> bool:
    """Whether a variant trains at all (section 5).

    Args:
        accuracy: of its best cell.
        best: the greatest such accuracy of the study.
        chance: 1/K.
    """
    return best > chance and accuracy - chance >= USABLE_SHARE * (best - chance)


def best_cell(mean_losses: Sequence[float], trained_shares: Sequence[float]) -> int | None:
    """Which rate is selected (section 4): of the least mean capped loss where half the seeds train.

    Args:
        mean_losses: of min(final loss, cap), per rate.
        trained_shares: of the seeds, per rate.

    Returns:
        its position, the first of equals; None where there is none.
    """
    eligible = [i for i, share in enumerate(trained_shares) if share >= TRAINED_SEEDS_SHARE]
    return min(eligible, key=lambda i: mean_losses[i], default=None)


def is_stable(status: Any, accuracy: Any, threshold: Any) -> Any:
    """Whether a trial trained, and well enough (section 5); of scalars, or of columns row by row.

    Args:
        status: how it ended.
        accuracy: final, judged.
        threshold: its variant's.
    """
    return (status == "trained") & (accuracy >= threshold)


def capped_loss(loss: float, cap: float) -> float:
    """A loss that counts at most as the constant predictor's; so does one that is NaN (section 5)."""
    return cap if loss >= cap or math.isnan(loss) else loss


def timing_rounds(sweep: int, confirm: int) -> int:
    """How many times a step of each variant is timed (section 11): once per confirm seed, or else sweep seed.

    Args:
        sweep: how many seeds.
        confirm: the same.
    """
    return confirm or sweep


def eval_every_key(stage: str) -> str:
    """The key of a study's budget that says how often the trials of a stage are evaluated."""
    return "confirm_eval_every" if stage == "confirm" else "eval_every"


def reads_test(stage: str, sampler: str) -> bool:
    """Whether a stage's trials are scored on the test split: only where no choice comes after it."""
    return stage == "confirm" or sampler == "fixed"


def least_seeds(family: int) -> int:
    """The fewest pairs with which a family of tests can decide anything (section 8).

    The smallest p of n pairs is 2^-n; Holm's first step divides alpha by the family's size.
    """
    return next(n for n in range(1, 64) if 2.0**-n <= ALPHA / family)


# What is logged, and where.
class Tag(StrEnum):
    """Tags of MLflow runs."""

    KIND = "kind"
    STUDY = "study"
    STUDY_HASH = "study_hash"
    SCHEMA_VERSION = "schema_version"
    PROTOCOL_VERSION = "protocol_version"
    STATUS = "status"
    STATUS_EMA = "status_ema"
    COMMAND = "command"
    LAST_OPENED_AT = "last_opened_at"
    GIT_COMMIT = "git_commit"
    GIT_DIRTY = "git_dirty"
    DEVICE = "device"
    NUMERICS = "numerics"
    DATA_FINGERPRINT = "data_fingerprint"
    WORKPLACE = "workplace"
    VARIANT = "variant"
    NORMALIZATION = "normalization"
    ACTIVATION = "activation"
    STAGE = "stage"
    SEED = "seed"
    LEARNING_RATE = "learning_rate"
    TRIAL_HASH = "trial_hash"
    FAILURE = "failure"
    LOCAL_ID = "local_id"


def membership_tag(study_hash: str) -> str:
    """The tag of a trial that belongs to a study run."""
    return f"in_study.{study_hash}"


ARTIFACTS_FOLDER = "artifacts"
SPOOL_FOLDER = "spool"
"""Below the suite's folder: what a store has not taken yet, a folder per study."""
INIT_GAIN = "init_gain"
"""The parameter of a trial's run that analysis reads; what else it reads are tags."""

CURVES_FILE, PROBES_FILE, FAILURE_FILE = "curves.parquet", "probes.parquet", "failure.txt"
SCHEMA_FILE, STUDY_FILE, DECISIONS_FILE = "schema.json", "study.json", "decisions.json"
ENVIRONMENT_FILE, PROGRESS_FILE, ENGINES_FILE = "environment.json", "progress.json", "engines.json"


def local_artifacts(tracking_uri: str, experiment: str, run_id: str) -> Path | None:
    """Where the artifacts of a run lie whose store is an SQLite file: beside it, wherever that is now.

    Not where MLflow's records say, which are of the day the run was made: a folder that was moved, copied or
    mounted elsewhere keeps its results, and never touches another's.

    Args:
        tracking_uri: MLflow's.
        experiment: its name, which is the study's.
        run_id: of any run.

    Returns:
        the folder; None for a store behind a server, which knows itself.
    """
    if not tracking_uri.startswith("sqlite:///"):
        return None
    store = Path(tracking_uri.removeprefix("sqlite:///"))
    return store.parent / ARTIFACTS_FOLDER / experiment / run_id / "artifacts"


PROBE_COLUMNS = ("step", "probe", "layer", "index", "value")
WHOLE_NETWORK, CLASSIFIER = "all", "dense"
"""Layers of a probe's row that are not hidden ones."""

# Probes that analysis reads by name.
GRADIENT_NORM = "gradient_norm"
GRADIENT_TIMES_WEIGHT = "gradient_times_weight"
SATURATED_SHARE, DEAD_SHARE = "saturated_share", "dead_share"
COVARIATE_SHIFT, COVARIATE_SHIFT_COSINE = "covariate_shift", "covariate_shift_cosine"
COVARIATE_SHIFT_RELATIVE = "covariate_shift_relative"
PREACTIVATION_P15, PREACTIVATION_P50 = "preactivation_p15", "preactivation_p50"
PREACTIVATION_P85 = "preactivation_p85"
LANDSCAPE = "landscape"
"""The entry of `probes.enabled` that logs nothing where it has no rate to walk at."""
STEP_PROBE = "covariate-shift"
"""The one that reads what the last step did: nothing of a trial that is watched at its start alone."""
LANDSCAPE_SMOOTHNESS = "landscape_smoothness"
LANDSCAPE_LOSS_MIN, LANDSCAPE_LOSS_MAX = "landscape_loss_min", "landscape_loss_max"
LANDSCAPE_GRADIENT_CHANGE_MIN = "landscape_gradient_change_min"
LANDSCAPE_GRADIENT_CHANGE_MAX = "landscape_gradient_change_max"
OWN_RATE = "_own_rate"
"""What follows these names where a walk is at the trial's own rate, not at the one that variants share."""

SILENT_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""What MLflow is told in the environment before it is imported: not to report its use to its makers, to say
nothing of its own accord, and not to try for minutes what its caller tries again."""


ENVIRONMENT = {**SILENT_MLFLOW, "MPLBACKEND": "agg"}
"""What both command lines run under. Figures go into files, whatever draws them where the user works: Jupyter
names a backend, to every process, that need not be there."""


def every_page(page_after: Callable[[str | None], Any]) -> Iterator[Any]:
    """All entries of what MLflow hands out in pages.

    Args:
        page_after: token -> a page, which is a list with the next one's `token`; None asks for the first.
    """
    token = None
    while True:
        page = page_after(token)
        yield from page
        token = page.token
        if not token:
            return


LOSS_UNIT = "nats"

CURVE_METRICS: Mapping[str, tuple[str, str, str]] = {
    "step": ("steps", "none", "optimizer steps taken"),
    "epoch": ("epochs", "none", "training examples seen, in multiples of the training set"),
    "examples": ("examples", "none", "training examples seen"),
    "train_seconds": ("s", "min", "time spent training, without warm-up, evaluation and probes"),
    "learning_rate": ("1", "none", "the optimizer's learning rate, before the schedule"),
    "train_loss": (LOSS_UNIT, "min", "mean loss of the interval's training batches, as trained"),
    "train_accuracy": ("share", "max", "mean accuracy of the interval's training batches, as trained"),
    "gradient_norm": ("loss/weight", "none", "mean over the interval of the whole gradient's norm"),
    "examples_per_s": ("examples/s", "max", "training throughput of the interval"),
    "parameter_norm": ("weight", "none", "norm of all trainable parameters"),
    "val_loss": (LOSS_UNIT, "min", "validation loss, judged statistics"),
    "val_accuracy": ("share", "max", "validation accuracy, judged statistics"),
    "clean_train_loss": (LOSS_UNIT, "min", "loss on a fixed training subset, no augmentation or dropout"),
    "clean_train_accuracy": ("share", "max", "accuracy on that subset"),
    "val_loss_ema": (LOSS_UNIT, "min", "validation loss by moving-average statistics"),
    "val_accuracy_ema": ("share", "max", "validation accuracy by moving-average statistics"),
    "clean_train_loss_ema": (LOSS_UNIT, "min", "clean training loss by moving-average statistics"),
    "clean_train_accuracy_ema": ("share", "max", "clean training accuracy by moving-average statistics"),
}

FINAL_METRICS: Mapping[str, tuple[str, str, str]] = {
    "final_val_loss": (LOSS_UNIT, "min", "validation loss after the last step; diverged: the loss cap"),
    "final_val_accuracy": ("share", "max", "validation accuracy after the last step; diverged: 1/K"),
    "final_clean_train_loss": (
        LOSS_UNIT,
        "min",
        "clean training loss after the last step; diverged: the cap",
    ),
    "final_clean_train_accuracy": ("share", "max", "clean training accuracy; diverged: 1/K"),
    "final_val_loss_ema": (LOSS_UNIT, "min", "as final_val_loss, by moving-average statistics"),
    "final_val_accuracy_ema": ("share", "max", "as final_val_accuracy, by moving-average statistics"),
    "final_clean_train_loss_ema": (LOSS_UNIT, "min", "as final_clean_train_loss, by moving averages"),
    "final_clean_train_accuracy_ema": ("share", "max", "as final_clean_train_accuracy, by moving averages"),
    "best_val_loss": (LOSS_UNIT, "min", "least validation loss of all evaluations"),
    "best_val_step": ("steps", "none", "where it was; the checkpoint best.pt holds its weights"),
    "test_loss": (LOSS_UNIT, "min", "test loss after the last step, read once"),
    "test_accuracy": ("share", "max", "test accuracy after the last step, read once"),
    "train_seconds": ("s", "min", "time spent training, without warm-up, evaluation and probes"),
    "probe_seconds": ("s", "min", "time spent on probes"),
    "num_steps_done": ("steps", "none", "optimizer steps taken"),
    "num_parameters": ("1", "none", "trainable parameters"),
}


def loss_unit(unit: str, of_study: str) -> str:
    """A metric's unit in a study: that of the study's loss where the tables say the default loss's."""
    return of_study if unit == LOSS_UNIT else unit
