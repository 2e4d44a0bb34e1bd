"""Loaders against archives and folders made in the published formats."""

import gzip
import http.server
import os
import shutil
import threading
import urllib.error
import urllib.request
from functools import partial

import numpy as np
import pytest
from made_datasets import flip_byte, make_cifar, make_idx, make_image_folder, md5
from PIL import Image
from sklearn.datasets import load_digits

from benchmark.base.errors import InputError
from benchmark.data import sources
from benchmark.data.datasets import DataSpec, load_raw
from benchmark.data.sources import DATASETS


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("blocked by the test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_cifar_archive_placed_by_hand_is_used(name, tmp_path, monkeypatch):
    from torchvision import datasets

    expected = make_cifar(tmp_path / "downloads", getattr(datasets, name), 200, 100, monkeypatch)
    raw, _ = load_raw(DataSpec(dataset=name.lower()), tmp_path)
    for array, want in zip(raw.arrays(), expected, strict=True):
        np.testing.assert_array_equal(array, want)
    entry = DATASETS[name.lower()]
    assert len(raw.class_names) == entry.num_classes
    assert raw.train_images.shape[1:] == entry.shape


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("place", ["", "FashionMNIST/raw"])
def test_fashion_mnist_files_placed_by_hand_are_used(place, tmp_path, monkeypatch):
    train_images, train_labels, test_images, test_labels = make_idx(tmp_path / place, monkeypatch)
    raw, _ = load_raw(DataSpec(dataset="fashion-mnist", root=str(tmp_path)), tmp_path / "cache")
    np.testing.assert_array_equal(raw.train_images[:, 0], train_images)
    np.testing.assert_array_equal(raw.train_labels, train_labels)
    np.testing.assert_array_equal(raw.test_images[:, 0], test_images)
    np.testing.assert_array_equal(raw.test_labels, test_labels)
    assert raw.class_names[9] == "Ankle boot"


@pytest.mark.usefixtures("no_network")
def test_mnist_lies_apart_from_fashion_mnist_whose_files_have_the_same_names(tmp_path, monkeypatch):
    make_idx(tmp_path, monkeypatch)
    train_images, *_ = make_idx(tmp_path / "MNIST" / "raw", monkeypatch, "MNIST")
    raw, _ = load_raw(DataSpec(dataset="mnist", root=str(tmp_path)), tmp_path / "cache")
    np.testing.assert_array_equal(raw.train_images[:, 0], train_images)
    assert raw.class_names[9].startswith("9")


@pytest.mark.usefixtures("no_network")
def test_fashion_mnist_compressed_anew_is_known_by_its_content(tmp_path, monkeypatch):
    train_images, *_ = make_idx(tmp_path, monkeypatch)
    archive = tmp_path / "train-images-idx3-ubyte.gz"
    content = gzip.decompress(archive.read_bytes())
    archive.write_bytes(gzip.compress(content, compresslevel=1, mtime=1))
    spec = DataSpec(dataset="fashion-mnist", root=str(tmp_path))
    with pytest.raises(InputError, match="damaged"):
        load_raw(spec, tmp_path / "cache")
    monkeypatch.setitem(sources.FASHION_MNIST_UNPACKED_MD5, archive.name, md5(content))
    np.testing.assert_array_equal(load_raw(spec, tmp_path / "cache")[0].train_images[:, 0], train_images)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("position", [20, -20])
@pytest.mark.parametrize("dataset", ["cifar10", "fashion-mnist"])
def test_damaged_archive_is_refused(dataset, position, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    if dataset == "cifar10":
        make_cifar(tmp_path, CIFAR10, 100, 20, monkeypatch)
        archive = tmp_path / CIFAR10.filename
    else:
        make_idx(tmp_path, monkeypatch)
        archive = tmp_path / "t10k-images-idx3-ubyte.gz"
    flip_byte(archive, position)
    with pytest.raises(InputError, match=f"{archive.name} is damaged .* expected md5 .* found") as error:
        load_raw(DataSpec(dataset=dataset, root=str(tmp_path)), tmp_path / "cache")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("no_network")
def test_blocked_download_says_which_file_to_put_where(tmp_path):
    with pytest.raises(InputError) as error:
        load_raw(DataSpec(dataset="cifar100"), tmp_path)
    message = str(error.value)
    assert f"{tmp_path / 'downloads' / 'cifar-100-python.tar.gz'}" in message
    assert "eb9058c3a382ffc7106e4002c42a8d85" in message
    assert "blocked by the test" in message
    assert "\n" not in message
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine for the folder `published`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "*")
    handler = partial(Handler, directory=str(tmp_path / "published"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def test_archive_is_downloaded_once_checked_and_kept(server, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    make_cifar(tmp_path / "published", CIFAR10, 100, 20, monkeypatch)
    monkeypatch.setattr(CIFAR10, "url", f"{server}/{CIFAR10.filename}")
    raw, fingerprint = load_raw(DataSpec(dataset="cifar10"), tmp_path)
    assert len(raw.train_labels) == 100
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [CIFAR10.filename]
    (tmp_path / "cifar10.cache").unlink()
    (tmp_path / "published" / CIFAR10.filename).unlink()
    assert load_raw(DataSpec(dataset="cifar10"), tmp_path)[1] == fingerprint


def test_download_of_something_else_is_refused_and_leaves_nothing(server, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    make_cifar(tmp_path / "published", CIFAR10, 100, 20, monkeypatch)
    flip_byte(tmp_path / "published" / CIFAR10.filename, 30)
    monkeypatch.setattr(CIFAR10, "url", f"{server}/{CIFAR10.filename}")
    with pytest.raises(InputError, match="could not download"):
        load_raw(DataSpec(dataset="cifar10"), tmp_path)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_digits_are_scikit_learns(tmp_path):
    raw, _ = load_raw(DataSpec(), tmp_path)
    digits = load_digits()
    assert (len(raw.train_labels), len(raw.test_labels)) == (1437, 360)
    ours = np.concatenate([raw.train_images, raw.test_images])[:, 0] / 15
    labels = np.concatenate([raw.train_labels, raw.test_labels])

    def as_rows(images, labels):
        return sorted(map(tuple, np.column_stack([labels, images.reshape(len(images), -1)]).tolist()))

    assert as_rows(ours, labels) == as_rows(digits.images, digits.target)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("test_name", ["test", "val"])
def test_image_folder(suffix, test_name, tmp_path):
    images = make_image_folder(tmp_path / "root", test_name=test_name, suffix=suffix)
    raw, _ = load_raw(DataSpec(dataset="image-folder", root=str(tmp_path / "root")), tmp_path)
    np.testing.assert_array_equal(raw.train_images, images.transpose(0, 3, 1, 2))
    assert raw.train_labels.tolist() == [0] * 6 + [1] * 6
    assert raw.test_images.shape == (4, 3, 5, 4)
    assert raw.class_names == ("class0", "class1")


def test_greyscale_folder_has_one_channel_and_a_mixed_one_three(tmp_path):
    root = tmp_path / "root"
    images = make_image_folder(root, mode="L")
    spec = DataSpec(dataset="image-folder", root=str(root))
    raw, _ = load_raw(spec, tmp_path)
    np.testing.assert_array_equal(raw.train_images[:, 0], images)
    colour = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    Image.fromarray(colour).save(root / "train" / "class1" / "extra.png")
    raw, _ = load_raw(spec, tmp_path)
    np.testing.assert_array_equal(raw.train_images[:12], np.repeat(images[:, None], 3, axis=1))
    np.testing.assert_array_equal(raw.train_images[12], colour.transpose(2, 0, 1))


def test_image_folder_refuses_what_it_cannot_use(tmp_path):
    root = tmp_path / "root"
    spec = DataSpec(dataset="image-folder", root=str(root))
    with pytest.raises(InputError, match="expected a folder train/"):
        load_raw(spec, tmp_path)
    make_image_folder(root)
    odd = root / "train" / "class1" / "odd.png"
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(odd)
    with pytest.raises(InputError, match=r"odd\.png: expected 5 x 4 pixels .* found 4 x 5"):
        load_raw(spec, tmp_path)
    Image.fromarray(np.zeros((5, 4), np.uint16)).save(odd)
    with pytest.raises(InputError, match=r"odd\.png: expected at most 8 bits"):
        load_raw(spec, tmp_path)
    odd.write_bytes((root / "train" / "class1" / "000.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"odd\.png: expected an image, found a damaged file"):
        load_raw(spec, tmp_path)
    odd.unlink()
    (root / "train" / "class2").mkdir()
    with pytest.raises(InputError, match="no valid file for the classes class2"):
        load_raw(spec, tmp_path)
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(root / "train" / "class2" / "a.png")
    with pytest.raises(InputError, match=r"expected the same classes .* class2"):
        load_raw(spec, tmp_path)


def test_what_other_programs_left_is_no_class_and_no_image(tmp_path):
    root = tmp_path / "root"
    images = make_image_folder(root)
    image = (root / "train" / "class0" / "000.png").read_bytes()
    for name in (
        *("train/.ipynb_checkpoints/a.png", "train/__MACOSX/class0/._000.png", "test/@eaDir/a.png"),
        *(
            "train/class0/._000.png",
            "train/class0/.ipynb_checkpoints/000-checkpoint.png",
            "train/class0/Thumbs.db",
        ),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image)
    raw, _ = load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path)
    assert raw.class_names == ("class0", "class1")
    np.testing.assert_array_equal(raw.train_images, images.transpose(0, 3, 1, 2))


def test_a_photograph_is_turned_as_its_exif_data_say(tmp_path):
    root = tmp_path / "root"
    make_image_folder(root)  # of 5 x 4
    lying = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(lying).save(root / "train" / "class1" / "zzz.png", exif=exif)
    raw, _ = load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path)
    np.testing.assert_array_equal(raw.train_images[-1].transpose(1, 2, 0), np.rot90(lying, -1))


def test_images_that_are_there_twice_are_said(tmp_path, caplog):
    root = tmp_path / "root"
    make_image_folder(root)
    load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path)
    assert "there twice" not in caplog.text
    image = (root / "train" / "class0" / "000.png").read_bytes()
    (root / "train" / "class1" / "again.png").write_bytes(image)
    (root / "test" / "class0" / "leaked.png").write_bytes(image)
    load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path)
    assert "1 of the images are there twice, among the training images, part of which validate" in caplog.text
    assert "1 of the images are there twice, among training and test images" in caplog.text
    assert "leaked.png, the same as" in caplog.text


def test_one_class_is_refused(tmp_path):
    root = tmp_path / "root"
    make_image_folder(root)
    for split in ("train", "test"):
        shutil.rmtree(root / split / "class1")
    with pytest.raises(InputError, match="expected at least two class folders, found class0"):
        load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path)


def test_cache_notices_a_changed_folder(tmp_path):
    root = tmp_path / "root"
    make_image_folder(root)
    spec = DataSpec(dataset="image-folder", root=str(root))
    _, before = load_raw(spec, tmp_path)
    changed = root / "train" / "class0" / "000.png"
    Image.fromarray(np.zeros((5, 4, 3), np.uint8)).save(changed)
    os.utime(changed, ns=(1, 1))
    raw, after = load_raw(spec, tmp_path)
    assert after != before
    assert raw.train_images[0].max() == 0


def test_fingerprint_does_not_depend_on_where_the_images_lie(tmp_path):
    fingerprints = set()
    for place in ("here", "there"):
        make_image_folder(tmp_path / place)
        fingerprints.add(load_raw(DataSpec(dataset="image-folder", root=str(tmp_path / place)), tmp_path)[1])
    assert len(fingerprints) == 1
    assert len(list(tmp_path.glob("*.cache"))) == 2


LINKED = {
    "an image that is a link to nothing": (
        "train/class0/x.png",
        "nowhere",
        "found a link to nothing: remove it",
    ),
    "a link in a circle": ("train/class0/x", "..", "expected every folder once"),
    "two ways to a folder": ("train/class0/x", "../class1", "expected every folder once"),
}


@pytest.mark.parametrize("case", LINKED)
def test_links_that_lead_nowhere_or_in_circles_are_refused(tmp_path, case):
    name, target, words = LINKED[case]
    root = tmp_path / "root"
    make_image_folder(root)
    (root / name).symlink_to(target)
    with pytest.raises(InputError, match=words):
        load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path / "cache")


def test_a_link_to_nothing_that_is_no_image_is_left_out(tmp_path):
    """Of editors, that lock files by one."""
    root = tmp_path / "root"
    images = make_image_folder(root)
    (root / "train" / "class0" / ".#lock").symlink_to("user@host.123")
    raw, _ = load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path / "cache")
    assert len(raw.train_images) == len(images)


def test_a_pipe_is_not_waited_for(tmp_path):
    root = tmp_path / "root"
    make_image_folder(root)
    os.mkfifo(root / "train" / "class0" / "x.png")
    with pytest.raises(InputError, match=r"x\.png: expected an image, found something else"):
        load_raw(DataSpec(dataset="image-folder", root=str(root)), tmp_path / "cache")


@pytest.mark.parametrize("root", ["~nobody-of-this-name/x", "x" * 5000, "a\0b"])
def test_what_no_folder_is_called_is_refused(tmp_path, root):
    with pytest.raises(InputError, match=r"data\.root: expected a folder's path"):
        load_raw(DataSpec(dataset="image-folder", root=root), tmp_path)
