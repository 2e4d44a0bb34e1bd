"""Anyone's own images: one folder per class, as torchvision's ImageFolder reads them."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmark.base.errors import InputError
from benchmark.data.raw import Indices, Pixels, RawData

TEST_FOLDERS = ("test", "val")
"""Where the test images may be, the first found taken."""

_GREYSCALE_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def read_image_folder(root: Path) -> RawData:
    """Read `root`/train/CLASS/* and `root`/test/CLASS/* (or val/), all images of one size.

    Channels: one if every image is greyscale, else three; an alpha channel is dropped.

    Raises:
        InputError: folders are missing or differ in their classes; an image cannot be decoded, has more than
            8 bits per channel, or another size than the first.
    """
    test_folder = _test_folder(root)
    train_paths, train_labels, class_names = _list_images(root / "train")
    test_paths, test_labels, test_names = _list_images(test_folder)
    if test_names != class_names:
        differing = sorted(set(class_names) ^ set(test_names))
        raise InputError(
            f"{root}: expected the same classes in train/ and {test_folder.name}/, found only in one of them:"
            f" {', '.join(differing)}"
        )
    images = _decode_all([*train_paths, *test_paths])
    num_train = len(train_paths)
    return RawData(images[:num_train], train_labels, images[num_train:], test_labels, class_names)


def stamp_image_folder(root: Path) -> str:
    """Digest of names, sizes and times of all files: cheap, and another when the folder changed."""
    digest = hashlib.sha256()
    for folder in (root / "train", _test_folder(root)):
        for path, folders, files in os.walk(folder, followlinks=True):
            folders.sort()  # os.walk goes on in this order
            digest.update(f"{os.path.relpath(path, root)}\0".encode())
            for name in sorted(files):
                stat = os.stat(os.path.join(path, name))
                digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _test_folder(root: Path) -> Path:
    """The folder of test images; also refuses a root without training images."""
    if not (root / "train").is_dir():
        raise InputError(f"{root}: expected a folder train/ with one folder per class, found none")
    for name in TEST_FOLDERS:
        if (root / name).is_dir():
            return root / name
    raise InputError(f"{root}: expected a folder test/ or val/ with one folder per class, found neither")


def _list_images(folder: Path) -> tuple[list[Path], Indices, tuple[str, ...]]:
    """Paths [N], labels [N] and class names, in ImageFolder's order (sorted)."""
    from torchvision.datasets import ImageFolder  # late: torchvision takes seconds to import

    try:
        listing = ImageFolder(folder)
    except FileNotFoundError as error:  # no class folder, or one without an image: torchvision says which
        raise InputError(" ".join(str(error).split())) from error
    paths = [Path(path) for path, _ in listing.samples]
    return paths, np.array(listing.targets, dtype=np.int64), tuple(listing.classes)


def _decode_all(paths: list[Path]) -> Pixels:
    """Decode to [N, C, H, W] uint8; decoders let go of the interpreter's lock, so threads pay."""
    size = _decode(paths[0], expected=None).shape[:2]

    def decode_some(some: list[Path]) -> list[Pixels]:
        return [_decode(path, expected=size) for path in some]

    pieces = [paths[first : first + 256] for first in range(0, len(paths), 256)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = [image for piece in pool.map(decode_some, pieces) for image in piece]
    if any(image.shape[2] == 3 for image in decoded):  # mixed: grey is red = green = blue
        decoded = [np.broadcast_to(image, (*size, 3)) for image in decoded]
    return np.ascontiguousarray(np.stack(decoded).transpose(0, 3, 1, 2))


def _decode(path: Path, expected: tuple[int, ...] | None) -> Pixels:
    """Decode one image to [H, W, C] uint8, C = 1 or 3."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in (*_GREYSCALE_MODES, *_COLOUR_MODES):
                raise InputError(f"{path}: expected at most 8 bits per channel, found PIL mode {image.mode}")
            pixels = np.asarray(image.convert("L" if image.mode in _GREYSCALE_MODES else "RGB"))
    except (OSError, SyntaxError) as error:  # PIL raises SyntaxError for some broken PNG files
        raise InputError(f"{path}: expected an image, found a damaged file ({error})") from error
    if expected is not None and pixels.shape[:2] != expected:
        raise InputError(
            f"{path}: expected {expected[0]} x {expected[1]} pixels (rows x columns) as in the first image,"
            f" found {pixels.shape[0]} x {pixels.shape[1]}; resize the images to one size"
        )
    return pixels.reshape(*pixels.shape[:2], -1)
