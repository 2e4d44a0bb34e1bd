"""One training step: state in, state out, randomness from keys, nothing global.

Shapes: R replicas of one variant, each with its own rate, seed and step; B examples of a batch; P parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.base import seeding
from benchmark.data.augment import NUM_DRAWS, Augmentation, augment
from benchmark.data.datasets import Split
from benchmark.training.bound import BoundNetwork
from benchmark.training.clipping import clip_by_units_, clip_norm_
from benchmark.training.losses import CROSS_ENTROPY, Loss
from benchmark.training.optimizers import Adam, AdamW, RmsProp, Sgd
from benchmark.training.precision import Precision, computing_in
from benchmark.training.state import Layout, TrainState
from benchmark.variants.networks import Network
from benchmark.variants.wide import VECTOR


@dataclass(frozen=True)
class Problem:
    """What stays fixed while a variant trains.

    Attributes:
        network: of one replica; its own tensors are not read.
        layout: of its parameters.
        train: the training split.
        batch_size: B.
        augmentation: of training images; None: none.
        optimizer: its rule.
        loss: what is minimized.
        clip_norm: to what the gradient's norm is clipped; None: not at all.
        unit_clip: to what part of its weights' norm each unit's gradient is clipped; None: not so.
        rate_factors: [T] on the device, by which each step's rate is multiplied; None: it stays as it is.
        precision: of training steps.
    """

    network: Network
    layout: Layout
    train: Split
    batch_size: int
    augmentation: Augmentation | None
    optimizer: Sgd | RmsProp | Adam | AdamW
    loss: Loss = CROSS_ENTROPY
    clip_norm: float | None = None
    precision: Precision = "fp32"
    unit_clip: float | None = None
    rate_factors: Tensor | None = None
    _bound: dict[tuple[int, bool], BoundNetwork] = field(default_factory=dict, repr=False, compare=False)

    def bind(self, state: TrainState, *, channels_last: bool = False) -> BoundNetwork:
        """The network of R replicas side by side, its tensors those of a state of R rows."""
        key = (len(state.step), channels_last)
        if key not in self._bound:
            self._bound[key] = BoundNetwork(self.network, self.layout, *key)
        self._bound[key].bind(state)
        return self._bound[key]


@dataclass(frozen=True)
class StreamKeys:
    """The random streams of R seeds, [R, 2] int64 each, on the training device; [2] of a single seed."""

    order: Tensor
    augmentation: Tensor
    dropout: Tensor
    noise: Tensor

    @classmethod
    def of(cls, seed: int, device: torch.device) -> "StreamKeys":
        """The streams of one seed."""
        names = ("order", "augmentation", "dropout", "noise")
        return cls(*(seeding.stream_key(seed, name, device) for name in names))

    @classmethod
    def stack(cls, keys: "list[StreamKeys]") -> "StreamKeys":
        """Those of single seeds as rows."""
        return cls(*(torch.stack([getattr(own, name) for own in keys]) for name in vars(keys[0])))


def step(
    problem: Problem, network: BoundNetwork, state: TrainState, index: Tensor, keys: StreamKeys, lr: Tensor
) -> Tensor:
    """Take one optimizer step with every replica, in place.

    Args:
        problem: what stays fixed.
        network: bound to `state`.
        state: of R rows; updated in place.
        index: [R, B] int64, the batches' positions in the training split.
        keys: the replicas' streams, [R, 2] each.
        lr: [R, 1] on the device; before the schedule.

    Returns:
        [R, 3] on the device, of each replica: the batch's mean loss, its share classified right, and the
        gradient's norm, before any clipping.
    """
    num_rows, batch_size = index.shape
    images = problem.train.take(index.flatten()).to(state.parameters.dtype)
    labels = problem.train.labels[index.flatten()]
    if problem.augmentation is not None:
        draws = seeding.uniform(keys.augmentation, state.step, (batch_size, NUM_DRAWS))
        images = augment(images, draws.flatten(0, 1).to(images.dtype), problem.augmentation)
    images = _side_by_side(images.unflatten(0, (num_rows, batch_size)))
    masks = dropout_masks(problem.network, batch_size, keys.dropout, state.step, images.dtype)
    noise = noise_draws(problem.network, batch_size, keys.noise, state.step, images.dtype)

    network.refresh()
    with computing_in(problem.precision, images.device):
        logits = network.module(images, masks, noise)
        logits = logits.to(images.dtype).unflatten(1, (num_rows, -1)).transpose(0, 1)  # [R, B, K]
        losses = _losses(problem.loss, logits, labels.view(num_rows, batch_size))
        gradients = torch.autograd.grad(losses.sum(), network.parameters)

    with torch.no_grad():
        gradient = torch.cat([part.reshape(num_rows, -1) for part in gradients], 1)
        norm = torch.linalg.vector_norm(gradient, dim=1)
        if problem.clip_norm is not None:
            clip_norm_(gradient, norm, problem.clip_norm)
        if problem.unit_clip is not None:
            clip_by_units_(problem.layout, gradient, state.parameters, problem.unit_clip)
        lr = _scheduled(problem, lr, state.step)
        problem.optimizer.update_(state.parameters, gradient, state.moments, lr, state.step[:, None])
        state.step.add_(1)
        correct = (logits.argmax(2) == labels.view(num_rows, batch_size)).to(norm.dtype).mean(1)
        return torch.stack((losses.detach(), correct, norm), 1)


def _scheduled(problem: Problem, lr: Tensor, step: Tensor) -> Tensor:
    """[R, 1], what rates [R, 1] are at steps [R]; beyond the budget, as when timed, those of its end."""
    if problem.rate_factors is None:
        return lr
    own = step.clamp_max(len(problem.rate_factors) - 1)
    return lr * problem.rate_factors.index_select(0, own)[:, None]


def _losses(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """[R, B, K] logits and [R, B] labels -> [R], each replica's mean loss.

    One replica after another where together some examples would be left over of a vector, and so be rounded
    otherwise.
    """
    if len(labels) == 1 or labels.shape[1] % VECTOR:
        return torch.stack([loss(row, own) for row, own in zip(logits, labels, strict=True)])
    return loss(logits.flatten(0, 1), labels.flatten(), "none").view(labels.shape).mean(1)


def dropout_masks(
    network: Network, batch_size: int, key: Tensor, position: Tensor, dtype: torch.dtype = torch.float32
) -> list[Tensor] | None:
    """Which units one step keeps, as factors: 0 of those dropped, and of the others what makes up for them.

    All masks are cut from one run of the stream: one launch of the hash per step, not one per layer.

    Args:
        network: of one replica.
        batch_size: B.
        key: [R, 2], or [2] for a single replica.
        position: [R], or a scalar.
        dtype: of the masks.

    Returns:
        One [B, R F, H, W] per dropout; None where nothing is dropped.
    """
    if network.dropout_rate == 0.0 or not network.dropout_shapes:
        return None
    shapes = [(batch_size, *shape) for shape in network.dropout_shapes]
    counts = [torch.Size(shape).numel() for shape in shapes]
    keep = seeding.words(key, position, sum(counts)) >= round(network.dropout_rate * 2**32)
    factors = keep.to(dtype).mul_(1.0 / (1.0 - network.dropout_rate))
    return [_side_by_side(part) for part in _cut(factors, shapes)]


def noise_draws(
    network: Network,
    batch_size: int,
    key: Tensor,
    position: Tensor | int,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor] | None:
    """One step's uniform draws: one [2 + 2 B, R F, H, W] per layer that takes noise; None where none does.

    Cut from one run of the stream, as dropout's masks are, and with the same arguments.
    """
    shapes = [(2 + 2 * batch_size, *shape) for shape in network.noise_shapes]
    if not shapes:
        return None
    count = sum(torch.Size(shape).numel() for shape in shapes)
    draws = seeding.uniform(key, position, (count,)).to(dtype)
    return [_side_by_side(part) for part in _cut(draws, shapes)]


def _cut(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """[..., sum of sizes] -> pieces [R, *shape], in order."""
    counts = [torch.Size(shape).numel() for shape in shapes]
    parts = torch.split(flat.reshape(-1, flat.shape[-1]), counts, dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def _side_by_side(rows: Tensor) -> Tensor:
    """[R, B, C, H, W] -> [B, R C, H, W]."""
    return rows[0] if len(rows) == 1 else rows.transpose(0, 1).flatten(1, 2)


class BatchOrder:
    """Which training images each step sees: epoch after epoch, each a fresh permutation.

    Batches run on across the end of an epoch, so every batch is full and every image comes once an epoch.
    """

    def __init__(self, key: Tensor, num_train: int, batch_size: int) -> None:
        self.key = key
        self.num_train = num_train
        self._batch_size = batch_size
        self._drawn: tuple[int, Tensor] | None = None

    def batches(self, start: int, num_steps: int) -> Tensor:
        """[num_steps, B] int64: the images of steps `start`, `start` + 1, ..."""
        return batches_of([self], [start], num_steps)[:, 0]

    def parts(self, start: int, num_steps: int) -> list[tuple[int, slice]]:
        """Which epochs those steps are of, and where in each."""
        first = start * self._batch_size
        end = first + num_steps * self._batch_size
        epochs = range(first // self.num_train, (end - 1) // self.num_train + 1)
        offsets = [(epoch, epoch * self.num_train) for epoch in epochs]
        return [(epoch, slice(max(first - offset, 0), end - offset)) for epoch, offset in offsets]

    def part(self, epoch: int, where: slice) -> Tensor:
        """Of an epoch that was drawn last."""
        assert self._drawn is not None
        assert self._drawn[0] == epoch
        return self._drawn[1][where]

    def draws(self, epoch: int) -> bool:
        """Whether the epoch is another than it drew last."""
        return self._drawn is None or self._drawn[0] != epoch

    def take(self, epoch: int, permutation: Tensor) -> None:
        """Keep what was drawn for it."""
        self._drawn = epoch, permutation


def batches_of(orders: Sequence[BatchOrder], starts: Sequence[int], num_steps: int) -> Tensor:
    """[num_steps, R, B] int64: the images of each replica's next steps.

    Those that begin an epoch together draw its order together: some eighty operations, however many they are.

    Args:
        orders: of R replicas, over equally many images.
        starts: the step from which on, of each.
        num_steps: of all.
    """
    wanted = [order.parts(start, num_steps) for order, start in zip(orders, starts, strict=True)]
    found: list[list[Tensor]] = [[] for _ in orders]
    for turn in range(max(map(len, wanted))):
        now = [(row, *parts[turn]) for row, parts in enumerate(wanted) if turn < len(parts)]
        for epoch in dict.fromkeys(epoch for _, epoch, _ in now):
            rows = [row for row, own, _ in now if own == epoch and orders[row].draws(epoch)]
            if rows:
                keys = torch.stack([orders[row].key for row in rows])
                drawn = seeding.permutation(keys, epoch, orders[rows[0]].num_train)
                for row, permutation in zip(rows, drawn, strict=True):
                    orders[row].take(epoch, permutation)
        for row, epoch, where in now:
            found[row].append(orders[row].part(epoch, where))
    return torch.stack([torch.cat(parts).view(num_steps, -1) for parts in found], 1)
