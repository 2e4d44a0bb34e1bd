"""What a trial logs: every metric with its unit and direction, said once and written into each study run.

Directions: `min` and `max` say which way is better; `none`: neither.
"""

from collections.abc import Mapping

LOSS_UNIT = "nats"

CURVE_METRICS: Mapping[str, tuple[str, str, str]] = {
    "step": ("steps", "none", "optimizer steps taken"),
    "epoch": ("epochs", "none", "training examples seen, in multiples of the training set"),
    "examples": ("examples", "none", "training examples seen"),
    "train_seconds": ("s", "min", "time spent training, without warm-up, evaluation and probes"),
    "learning_rate": ("1", "none", "the optimizer's learning rate"),
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
