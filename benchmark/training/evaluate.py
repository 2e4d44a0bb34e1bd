"""Judging a network: loss and accuracy in evaluation mode, and what its normalization statistics are then.

Shapes: N images, R replicas side by side (see `variants.wide`), K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.contract import TRAINED_CONFIDENCE
from benchmark.data.datasets import Split
from benchmark.training.losses import CROSS_ENTROPY, Loss
from benchmark.variants.networks import Network

_CACHE_BYTES = 2**20  # of the widest map of a chunk of images; of the processor's caches, some share
_USUAL_ROWS = 8  # replicas, where there are several
_LEAST_IMAGES = 32  # in a chunk
_MOST_IMAGES = 1024  # in a chunk, wherever it is evaluated


@dataclass(frozen=True)
class Score:
    """A split's mean loss and share classified right."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Judgement:
    """How one replica does on some splits.

    Attributes:
        judged: a score per split, by the statistics that judge it.
        moving: the same by the moving averages.
    """

    judged: tuple[Score, ...]
    moving: tuple[Score, ...]


@torch.no_grad()
def scores(
    network: Network, tensors: Mapping[str, Tensor], *splits: Split, loss: Loss = CROSS_ENTROPY
) -> list[tuple[Score, ...]]:
    """Evaluate R replicas on splits, dropout off, with the running statistics in `tensors`.

    Args:
        network: of R replicas; its own tensors are not read.
        tensors: parameters and buffers by name, R times a single network's.
        splits: what to evaluate on.
        loss: by what.

    Returns:
        For each replica a score per split; one transfer from the device in all.
    """
    network.eval()
    num_rows = network.num_rows
    found: list[list[Tensor]] = [[] for _ in splits]
    for batch in _batches(splits, _chunk_size(network, splits[0])):
        images = torch.cat([splits[position].take(chunk) for position, chunk in batch])
        images = images.repeat(1, num_rows, 1, 1)
        logits: Tensor = functional_call(network, dict(tensors), (images,))
        of_rows = logits.unflatten(1, (num_rows, -1))  # [N, R, K]
        for position, chunk in batch:
            size = chunk.stop - chunk.start
            found[position].append(of_rows[:size])
            of_rows = of_rows[size:]
    means = []
    for split, parts in zip(splits, found, strict=True):
        own = torch.cat(parts).transpose(0, 1).contiguous()  # [R, N, K]
        # One replica after another: how many there are changes no bit.
        losses = torch.stack([loss(row, split.labels) for row in own])
        means.append(torch.stack((losses, (own.argmax(2) == split.labels).to(losses.dtype).mean(1))))
    return [tuple(Score(*pair) for pair in row) for row in torch.stack(means).permute(2, 0, 1).tolist()]


def score(
    network: Network, tensors: Mapping[str, Tensor], *splits: Split, loss: Loss = CROSS_ENTROPY
) -> list[Score]:
    """The same of a single replica: a score per split."""
    return list(scores(network, tensors, *splits, loss=loss)[0])


def _chunk_size(network: Network, split: Split) -> int:
    """Images per forward pass: as many as leave the widest map in a processor's cache.

    Evaluation mode: it changes nothing but time, memory and rounding; and so that no bit depends on how many
    replicas there are, it does not either.
    """
    if split.images.device.type != "cpu":
        return _MOST_IMAGES
    per_image = max(4 * math.prod(unit.place.shape) for unit in network.hidden().values())
    fit = _CACHE_BYTES // (per_image * (1 if network.num_rows == 1 else _USUAL_ROWS))
    return max(_LEAST_IMAGES, min(fit, _MOST_IMAGES))


def _batches(splits: Sequence[Split], chunk_size: int) -> list[list[tuple[int, slice]]]:
    """Chunks (number of the split, where in it) that share a forward pass: small splits go together."""
    batches: list[list[tuple[int, slice]]] = [[]]
    room = chunk_size
    for position, split in enumerate(splits):
        start = 0
        while start < len(split):
            if room == 0:
                batches.append([])
                room = chunk_size
            end = min(start + room, len(split))
            batches[-1].append((position, slice(start, end)))
            room -= end - start
            start = end
    return batches


@torch.no_grad()
def reestimate(
    network: Network, tensors: Mapping[str, Tensor], split: Split, batch_size: int
) -> dict[str, Tensor]:
    """Normalization statistics re-estimated at fixed weights: algorithm 2 of Ioffe & Szegedy (1502.03167).

    Means of the batch means and of the unbiased batch variances over `split`, in batches of the training
    size (a last, smaller one is left out, unless it is the only one), dropout and noise off.

    Args:
        network: of R replicas, with norms that have running statistics.
        tensors: parameters and buffers by name, R times a single network's; not modified.
        split: images to estimate on.
        batch_size: the training batch's size.

    Returns:
        `tensors` with re-estimated buffers.
    """
    norms: dict[str, Any] = network.running_norms()
    size = min(batch_size, len(split))
    momenta = {name: norm.momentum for name, norm in norms.items()}
    network.train()
    for norm in norms.values():
        norm.momentum = 1.0  # a batch's running statistics are then its own, whatever they were
    batches = []
    try:
        for first in range(0, len(split) - size + 1, size):
            own = {
                f"{name}.{buffer}": _fresh(value)
                for name, norm in norms.items()
                for buffer, value in norm.named_buffers(recurse=False)
            }
            images = split.take(slice(first, first + size)).repeat(1, network.num_rows, 1, 1)
            functional_call(network, {**tensors, **own}, (images,))
            batches.append(own)
    finally:
        for name, norm in norms.items():
            norm.momentum = momenta[name]
    estimates = {name: torch.stack([own[name] for own in batches], -1) for name in batches[0]}
    return dict(tensors) | {
        name: value.mean(-1) if value.is_floating_point() else value.sum(-1)
        for name, value in estimates.items()
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
