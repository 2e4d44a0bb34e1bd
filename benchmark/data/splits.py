"""Which images serve for what: fixed by the dataset and the study, never by a trial's seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmark.base.errors import InputError
from benchmark.data.raw import Indices

NUM_REESTIMATION = 512
"""Training images for re-estimating normalization statistics (protocol, 5)."""

# One stream of random order per purpose; the numbers are arbitrary, but changing one changes every result.
TEST_SEED, VALIDATION_SEED, LIMIT_SEED, CLEAN_TRAIN_SEED, REESTIMATION_SEED = range(2018, 2023)


@dataclass(frozen=True)
class Partition:
    """Indices into a dataset's training images, ascending.

    Attributes:
        train: the training split.
        validation: disjoint from it; None where the test split serves for validation.
        clean_train: part of `train`, watched without augmentation, as large as the validation split.
        reestimation: part of `train`, for re-estimating normalization statistics.
    """

    train: Indices
    validation: Indices | None
    clean_train: Indices
    reestimation: Indices


def partition(
    labels: Indices,
    class_names: Sequence[str],
    *,
    num_test: int,
    validation: Literal["split", "test"],
    num_validation: int,
    limit_train: int,
    split_seed: int = 0,
) -> Partition:
    """Divide the training images, each part with the classes' shares of the whole.

    Args:
        labels: [N] of the training images.
        class_names: K of them.
        num_test: size of the test split.
        validation: 'split' sets training images apart for validation; 'test' leaves them all to train.
        num_validation: size of the validation split; unused under 'test'.
        limit_train: most training images; 0 for no limit.
        split_seed: which of the many splits into training and validation; the test split stays.

    Raises:
        InputError: a part would be too small to hold every class.
    """
    num_classes = len(class_names)
    train = np.arange(len(labels))
    held_out = None
    if validation == "split":
        most = len(labels) - num_classes
        if not num_classes <= num_validation <= most:
            raise InputError(
                f"num_validation: expected {num_classes} to {most} (an image per class for validation and for"
                f" training), found {num_validation}"
            )
        held_out = stratified_subset(labels, num_validation, [VALIDATION_SEED, split_seed])
        train = np.setdiff1d(train, held_out)
        kept, validates = (np.bincount(labels[part], minlength=num_classes) for part in (train, held_out))
        for name, left, taken in zip(class_names, kept, validates, strict=True):
            if not left or not taken:
                raise InputError(
                    f"class {name}: expected images for training and for validation, found {left + taken} in "
                    f"all, {taken} for validation (num_validation = {num_validation}); add some"
                )
    if limit_train:
        if limit_train < num_classes:
            raise InputError(
                f"limit_train: expected 0 (all) or at least {num_classes} (classes), found {limit_train}"
            )
        train = train[stratified_subset(labels[train], limit_train, LIMIT_SEED)]
    num_clean = num_test if held_out is None else num_validation
    return Partition(
        train=train,
        validation=held_out,
        clean_train=train[stratified_subset(labels[train], num_clean, CLEAN_TRAIN_SEED)],
        reestimation=train[stratified_subset(labels[train], NUM_REESTIMATION, REESTIMATION_SEED)],
    )


def stratified_subset(labels: Indices, size: int, seed: int | Sequence[int]) -> Indices:
    """Choose `size` images at random (all, if there are fewer), each class by its share.

    Sizes per class are those of the largest remainder method. Unlike scikit-learn's stratified splits it also
    works when fewer images are left over than there are classes, and it draws nothing but PCG64 doubles, a
    stream that NumPy keeps stable.

    Args:
        labels: [N] int64.
        size: images to choose.
        seed: of the random order; several numbers are one seed (a zero at their end changes nothing).

    Returns:
        [min(size, N)] int64 indices, ascending.
    """
    num_images = len(labels)
    if size >= num_images:
        return np.arange(num_images)
    counts = np.bincount(labels)
    quotas, remainders = np.divmod(counts * size, num_images)
    largest = np.argsort(-remainders, kind="stable")[: size - quotas.sum()]
    quotas[largest] += 1

    order = np.lexsort((np.random.Generator(np.random.PCG64(seed)).random(num_images), labels))
    starts = np.cumsum(counts) - counts
    rank_in_class = np.arange(num_images) - starts[labels[order]]
    return np.sort(order[rank_in_class < quotas[labels[order]]])
