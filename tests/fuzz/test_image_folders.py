"""Folders of images: whatever is in one is read, left out or refused in a line."""

import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from fuzzing import ODD_WORDS, Watch, fuzzed, refused
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import folder as _  # noqa: F401 whose import makes a folder for PyTorch's compiler

from benchmark.data.datasets import DataSpec, load_raw

SIDE = 4
MODES = ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I", "F"]
FORMATS = {"CMYK": "TIFF", "I": "TIFF", "F": "TIFF"}


def picture(mode="RGB", side=SIDE, seed=0, **options):
    """The bytes of an image."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("L" if mode in ("I;16", "I", "F") else mode)
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray(
            np.asarray(image).astype({"I;16": "uint16", "I": "int32", "F": "float32"}[mode])
        )
    stream = io.BytesIO()
    image.save(stream, FORMATS.get(mode, "PNG"), **options)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(rows, columns):
    """A PNG that says it has so many pixels, and holds none."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = [picture(mode, seed=seed) for seed, mode in enumerate(MODES)]
MOVING = picture(save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))])
ODD = [
    *(
        *GOOD,
        MOVING,
        picture(side=1),
        picture(side=SIDE + 1),
        b"",
        b"\0" * 50,
        b"GIF89a",
        GOOD[0][:60],
        GOOD[0][:20],
    ),
    *(bomb(30_000, 30_000), bomb(9_000, 9_000), bomb(2**31 - 1, 2**31 - 1), bomb(0, 0), bomb(SIDE, SIDE)),
    *(
        b"P6\n4 4\n255\n" + b"x" * 48,
        b"P6\n999999 999999\n255\n",
        b"BM" + b"\xff" * 60,
        b"II*\0" + b"\xff" * 40,
    ),
]
NAMES = [
    *(
        "a.png",
        "._0000.png",
        ".hidden.png",
        "a.PNG",
        "a.jpg",
        "a.tif",
        "a.ppm",
        "a.txt",
        "a",
        "-rf.png",
        "%20.png",
    ),
    *(
        "a b.png",
        "ä€😀.png",
        "\udcff.png",
        "x\ny.png",
        "'\".png",
        "x" * 200 + ".png",
        "<script>.png",
        "Thumbs.db",
    ),
    *("deep/er/a.png", "deep/.git/a.png", "__MACOSX/a.png", *("d/" * 30 + "a.png",)),
]
CLASSES = [
    "class0",
    "class1",
    "class1",
    "c 2",
    "ä€😀",
    "\udcff",
    "%20",
    "..x",
    "-",
    "__MACOSX",
    ".hidden",
    "x" * 200,
]
LINKS = ["nothing", ".", "..", "a.png", "../class0", "../..", "/dev/null", "/dev/zero", "loop"]

places = st.tuples(
    st.sampled_from(["train", "train", "test", "val"]), st.sampled_from(CLASSES), st.sampled_from(NAMES)
)
contents = st.one_of(
    st.sampled_from(ODD),
    st.tuples(st.sampled_from(GOOD), st.integers(0, 400), st.integers(0, 255)).map(
        lambda it: it[0][: it[1]] + bytes([it[2]]) + it[0][it[1] + 1 :]  # a byte is another
    ),
    st.sampled_from(LINKS).map(lambda target: ("link", target)),
    st.just("pipe"),
    st.just("folder"),
)
changes = st.lists(st.tuples(places, contents), max_size=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


def put(path, content):
    if os.path.lexists(path):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "pipe":
            os.mkfifo(path)
        elif content == "folder":
            path.mkdir()
        elif isinstance(content, tuple):
            path.symlink_to(content[1])
        else:
            path.write_bytes(content)
    except OSError:  # no such name on this disk
        return


@fuzzed(
    "image folders",
    short=40,
    full=1500,
    name=st.sampled_from(["root", "a%20b", "a b", "ä€😀", "x\ny", "'", "-"]),
    changes=changes,
    whole=st.integers(0, 9),
)
def test_any_folder_is_read_or_refused(place, name, changes, whole):
    root, cache = place / name, place / "mlruns"
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(cache, ignore_errors=True)
    if whole:
        for number, folder in enumerate(("train/class0", "train/class1", "test/class0", "test/class1")):
            put(root / folder / "first.png", picture(seed=100 + number))
    for parts, content in changes:
        put(root.joinpath(*parts), content)
    with Watch(cache):

        def use():
            raw, fingerprint = load_raw(DataSpec(dataset="image-folder", root=str(root)), cache)
            assert raw.train_images.shape[2:] == raw.test_images.shape[2:]
            assert len(raw.train_images) == len(raw.train_labels)
            assert load_raw(DataSpec(dataset="image-folder", root=str(root)), cache)[1] == fingerprint

        if not changes and whole:
            assert not refused(use)
        refused(use)


@fuzzed(
    "places of images", short=20, full=300, root=st.one_of(st.sampled_from(ODD_WORDS), st.text(min_size=1))
)
def test_any_place_is_read_or_refused(place, root):
    if root:
        with Watch(place / "mlruns"):
            assert refused(lambda: load_raw(DataSpec(dataset="image-folder", root=root), place / "mlruns"))
