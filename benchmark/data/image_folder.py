"""Anyone's own images: one folder per class, as torchvision's ImageFolder reads them.

What editors, file managers and archivers leave beside them is neither a class nor an image.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmark.base.errors import InputError
from benchmark.contract.messages import excerpt, short
from benchmark.data.raw import Indices, Pixels, RawData

TEST_FOLDERS = ("test", "val")
"""Where the test images may be, the first found taken."""

_LEFT_BEHIND = ("__MACOSX", "@eaDir", "lost+found")
_log = logging.getLogger(__name__)
_GREYSCALE_MODES = ("1", "L", "LA")
_MOST_PIXELS = 2**24  # of an image: 4096 x 4096, of which a data set of use is hundreds of gigabytes
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def read_image_folder(root: Path) -> RawData:
    """Read `root`/train/CLASS/* and `root`/test/CLASS/* (or val/), all images of one size.

    Channels: one if every image is greyscale, else three; an alpha channel is dropped. A photograph is
    turned as its EXIF data say. Images that are there more than once, by content, are said.

    Raises:
        InputError: folders are missing or differ in their classes, or there is one class; an image cannot be
            decoded, has more than 8 bits per channel, too many pixels, or another size than the first.
    """
    test_folder = _test_folder(root)
    train_paths, train_labels, class_names = _list_images(root / "train")
    test_paths, test_labels, test_names = _list_images(test_folder)
    if test_names != class_names:
        differing = sorted(set(class_names) ^ set(test_names))
        raise InputError(
            f"{root}: expected the same classes in train/ and {test_folder.name}/, found only in one of them:"
            f" {short(', '.join(differing))}"
        )
    images = _decode_all([*train_paths, *test_paths])
    num_train = len(train_paths)
    _say_what_is_there_twice([*train_paths, *test_paths], images, num_train)
    return RawData(images[:num_train], train_labels, images[num_train:], test_labels, class_names)


def stamp_image_folder(root: Path) -> str:
    """Digest of names, sizes and times of all files: cheap, and another when the folder changed.

    Raises:
        InputError: there is none, or its links lead in circles.
    """
    digest = hashlib.sha256()
    for folder in (root / "train", _test_folder(root)):
        for path, files in _walk(folder):
            digest.update(os.fsencode(os.path.relpath(path, root)) + b"\0")
            for name in files:
                file = os.path.join(path, name)
                try:
                    stat = os.stat(file)
                except OSError:  # a link to nothing
                    stat = os.lstat(file)
                digest.update(os.fsencode(name) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder, through links, with the names of its files; each sorted.

    Raises:
        InputError: a folder is there twice, by a link. Circles of links would not end, and what has one entry
            per link of two ends after as many steps as there are atoms.
    """

    def refuse(error: OSError) -> None:
        raise error

    first: dict[str, str] = {}
    for path, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        before = first.setdefault(os.path.realpath(path), path)
        if before != path:
            raise InputError(
                f"{short(path)}: expected every folder once, found {short(before)} again: remove the link"
            )
        folders.sort()  # os.walk goes on in this order
        yield path, sorted(files)


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
    from torchvision.datasets.folder import find_classes, is_image_file, make_dataset  # late: takes seconds

    def is_image(path: str) -> bool:
        parts = Path(path).relative_to(folder).parts
        return is_image_file(path) and not any(map(_is_left_behind, parts))

    for name in os.listdir(folder):
        if not _is_utf8(name) and (folder / name).is_dir():
            raise InputError(
                f"{folder}: expected names of classes in UTF-8, found {excerpt(name)}: rename it"
            )
    try:
        names = [name for name in find_classes(folder)[0] if not _is_left_behind(name)]
        numbers = {name: number for number, name in enumerate(names)}
        if len(names) < 2:
            raise InputError(
                f"{folder}: expected at least two class folders, found {short(', '.join(names)) or 'none'}"
            )
        samples = make_dataset(str(folder), numbers, is_valid_file=is_image)
    except FileNotFoundError as error:  # no class folder, or one without an image: torchvision says which
        raise InputError(" ".join(str(error).split())) from error
    paths = [Path(path) for path, _ in samples]
    return paths, np.array([label for _, label in samples], dtype=np.int64), tuple(names)


def _is_left_behind(name: str) -> bool:
    """Whether a file or folder is another program's: hidden, or known by its name."""
    return name.startswith(".") or name in _LEFT_BEHIND


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # of a byte that is none, which Python has as half a surrogate pair
        return False
    return True


def _say_what_is_there_twice(paths: Sequence[Path], images: Pixels, num_train: int) -> None:
    """Warn of images that are there more than once: learned by heart, they would pass for generalization."""
    first: dict[bytes, int] = {}
    twice: dict[str, list[tuple[Path, Path]]] = {}
    for position, image in enumerate(images):
        before = first.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), position)
        if before == position:
            continue
        if position < num_train:
            where = "among the training images, part of which validate"
        else:
            where = "among training and test images" if before < num_train else "among the test images"
        twice.setdefault(where, []).append((paths[position], paths[before]))
    for where, pairs in twice.items():
        again, earlier = pairs[0]
        _log.warning(
            "%d of the images are there twice, %s; the first is %s, the same as %s",
            len(pairs),
            where,
            again,
            earlier,
        )


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
    from PIL import Image, ImageOps

    if not path.is_file():  # a pipe would be waited for
        what = "a link to nothing" if path.is_symlink() else "something else"
        raise InputError(f"{path}: expected an image, found {what}: remove it")
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise InputError(
                    f"{path}: expected at most {_MOST_PIXELS:,d} pixels, found {image.height} x "
                    f"{image.width}: resize the images"
                )
            if image.mode not in (*_GREYSCALE_MODES, *_COLOUR_MODES):
                raise InputError(f"{path}: expected at most 8 bits per channel, found PIL mode {image.mode}")
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(upright.convert("L" if image.mode in _GREYSCALE_MODES else "RGB"))
    except InputError:
        raise
    except Exception as error:  # PIL's readers raise whatever comes of a damaged file, SyntaxError among it
        raise InputError(f"{path}: expected an image, found a damaged file ({short(str(error))})") from error
    if expected is not None and pixels.shape[:2] != expected:
        raise InputError(
            f"{path}: expected {expected[0]} x {expected[1]} pixels (rows x columns) as in the first image,"
            f" found {pixels.shape[0]} x {pixels.shape[1]}; resize the images to one size"
        )
    return pixels.reshape(*pixels.shape[:2], -1)
