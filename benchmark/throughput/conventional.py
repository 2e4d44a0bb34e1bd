"""The script that most people write: torchvision's transforms, image by image, and an eager loop.

It trains the same layers on the same images, by the same optimizer, as the suite does. What it does not do is
start its workers anew for each epoch, as such a script does: on data sets of a few batches that would be most
of its time, and to this suite's credit.

Shapes: N images, C channels, H x W pixels, K classes.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmark.data.augment import Augmentation
from benchmark.data.datasets import DeviceData, Split
from benchmark.study.spec import StudySpec
from benchmark.throughput.nets import ACTIVATION, LEARNING_RATE, network_of
from benchmark.throughput.timing import Took
from benchmark.training.optimizers import Sgd
from benchmark.variants.networks import NetworkSpec

# As the suite's batch normalization has them: Keras' defaults.
_EPSILON, _MOMENTUM = 1e-3, 0.01
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
_PREFETCHED = 2  # batches per worker, `DataLoader`'s default


class Pictures(Dataset[tuple[Any, int]]):
    """Images as torchvision's data sets hold them: an array, of which each is made a picture when asked for.

    Args:
        split: whose images.
        transform: of a picture.
    """

    def __init__(self, split: Split, transform: Callable[[Any], Tensor]) -> None:
        self._images = (
            split.images.cpu().permute(0, 2, 3, 1).squeeze(3).numpy()
        )  # [N, H, W, C], grey [N, H, W]
        self._labels = split.labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image  # late: the suite's own rows need none

        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def transform_of(augmentation: Augmentation | None, split: Split) -> Callable[[Any], Tensor]:
    """The study's augmentation and scaling in torchvision's words: a picture to [C, H, W] float32."""
    from torchvision import transforms  # late: seconds

    steps: list[Any] = []
    if augmentation is not None:
        if augmentation.flip:
            steps.append(transforms.RandomHorizontalFlip())
        if augmentation.warps:
            shear = augmentation.shear if augmentation.shear_unit == "degrees" else 0.0
            steps.append(transforms.RandomAffine(degrees=0, scale=augmentation.zoom, shear=shear))
    mean, std = split.offset.flatten() / 255, 1 / (255 * split.scale.flatten())
    steps += [transforms.ToTensor(), transforms.Normalize(mean.tolist(), std.tolist())]
    composed: Callable[[Any], Tensor] = transforms.Compose(steps)
    return composed


def plain_network(
    spec: NetworkSpec,
    normalization: str,
    activation: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> nn.Sequential:
    """The notebook's network as a plain sequence of layers, [N, C, H, W] -> [N, K] logits.

    Its parameters come in the order of the suite's network.

    Args:
        spec: its size; placement "before" and head "flatten".
        normalization: `none` or `batch`.
        activation: `relu`, `sigmoid` or `tanh`.
        image_shape: (C, H, W).
        num_classes: K.
    """
    channels, height, width = image_shape
    layers: list[nn.Module] = []
    for block in range(spec.blocks):
        last = block == spec.blocks - 1
        filters = spec.width * 5 // 3 if last else spec.width
        for fan_in, fan_out in pairwise((channels, filters, filters)):
            layers.append(nn.Conv2d(fan_in, fan_out, 3, padding=1))
            if normalization == "batch":
                layers.append(nn.BatchNorm2d(fan_out, eps=_EPSILON, momentum=_MOMENTUM))
            layers.append(_ACTIVATIONS[activation]())
        channels = filters
        if not last:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
            if spec.dropout:
                layers.append(nn.Dropout(spec.dropout))
    layers += [nn.Flatten(), nn.Linear(channels * height * width, num_classes)]
    return nn.Sequential(*layers)


def plain_optimizer(study: StudySpec, network: nn.Module) -> torch.optim.SGD:
    """The study's optimizer, which is SGD in all that is measured."""
    assert isinstance(study.optimizer, Sgd)
    return torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=study.optimizer.momentum)


class Conventional:
    """The script's training loop.

    Args:
        study: what it trains.
        normalization: `none` or `batch`.
        data: on the training device; the script brings its batches there itself.

    Attributes:
        num_images: of a step.
        launches: see `ours.Ours`; counted where all nets' work is counted.
    """

    launches: float | None = None

    def __init__(self, study: StudySpec, normalization: str, data: DeviceData) -> None:
        self.num_images = study.budget.batch_size
        self._device = data.train.labels.device
        self._pictures = Pictures(data.train, transform_of(study.data.augmentation, data.train))
        self._network = plain_network(
            network_of(study), normalization, ACTIVATION, data.image_shape, data.num_classes
        ).to(self._device)
        self._optimizer = plain_optimizer(study, self._network)
        self._workers = num_cores()

    def measure(self, num_steps: int) -> Took:
        """Train so many steps, after as many as the loader has ready ahead of them.

        Those are not timed, or the first timed steps would find their batches made. The workers' CPU time is
        theirs of all batches, in proportion.
        """
        ahead = _PREFETCHED * self._workers + 1
        children = _children_cpu_s()
        batches = self._batches(ahead + num_steps)
        self._train(batches, ahead)
        began, began_cpu = time.perf_counter(), time.process_time()
        self._train(batches, num_steps)
        wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        del batches  # ends the workers, whose CPU time is known then
        return Took(wall, cpu + (_children_cpu_s() - children) * num_steps / (ahead + num_steps))

    def _batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        sampler = RandomSampler(self._pictures, replacement=True, num_samples=count * self.num_images)
        loader = DataLoader(
            self._pictures,
            batch_size=self.num_images,
            sampler=sampler,
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        return iter(loader)

    def _train(self, batches: Iterator[tuple[Tensor, Tensor]], num_steps: int) -> None:
        criterion = nn.CrossEntropyLoss()
        running_loss = 0.0
        self._network.train()
        for _ in range(num_steps):
            images, labels = next(batches)
            images = images.to(self._device, non_blocking=True)
            labels = labels.to(self._device, non_blocking=True)
            self._optimizer.zero_grad()
            loss = criterion(self._network(images), labels)
            loss.backward()
            self._optimizer.step()
            running_loss += loss.item()  # waits for the device, as such scripts do


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _children_cpu_s() -> float:
    """CPU time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
