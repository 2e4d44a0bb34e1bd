"""Datasets made by the tests in the formats in which they are published."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
from PIL import Image


def md5(content):
    return hashlib.md5(content).hexdigest()


def pickled_as_published(content):
    """A pickle whose dtypes are written as NumPy of 2009 wrote them, `align` being 0 rather than False."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=2)
    pickler.dispatch_table = {type(np.dtype("u1")): lambda dtype: (np.dtype, ("u1", 0, 1))}
    pickler.dump(content)
    return stream.getvalue()


def make_cifar(folder, builder, num_train, num_test, monkeypatch):
    """Write `builder`'s archive with random images, and give torchvision its checksums."""
    rng = np.random.default_rng(0)
    fine = builder.__name__ == "CIFAR100"
    names = [f"class {i}" for i in range(100 if fine else 10)]
    files, listed, images, labels = {}, {}, [], []
    train_names = [name for name, _ in builder.train_list]
    for name, count in [(n, num_train // len(train_names)) for n in train_names] + [
        (builder.test_list[0][0], num_test)
    ]:
        batch = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        label = [i % len(names) for i in range(count)]
        images.append(batch.reshape(-1, 3, 32, 32))
        labels.append(label)
        files[name] = pickled_as_published({"data": batch, ("fine_labels" if fine else "labels"): label})
        listed[name] = [name, md5(files[name])]
    files[builder.meta["filename"]] = pickle.dumps({builder.meta["key"]: names}, protocol=2)
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / builder.filename, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{builder.base_folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(builder, "tgz_md5", md5((folder / builder.filename).read_bytes()))
    monkeypatch.setattr(builder, "train_list", [listed[name] for name in train_names])
    monkeypatch.setattr(builder, "test_list", [listed[builder.test_list[0][0]]])
    monkeypatch.setattr(builder, "meta", {**builder.meta, "md5": md5(files[builder.meta["filename"]])})
    return np.concatenate(images[:-1]), np.concatenate(labels[:-1]), images[-1], np.array(labels[-1])


def make_idx(folder, monkeypatch, kind="FashionMNIST"):
    """Write the four IDX files, compressed, and give torchvision their checksums."""
    from torchvision import datasets

    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    resources, arrays = [], []
    for part, count in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for part_kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            # IDX: two zero bytes, the type (8: unsigned byte), the rank, then the sizes, big-endian.
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            name = f"{part}-{part_kind}-ubyte.gz"
            (folder / name).write_bytes(gzip.compress(head + array.tobytes()))
            resources.append((name, md5((folder / name).read_bytes())))
            arrays.append(array)
    monkeypatch.setattr(getattr(datasets, kind), "resources", resources)
    return arrays


def make_image_folder(
    root, *, num_classes=2, num_train=6, size=(5, 4), test_name="test", mode="RGB", suffix="png"
):
    """Write folders of random images; return the training ones, [N, H, W, ...], in ImageFolder's order."""
    rng = np.random.default_rng(2)
    written = []
    for part, count in (("train", num_train), (test_name, 2)):
        for k in range(num_classes):
            folder = root / part / f"class{k}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*size, 3) if mode == "RGB" else size, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:03}.{suffix}", lossless=True)
                written.append(pixels)
    return np.stack(written[: num_classes * num_train])


def flip_byte(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)
