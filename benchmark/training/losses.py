"""Losses. Add one as one class and one entry of `LOSSES`.

Each is a section of a study (`[loss]`) that holds its hyperparameters. A study trains on its loss and is
judged by it. Shapes: N examples, K classes.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.base.section import Section

Reduction = Literal["mean", "none"]


class CrossEntropy(Section):
    """Softmax cross-entropy; `label_smoothing` mixes the label with the uniform distribution (1512.00567)."""

    unit: ClassVar[str] = "nats"
    name: Literal["cross-entropy"] = "cross-entropy"
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)

    def __call__(self, logits: Tensor, labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """[N, K] logits and [N] labels -> mean over the examples; [N] of 'none'."""
        return nn.functional.cross_entropy(
            logits, labels, reduction=reduction, label_smoothing=self.label_smoothing
        )

    def cap(self, num_classes: int) -> float:
        """Of the uniform prediction, smoothed or not: ln K."""
        return math.log(num_classes)


class MeanSquaredError(Section):
    """Mean squared error of the softmax's probabilities p against the one-hot label y: mean_k (p_k - y_k)^2.

    This is Keras' `mean_squared_error` of a network that ends in a softmax, as the source's does; K times it
    is the score of Brier (1950).
    """

    unit: ClassVar[str] = "1"
    name: Literal["mse"] = "mse"

    def __call__(self, logits: Tensor, labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """[N, K] logits and [N] labels -> mean over the examples; [N] of 'none'."""
        target = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        return _reduce((logits.softmax(1) - target).square().mean(1), reduction)

    def cap(self, num_classes: int) -> float:
        """Of the uniform prediction: (1/K) ((1 - 1/K)^2 + (K - 1) / K^2) = (K - 1) / K^2."""
        return (num_classes - 1) / num_classes**2


class Focal(Section):
    """Focal loss (Lin et al. 2017, 1708.02002, equation 4): -(1 - p)^gamma ln p, p being the label's."""

    unit: ClassVar[str] = "nats"
    name: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0.0, le=100.0)

    def __call__(self, logits: Tensor, labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """[N, K] logits and [N] labels -> mean over the examples; [N] of 'none'."""
        # Not by `gather`: on CUDA its repeatable gradient copies from the host, and the step would wait.
        log_p = -nn.functional.nll_loss(logits.log_softmax(1), labels, reduction="none")
        # Not below the least number: at p = 1 a power under 1 has an infinite slope, times a loss of 0.
        missing = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
        return _reduce(-(missing**self.gamma) * log_p, reduction)

    def cap(self, num_classes: int) -> float:
        """Of the uniform prediction, the best constant one, the loss being convex in p."""
        return math.pow(1 - 1 / num_classes, self.gamma) * math.log(num_classes)


def _reduce(per_example: Tensor, reduction: Reduction) -> Tensor:
    return per_example.mean() if reduction == "mean" else per_example


Loss = CrossEntropy | MeanSquaredError | Focal
LossSpec = Annotated[Loss, Field(discriminator="name")]
LOSSES: Mapping[str, type[Section]] = {loss.model_fields["name"].default: loss for loss in get_args(Loss)}


CROSS_ENTROPY = CrossEntropy()  # the default


def loss_cap(num_classes: int, loss: Loss = CROSS_ENTROPY) -> float:
    """C: the loss of the best constant predictor of K balanced classes."""
    return loss.cap(num_classes)
