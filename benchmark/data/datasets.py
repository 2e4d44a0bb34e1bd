"""A dataset on the device, split and ready to train on: `load(spec, device, cache_dir)`.

The whole set lives on the device as uint8; a batch is a slice of it, preprocessed as it is taken.
Shapes: N images, B of them in a batch, C channels, H rows, W columns.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from benchmark.base.errors import InputError
from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.contract.messages import excerpt
from benchmark.data.augment import Augmentation
from benchmark.data.cache import cached
from benchmark.data.raw import Indices, Pixels, RawData
from benchmark.data.sources import DATASETS
from benchmark.data.splits import Partition, partition


class DataSpec(Section):
    """What a study learns from.

    Attributes:
        dataset: a name of `DATASETS`.
        root: the images' folder (image-folder), or the folder that has the archives or takes their
            downloads; empty: `downloads` in the cache's folder.
        preprocessing: 'standardize' per channel by the training split's mean and standard deviation;
            'notebook' subtracts the training split's scalar mean (from the test split: its own) and scales
            nothing: natural images then lie within about +-128.
        validation: 'split' sets training images apart; 'test' validates on the test split, as the source did.
        num_validation: size of the validation split; unused under 'test'.
        split_seed: which split into training and validation images; unused under 'test'.
        limit_train: most training images, for quick looks; 0 for all.
        augmentation: of training images; None for none.
    """

    dataset: str = "digits"
    root: str = ""
    preprocessing: Literal["standardize", "notebook"] = "standardize"
    validation: Literal["split", "test"] = "split"
    num_validation: int = Field(default=360, ge=1)
    split_seed: int = Field(default=0, ge=0)
    limit_train: int = Field(default=0, ge=0)
    augmentation: Augmentation | None = None

    @field_validator("dataset")
    @classmethod
    def _check_dataset(cls, name: str) -> str:
        lookup(DATASETS, name, "dataset")
        return name

    @model_validator(mode="after")
    def _check_root(self) -> "DataSpec":
        if DATASETS[self.dataset].needs_root and not self.root:
            raise ValueError(f"root: {self.dataset} expects the folder of the images, found nothing")
        return self


@dataclass(frozen=True)
class Split:
    """Images for one use, on the device.

    Attributes:
        images: [N, C, H, W] uint8.
        labels: [N] int64.
        offset: [C, 1, 1] float32, subtracted from pixels.
        scale: [C, 1, 1] float32, then multiplied with.
    """

    images: Tensor
    labels: Tensor
    offset: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor | slice) -> Tensor:
        """Preprocessed images [B, C, H, W] float32 at `index`: [B] int64 on the device, or a slice."""
        return (self.images[index].to(torch.float32) - self.offset) * self.scale

    def first(self, count: int) -> "Split":
        """The first images alone; all of them where there are no more."""
        return replace(self, images=self.images[:count], labels=self.labels[:count])


@dataclass(frozen=True)
class DeviceData:
    """A dataset split for a study, on the device.

    Attributes:
        name: of the dataset.
        fingerprint: SHA-256 (hex) over pixels, labels, class names, the images of every split and the
            preprocessing; the same on every machine, and independent of where the data lie.
        num_classes: K.
        class_names: K names, by label.
        train: the training split.
        validation: what choices are made on; the same object as `test` under validation = 'test'.
        test: evaluated once, after all choices.
        clean_train: part of `train`, stratified, as large as `validation` or all of it.
        reestimation: 512 images of `train` (or all of it), for re-estimating normalization statistics.
    """

    name: str
    fingerprint: str
    num_classes: int
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    clean_train: Split
    reestimation: Split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, num_channels, height, width = self.train.images.shape
        return num_channels, height, width


def load(spec: DataSpec, device: torch.device, cache_dir: Path) -> DeviceData:
    """Bring a dataset to the device: from the cache if there is a sound one, else from its source.

    Args:
        spec: which dataset, split and preprocessing.
        device: where it goes.
        cache_dir: folder of the decoded datasets; made if need be.

    Raises:
        InputError: the source is missing or damaged, or the sizes asked for do not fit it.
    """
    raw, content_fingerprint = load_raw(spec, cache_dir)
    parts = partition(
        raw.train_labels,
        raw.class_names,
        num_test=len(raw.test_labels),
        validation=spec.validation,
        num_validation=spec.num_validation,
        limit_train=spec.limit_train,
        split_seed=spec.split_seed,
    )
    train_images = raw.train_images[parts.train]
    offset, scale = _preprocessing(train_images, spec.preprocessing)
    test_offset = (
        _preprocessing(raw.test_images, "notebook")[0] if spec.preprocessing == "notebook" else offset
    )

    def split(images: Pixels, labels: Indices, offset: npt.NDArray[np.float64]) -> Split:
        return Split(
            images=torch.from_numpy(images).to(device),
            labels=torch.from_numpy(labels).to(device),
            offset=torch.from_numpy(offset).to(device, torch.float32),
            scale=torch.from_numpy(scale).to(device, torch.float32),
        )

    def of_training_images(index: Indices) -> Split:
        return split(raw.train_images[index], raw.train_labels[index], offset)

    test = split(raw.test_images, raw.test_labels, test_offset)
    return DeviceData(
        name=spec.dataset,
        fingerprint=_fingerprint(content_fingerprint, parts, spec.preprocessing),
        num_classes=len(raw.class_names),
        class_names=raw.class_names,
        train=split(train_images, raw.train_labels[parts.train], offset),
        validation=test if parts.validation is None else of_training_images(parts.validation),
        test=test,
        clean_train=of_training_images(parts.clean_train),
        reestimation=of_training_images(parts.reestimation),
    )


def load_raw(spec: DataSpec, cache_dir: Path) -> tuple[RawData, str]:
    """The dataset as its source has it, and its fingerprint, through the cache.

    Raises:
        InputError: the source is missing or damaged.
    """
    entry = DATASETS[spec.dataset]
    root = _place(spec.root) if spec.root else cache_dir / "downloads"
    # Only where the folder is the dataset do two folders mean two datasets.
    suffix = f"-{hashlib.sha256(bytes(root)).hexdigest()[:12]}" if entry.needs_root else ""
    return cached(cache_dir / f"{spec.dataset}{suffix}.cache", entry.stamp(root), lambda: entry.loader(root))


def _place(root: str) -> Path:
    """The folder that a study names.

    Raises:
        InputError: no folder can have that name.
    """
    try:
        place = Path(root).expanduser().resolve()
        place.exists()
    # RuntimeError: a home that there is not, or links in a circle; ValueError: a NUL character.
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"data.root: expected a folder's path, found {excerpt(root)}: {why}") from None
    return place


def _preprocessing(
    images: Pixels, kind: Literal["standardize", "notebook"]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Offset and scale, [C, 1, 1] each, by the statistics of `images` [N, C, H, W]."""
    mean, variance = channel_statistics(images)
    if kind == "notebook":
        return np.full((len(mean), 1, 1), mean.mean()), np.ones((len(mean), 1, 1))
    std = np.sqrt(variance)
    std[std == 0] = 1.0  # a constant channel becomes zero, whatever it is divided by
    return mean[:, None, None], 1 / std[:, None, None]


def channel_statistics(images: Pixels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and (population) variance per channel, [C] each: exact sums of integers, so alike on all machines.

    Args:
        images: [N, C, H, W] uint8.
    """
    num_channels = images.shape[1]
    count = images.size // num_channels
    sums, squares = [0] * num_channels, [0] * num_channels
    for first in range(0, len(images), 1024):  # in pieces that stay in the processor's cache
        for channel in range(num_channels):
            pixels = images[first : first + 1024, channel].astype(np.uint16)  # 255^2 still fits
            sums[channel] += int(pixels.sum(dtype=np.uint64))
            squares[channel] += int((pixels * pixels).sum(dtype=np.uint64))
    mean = np.array([total / count for total in sums])
    variance = np.array([(count * q - s * s) / count**2 for s, q in zip(sums, squares, strict=True)])
    return mean, variance


def _fingerprint(content_fingerprint: str, parts: Partition, preprocessing: str) -> str:
    digest = hashlib.sha256(f"{content_fingerprint}\0{preprocessing}".encode())
    for index in (parts.train, parts.validation, parts.clean_train, parts.reestimation):
        digest.update(b"test" if index is None else index.astype("<i8").data)
        digest.update(b"\0")
    return digest.hexdigest()
