"""Readers of the datasets' published forms, and their registry: a new dataset is one entry in `DATASETS`."""

import gzip
import hashlib
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.data.archives import Archive, damaged, md5_of, obtain
from benchmark.data.image_folder import read_image_folder, stamp_image_folder
from benchmark.data.raw import Pixels, RawData
from benchmark.data.splits import TEST_SEED, stratified_subset

DIGITS_NUM_TEST = 360
"""scikit-learn's digits come in one piece; a fifth of them is set apart as the test split."""

DIGITS_SCALE = 15
"""The digits' grey levels 0 ... 16 times 15 are 0 ... 240: integers, and exactly linear."""

FASHION_MNIST_UNPACKED_MD5 = {
    "train-images-idx3-ubyte.gz": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte.gz": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte.gz": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte.gz": "15d484375f8d13e6eb1aabb0c3f46965",
}
"""MD5 of the IDX files inside, for the copies in Debian's package dataset-fashion-mnist: it drops name and
time from the gzip headers, and the publisher's checksums are of the compressed files. (With both put back,
2017-08-31 10:50:27 UTC, its t10k-labels has the publisher's checksum.)"""


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset of the registry.

    Attributes:
        loader: reads the source under a folder (images' root, or where archives are or go) to arrays.
        description: what it shows.
        source: who made it.
        num_classes: K; None where the folder decides.
        shape: (C, H, W); None where the folder decides.
        needs_root: whether the study must name the folder.
        stamp: cheap identification of the source's state, so that a cache of another state is rebuilt.
    """

    loader: Callable[[Path], RawData]
    description: str
    source: str
    num_classes: int | None
    shape: tuple[int, int, int] | None
    needs_root: bool = False
    stamp: Callable[[Path], str] = lambda root: "published"


def read_digits(root: Path) -> RawData:
    """scikit-learn's 1,797 handwritten digits, embedded in the package; `root` is not used."""
    from sklearn.datasets import load_digits  # late: over a second, and needless once cached

    digits = load_digits()
    images = (digits.images * DIGITS_SCALE).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    test = stratified_subset(labels, DIGITS_NUM_TEST, TEST_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    names = tuple(str(name) for name in digits.target_names)
    return RawData(images[train], labels[train], images[test], labels[test], names)


def read_cifar(root: Path, builder_name: str) -> RawData:
    """CIFAR-10 or CIFAR-100 from the publisher's archive of Python pickles, through torchvision.

    Args:
        root: where the archive is, or is downloaded to.
        builder_name: torchvision's class, 'CIFAR10' or 'CIFAR100'.

    Raises:
        InputError: the archive is damaged, or missing and not to be downloaded.
    """
    from torchvision import datasets  # late: seconds, and needless once cached

    builder = getattr(datasets, builder_name)
    archive = obtain(Archive(builder.filename, builder.url, builder.tgz_md5), root)
    with tempfile.TemporaryDirectory() as unpacked, warnings.catch_warnings():
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        # NumPy 2.4.0 to 2.4.4 deprecate how the published pickles write a dtype (numpy issue 30786), and
        # torchvision leaves the warning to its users (its issue 9340).
        warnings.filterwarnings(
            "ignore", r"dtype\(\): align should be passed", category=np.exceptions.VisibleDeprecationWarning
        )
        train, test = builder(unpacked, train=True), builder(unpacked, train=False)
    return _raw_data(train, test, train.data.transpose(0, 3, 1, 2), test.data.transpose(0, 3, 1, 2))


def read_fashion_mnist(root: Path) -> RawData:
    """Fashion-MNIST from its four compressed IDX files, the publisher's or Debian's, through torchvision.

    Raises:
        InputError: a file is damaged, or missing and not to be downloaded.
    """
    from torchvision.datasets import FashionMNIST  # late: seconds, and needless once cached

    return _read_idx(FashionMNIST, root, FASHION_MNIST_UNPACKED_MD5, flat=True)


def read_mnist(root: Path) -> RawData:
    """MNIST from its four compressed IDX files, below `MNIST/raw` as torchvision keeps them.

    Not beside those of Fashion-MNIST, which have the same names.

    Raises:
        InputError: a file is damaged, or missing and not to be downloaded.
    """
    from torchvision.datasets import MNIST

    return _read_idx(MNIST, root, {}, flat=False)


def _read_idx(kind: Any, root: Path, unpacked_md5: Mapping[str, str], *, flat: bool) -> RawData:
    with tempfile.TemporaryDirectory() as unpacked:
        raw_folder = Path(unpacked) / kind.__name__ / "raw"  # where torchvision looks
        raw_folder.mkdir(parents=True)
        for name, md5 in kind.resources:
            archive = Archive(name, kind.mirrors[0] + name, md5)
            kept_by_torchvision = root / kind.__name__ / "raw"
            folder = root if flat and not (kept_by_torchvision / name).exists() else kept_by_torchvision
            (raw_folder / name.removesuffix(".gz")).write_bytes(
                _unpack_idx(archive, folder, unpacked_md5.get(name))
            )
        train, test = kind(unpacked, train=True), kind(unpacked, train=False)
    return _raw_data(train, test, train.data.numpy()[:, None], test.data.numpy()[:, None])


def _unpack_idx(archive: Archive, folder: Path, unpacked_md5: str | None) -> bytes:
    """The IDX file in an archive whose own checksum holds, or whose content's does."""
    path = folder / archive.name
    repacked = path.exists() and md5_of(path) != archive.md5
    if not repacked:
        return gzip.decompress(obtain(archive, folder).read_bytes())
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        content = b""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != unpacked_md5:
        raise damaged(path, archive.md5, md5_of(path))
    return content


def _raw_data(train: Any, test: Any, train_images: Pixels, test_images: Pixels) -> RawData:
    """Put a pair of torchvision datasets into the common form; images are [N, C, H, W]."""
    return RawData(
        train_images=np.ascontiguousarray(train_images),
        train_labels=torch.as_tensor(train.targets).numpy(),
        test_images=np.ascontiguousarray(test_images),
        test_labels=torch.as_tensor(test.targets).numpy(),
        class_names=tuple(train.classes),
    )


DATASETS: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        loader=read_digits,
        description="handwritten digits, 8 x 8 grey, 1,797 images of which 360 are set apart for testing",
        source="Alpaydin & Kaynak, 1998, UCI Optical Recognition of Handwritten Digits; with scikit-learn",
        num_classes=10,
        shape=(1, 8, 8),
    ),
    "cifar10": DatasetEntry(
        loader=partial(read_cifar, builder_name="CIFAR10"),
        description="photographs of 10 kinds of things, 32 x 32 RGB, 50,000 + 10,000 images",
        source="Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images",
        num_classes=10,
        shape=(3, 32, 32),
    ),
    "cifar100": DatasetEntry(
        loader=partial(read_cifar, builder_name="CIFAR100"),
        description="photographs of 100 kinds of things (fine labels), 32 x 32 RGB, 50,000 + 10,000 images",
        source="Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images",
        num_classes=100,
        shape=(3, 32, 32),
    ),
    "fashion-mnist": DatasetEntry(
        loader=read_fashion_mnist,
        description="articles of clothing, 28 x 28 grey, 60,000 + 10,000 images",
        source="Xiao, Rasul & Vollgraf, 2017, arXiv 1708.07747",
        num_classes=10,
        shape=(1, 28, 28),
    ),
    "mnist": DatasetEntry(
        loader=read_mnist,
        description="handwritten digits, 28 x 28 grey, 60,000 + 10,000 images",
        source="LeCun, Bottou, Bengio & Haffner, 1998",
        num_classes=10,
        shape=(1, 28, 28),
    ),
    "image-folder": DatasetEntry(
        loader=read_image_folder,
        description="your own images: ROOT/train/CLASS/* and ROOT/test/CLASS/* (or val/), all of one size",
        source="the folder named by `root`, in the layout of torchvision's ImageFolder",
        num_classes=None,
        shape=None,
        needs_root=True,
        stamp=stamp_image_folder,
    ),
}
