"""Judging a network: loss and accuracy in evaluation mode, and what its normalization statistics are then.

Shapes: N images, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from benchmark.contract import TRAINED_CONFIDENCE
from benchmark.data.datasets import Split
from benchmark.training.losses import CROSS_ENTROPY, Loss
from benchmark.variants.networks import Network

_EVAL_BATCH_SIZE = 1024  # examples per forward pass; evaluation mode, so it changes nothing but memory


@dataclass(frozen=True)
class Score:
    """A split's mean loss and share classified right."""

    loss: float
    accuracy: float


@torch.no_grad()
def score(
    network: nn.Module, tensors: dict[str, Tensor], *splits: Split, loss: Loss = CROSS_ENTROPY
) -> list[Score]:
    """Evaluate on splits, dropout off, with the running statistics in `tensors`.

    Args:
        network: its own tensors are not read.
        tensors: parameters and buffers by name.
        splits: what to evaluate on.
        loss: by what.

    Returns:
        A score per split; one transfer from the device in all.
    """
    network.eval()
    sums = torch.zeros(len(splits), 2, device=splits[0].labels.device)
    for batch in _batches(splits):
        images = torch.cat([splits[position].take(chunk) for position, chunk in batch])
        logits = functional_call(network, tensors, (images,))
        for position, chunk in batch:
            labels = splits[position].labels[chunk]
            own, logits = logits[: len(labels)], logits[len(labels) :]
            sums[position, 0] += loss(own, labels, "sum")
            sums[position, 1] += (own.argmax(1) == labels).sum()
    sizes = torch.tensor([len(split) for split in splits], device=sums.device)
    return [Score(*pair) for pair in (sums / sizes[:, None]).tolist()]


def _batches(splits: Sequence[Split]) -> list[list[tuple[int, slice]]]:
    """Chunks (number of the split, where in it) that share a forward pass: small splits go together."""
    batches: list[list[tuple[int, slice]]] = [[]]
    room = _EVAL_BATCH_SIZE
    for position, split in enumerate(splits):
        start = 0
        while start < len(split):
            if room == 0:
                batches.append([])
                room = _EVAL_BATCH_SIZE
            end = min(start + room, len(split))
            batches[-1].append((position, slice(start, end)))
            room -= end - start
            start = end
    return batches


@torch.no_grad()
def reestimate(
    network: Network, tensors: dict[str, Tensor], split: Split, batch_size: int
) -> dict[str, Tensor]:
    """Normalization statistics re-estimated at fixed weights: algorithm 2 of Ioffe & Szegedy (1502.03167).

    Means of the batch means and of the unbiased batch variances over `split`, in batches of the training
    size (a last, smaller one is left out, unless it is the only one), dropout and noise off. All batches
    pass at once, each normalized by itself: an evaluation costs one forward pass, not one per batch.

    Args:
        network: has norms with running statistics.
        tensors: parameters and buffers by name; not modified.
        split: images to estimate on.
        batch_size: the training batch's size.

    Returns:
        `tensors` with re-estimated buffers.
    """
    norms: dict[str, Any] = network.running_norms()
    size = min(batch_size, len(split))
    num_batches = len(split) // size
    images = split.take(slice(0, num_batches * size))
    # With a momentum of 1 a batch's running statistics are its own, whatever they were; as many sets of them
    # as there are batches.
    statistics = {
        f"{name}.{buffer}": torch.stack([_fresh(value)] * num_batches)
        for name, norm in norms.items()
        for buffer, value in norm.named_buffers(recurse=False)
    }
    momenta = {name: norm.momentum for name, norm in norms.items()}
    network.train()
    for norm in norms.values():
        norm.momentum = 1.0

    def normalize(batch: Tensor, own: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(network, tensors | own, (batch,))
        return logits

    try:
        vmap(normalize)(images.view(num_batches, size, *images.shape[1:]), statistics)
    finally:
        for name, norm in norms.items():
            norm.momentum = momenta[name]
    return tensors | {
        name: value.mean(0) if value.is_floating_point() else value.sum(0)
        for name, value in statistics.items()
    }


def _fresh(buffer: Tensor) -> Tensor:
    """A buffer as before any batch: a count of none, statistics of a number that plays no part."""
    return torch.ones_like(buffer) if buffer.is_floating_point() else torch.zeros_like(buffer)


def is_trained(accuracy: float, num_examples: int, num_classes: int) -> bool:
    """Whether an accuracy is above chance: its one-sided 99.9% Wilson lower bound exceeds 1/K.

    The score interval of Wilson (JASA 22, 1927), by hand because scipy.stats doubles a worker's start-up.
    """
    z = NormalDist().inv_cdf(TRAINED_CONFIDENCE)
    n = num_examples
    centre = accuracy + z**2 / (2 * n)
    margin = z * math.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    return (centre - margin) / (1 + z**2 / n) > 1 / num_classes
