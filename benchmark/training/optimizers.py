"""Optimizers, as pure update rules on one flat parameter vector. Add one as one class and one entry.

Each is a section of a study (`[optimizer]`) that holds its hyperparameters. The learning rate is not
among them: it is what a study varies. All tensors are [P] float32, or [R, P] of R replicas; updates are in
place, which on a flat vector costs a few kernels whatever the network's depth.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from benchmark.base.section import Section

Moments = dict[str, Tensor]
LEAST_EPSILON = 1e-30  # well above the least float32, below which it would be 0
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Sgd(Section):
    """Stochastic gradient descent with momentum: m <- momentum m + g; w <- w - lr m (PyTorch's form).

    Attributes:
        weight_decay: what of every parameter is added to its gradient first, as an L2 penalty of half of it
            would add (coupled, as torch.optim.SGD has it). Biases, scales and shifts decay like weights.
    """

    name: Literal["sgd"] = "sgd"
    momentum: Share = 0.9
    weight_decay: float = Field(default=0.0, ge=0.0, le=1e6)

    def moments(self, parameters: Tensor) -> Moments:
        """The optimizer's state before the first step."""
        return {"momentum": torch.zeros_like(parameters)}

    def update_(
        self, parameters: Tensor, gradient: Tensor, moments: Moments, lr: Tensor, step: Tensor
    ) -> None:
        """One step, in place. `lr`, and int64 `step`, 0 at the first: scalars, or [R, 1]."""
        if self.weight_decay:
            gradient = gradient.add(parameters, alpha=self.weight_decay)
        moments["momentum"].mul_(self.momentum).add_(gradient)
        parameters.sub_(lr * moments["momentum"])


class RmsProp(Section):
    """RMSprop: v <- rho v + (1 - rho) g^2; w <- w - lr g / d (Hinton's lecture 6e, Keras' hyperparameters).

    `epsilon_inside` chooses d: sqrt(v + epsilon), as in Keras 3, or sqrt(v) + epsilon, as in PyTorch and
    Keras 2.1. At epsilon 1e-7 the first bounds 1/d by 3.2e3 and the second by 1e7, so tiny gradients take
    steps that differ up to three thousandfold.
    """

    name: Literal["rmsprop"] = "rmsprop"
    rho: Share = 0.9
    epsilon: float = Field(default=1e-7, ge=LEAST_EPSILON)
    epsilon_inside: bool = False

    def moments(self, parameters: Tensor) -> Moments:
        """The optimizer's state before the first step."""
        return {"square": torch.zeros_like(parameters)}

    def update_(
        self, parameters: Tensor, gradient: Tensor, moments: Moments, lr: Tensor, step: Tensor
    ) -> None:
        """One step, in place. `lr`, and int64 `step`, 0 at the first: scalars, or [R, 1]."""
        square = moments["square"].mul_(self.rho).addcmul_(gradient, gradient, value=1 - self.rho)
        scale = (square + self.epsilon).sqrt_() if self.epsilon_inside else square.sqrt().add_(self.epsilon)
        parameters.sub_(lr * gradient / scale)


class _AdamMoments(Section):
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: float = Field(default=1e-8, ge=LEAST_EPSILON)

    def moments(self, parameters: Tensor) -> Moments:
        """The optimizer's state before the first step."""
        return {"mean": torch.zeros_like(parameters), "square": torch.zeros_like(parameters)}

    def update_(
        self, parameters: Tensor, gradient: Tensor, moments: Moments, lr: Tensor, step: Tensor
    ) -> None:
        """One step, in place. `lr`, and int64 `step`, 0 at the first: scalars, or [R, 1]."""
        time = (step + 1).to(parameters.dtype)
        mean = moments["mean"].lerp_(gradient, 1 - self.beta1)
        square = moments["square"].mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        scale = (square / (1 - self.beta2**time)).sqrt_().add_(self.epsilon)
        parameters.sub_(lr / (1 - self.beta1**time) * mean / scale)


class Adam(_AdamMoments):
    """Adam (Kingma & Ba 2015, 1412.6980, algorithm 1)."""

    name: Literal["adam"] = "adam"


class AdamW(_AdamMoments):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, 1711.05101): w <- (1 - lr decay) w.

    PyTorch's form, in which the decay scales with the learning rate; the paper's (algorithm 2) does not.
    """

    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0.0, le=1e6)

    def update_(
        self, parameters: Tensor, gradient: Tensor, moments: Moments, lr: Tensor, step: Tensor
    ) -> None:
        """One step, in place. `lr`, and int64 `step`, 0 at the first: scalars, or [R, 1]."""
        parameters.mul_(1 - lr * self.weight_decay)
        super().update_(parameters, gradient, moments, lr, step)


def _named(section: Any) -> Any:
    """A section that does not say whose it is: SGD's, as of a study that has none."""
    return {"name": "sgd"} | section if isinstance(section, dict) else section


OptimizerSpec = Annotated[Sgd | RmsProp | Adam | AdamW, Field(discriminator="name"), BeforeValidator(_named)]
OPTIMIZERS: Mapping[str, type[Section]] = {
    rule.model_fields["name"].default: rule for rule in get_args(get_args(OptimizerSpec)[0])
}
