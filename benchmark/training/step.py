"""One training step: state in, state out, randomness from keys, nothing global.

Shapes: B examples of a batch, P parameters.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.base import seeding
from benchmark.data.augment import NUM_DRAWS, Augmentation, augment
from benchmark.data.datasets import Split
from benchmark.training.losses import CROSS_ENTROPY, Loss
from benchmark.training.optimizers import Adam, AdamW, RmsProp, Sgd
from benchmark.training.state import Layout, TrainState
from benchmark.variants.networks import Network


@dataclass(frozen=True)
class Problem:
    """What stays fixed while a trial trains; `clip_norm` is to what the gradient's norm is clipped."""

    network: Network
    layout: Layout
    train: Split
    augmentation: Augmentation | None
    optimizer: Sgd | RmsProp | Adam | AdamW
    loss: Loss = CROSS_ENTROPY
    clip_norm: float | None = None


@dataclass(frozen=True)
class StreamKeys:
    """The trial's random streams, [2] int64 each, on the training device."""

    order: Tensor
    augmentation: Tensor
    dropout: Tensor
    noise: Tensor

    @classmethod
    def of(cls, seed: int, device: torch.device) -> "StreamKeys":
        """The streams of one seed."""
        names = ("order", "augmentation", "dropout", "noise")
        return cls(*(seeding.stream_key(seed, name, device) for name in names))


def step(problem: Problem, state: TrainState, index: Tensor, keys: StreamKeys, lr: Tensor) -> Tensor:
    """Take one optimizer step on `state`, in place.

    Args:
        problem: what stays fixed.
        state: updated in place.
        index: [B] int64, the batch's positions in the training split.
        keys: the trial's streams.
        lr: float32 scalar on the device.

    Returns:
        [3] float32 on the device: the batch's mean loss, its share classified right, and the gradient's norm,
        before any clipping.
    """
    images = problem.train.take(index)
    labels = problem.train.labels[index]
    if problem.augmentation is not None:
        draws = seeding.uniform(keys.augmentation, state.step, (len(images), NUM_DRAWS))
        images = augment(images, draws, problem.augmentation)
    masks = dropout_masks(problem.network, len(images), keys.dropout, state.step)
    noise = noise_draws(problem.network, len(images), keys.noise, state.step)

    if not problem.network.training:  # setting it walks all modules
        problem.network.train()
    parameters = problem.layout.split(state.parameters)
    for tensor in parameters.values():
        tensor.requires_grad_()
    logits = functional_call(problem.network, parameters | state.buffers, (images, masks, noise))
    loss = problem.loss(logits, labels)
    gradients = torch.autograd.grad(loss, tuple(parameters.values()))

    with torch.no_grad():
        gradient = torch.cat([part.reshape(-1) for part in gradients])
        norm = torch.linalg.vector_norm(gradient)
        if problem.clip_norm is not None:  # Pascanu et al. (1211.5063, algorithm 1)
            gradient.mul_((problem.clip_norm / norm).clamp_max(1.0))
        problem.optimizer.update_(state.parameters, gradient, state.moments, lr, state.step)
        state.step.add_(1)
        correct = (logits.argmax(1) == labels).float().mean()
        return torch.stack((loss.detach(), correct, norm))


def dropout_masks(network: Network, batch_size: int, key: Tensor, position: Tensor) -> list[Tensor] | None:
    """Which units one step keeps: one boolean [B, F, H, W] per dropout; None where nothing is dropped.

    All masks are cut from one run of the stream: one launch of the hash per step, not one per layer.
    """
    if network.dropout_rate == 0.0:
        return None
    shapes = [(batch_size, *shape) for shape in network.dropout_shapes]
    counts = [torch.Size(shape).numel() for shape in shapes]
    keep = seeding.words(key, position, sum(counts)) >= round(network.dropout_rate * 2**32)
    return [part.view(shape) for part, shape in zip(torch.split(keep, counts), shapes, strict=True)]


def noise_draws(
    network: Network, batch_size: int, key: Tensor, position: Tensor | int
) -> list[Tensor] | None:
    """One step's uniform draws: one [2 + 2 B, F, H, W] per layer that takes noise; None where none does.

    Cut from one run of the stream, as dropout's masks are.
    """
    shapes = [(2 + 2 * batch_size, *shape) for shape in network.noise_shapes]
    if not shapes:
        return None
    counts = [torch.Size(shape).numel() for shape in shapes]
    draws = seeding.uniform(key, position, (sum(counts),))
    return [part.view(shape) for part, shape in zip(torch.split(draws, counts), shapes, strict=True)]


class BatchOrder:
    """Which training images each step sees: epoch after epoch, each a fresh permutation.

    Batches run on across the end of an epoch, so every batch is full and every image comes once an epoch.
    """

    def __init__(self, key: Tensor, num_train: int, batch_size: int) -> None:
        self._key = key
        self._num_train = num_train
        self._batch_size = batch_size
        self._permutation: tuple[int, Tensor] | None = None

    def batches(self, start: int, num_steps: int) -> Tensor:
        """[num_steps, B] int64: the images of steps `start`, `start` + 1, ..."""
        first = start * self._batch_size
        end = first + num_steps * self._batch_size
        parts = []
        for epoch in range(first // self._num_train, (end - 1) // self._num_train + 1):
            offset = epoch * self._num_train
            parts.append(self._epoch(epoch)[max(first - offset, 0) : end - offset])
        return torch.cat(parts).view(num_steps, self._batch_size)

    def _epoch(self, epoch: int) -> Tensor:
        if self._permutation is None or self._permutation[0] != epoch:
            self._permutation = (epoch, seeding.permutation(self._key, epoch, self._num_train))
        return self._permutation[1]
