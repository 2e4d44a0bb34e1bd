"""Splits, preprocessing and the data on the device."""

import numpy as np
import pydantic
import pytest
import torch
from made_datasets import make_image_folder
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmark.base.errors import InputError
from benchmark.data.datasets import DataSpec, channel_statistics, load
from benchmark.data.sources import DATASETS
from benchmark.data.splits import VALIDATION_SEED, stratified_subset

CPU = torch.device("cpu")


def test_subset_has_the_classes_shares():
    labels = np.repeat(np.arange(4), [50, 30, 15, 5])
    np.random.default_rng(0).shuffle(labels)
    chosen = stratified_subset(labels, 20, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [10, 6, 3, 1]
    assert np.all(np.diff(chosen) > 0)
    assert not np.array_equal(chosen, stratified_subset(labels, 20, seed=2))


@pytest.mark.parametrize("size", [11, 97, 360, 1000, 1430, 1796])
def test_subset_sizes_agree_with_scikit_learns(size):
    labels = load_digits().target.astype(np.int64)
    ours = np.bincount(labels[stratified_subset(labels, size, seed=0)], minlength=10)
    assert ours.sum() == size
    if size <= len(labels) - 10:  # beyond, scikit-learn refuses
        theirs, _ = train_test_split(labels, train_size=size, stratify=labels, random_state=0)
        np.testing.assert_array_less(np.abs(ours - np.bincount(theirs, minlength=10)), 2)
    assert np.all(np.abs(ours - size * np.bincount(labels) / len(labels)) < 1)


def rows(split):
    """The images of a split as a set of byte strings (digits have no two equal images in one class)."""
    return {
        bytes([label]) + image.tobytes()
        for image, label in zip(split.images.numpy(), split.labels, strict=True)
    }


def test_another_split_seed_is_another_validation_split_of_the_same_images(tmp_path):
    first, second, same = (load(DataSpec(split_seed=seed), CPU, tmp_path) for seed in (0, 1, 0))
    assert rows(first.validation) == rows(same.validation)
    assert len(second.validation) == len(first.validation) == 360
    shared = len(rows(first.validation) & rows(second.validation))
    assert 60 < shared < 120  # of 1437 images two draws of 360 share 90 by chance
    assert rows(second.train) | rows(second.validation) == rows(first.train) | rows(first.validation)
    assert rows(second.train).isdisjoint(rows(second.validation))
    assert rows(second.test) == rows(first.test)
    assert first.fingerprint == same.fingerprint != second.fingerprint


def test_the_first_split_is_the_one_there_always_was():
    labels = np.random.default_rng(0).integers(10, size=500)
    np.testing.assert_array_equal(
        stratified_subset(labels, 90, [VALIDATION_SEED, 0]), stratified_subset(labels, 90, VALIDATION_SEED)
    )


def test_splits_are_disjoint_stratified_and_whole(tmp_path):
    data = load(DataSpec(), CPU, tmp_path)
    sizes = [len(s) for s in (data.train, data.validation, data.test, data.clean_train, data.reestimation)]
    assert sizes == [1077, 360, 360, 360, 512]
    train, validation, test = rows(data.train), rows(data.validation), rows(data.test)
    assert len(train | validation | test) == 1797
    assert rows(data.clean_train) < train
    assert rows(data.reestimation) < train
    for split in (data.validation, data.test, data.clean_train, data.reestimation):
        counts = np.bincount(split.labels, minlength=10)
        np.testing.assert_array_less(
            np.abs(counts - len(split) * np.bincount(load_digits().target) / 1797), 2
        )


def test_same_digits_on_every_machine(tmp_path):
    # Computed when this test was written: a change means that results no longer compare.
    assert load(DataSpec(), CPU, tmp_path).fingerprint[:16] == "61fb00242be0283b"


@pytest.mark.parametrize(
    "change",
    [{"num_validation": 359}, {"preprocessing": "notebook"}, {"validation": "test"}, {"limit_train": 100}],
)
def test_fingerprint_tells_choices_apart(change, tmp_path):
    assert load(DataSpec(**change), CPU, tmp_path).fingerprint != load(DataSpec(), CPU, tmp_path).fingerprint


def test_validation_on_test_trains_on_all_training_images(tmp_path):
    data = load(DataSpec(validation="test"), CPU, tmp_path)
    assert len(data.train) == 1437
    assert data.validation is data.test
    assert len(data.clean_train) == 360


def test_limit_train_caps_every_part_of_training(tmp_path):
    data = load(DataSpec(limit_train=100), CPU, tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.clean_train, data.reestimation)] == [
        100,
        360,
        100,
        100,
    ]
    assert np.bincount(data.train.labels).min() >= 9


@pytest.mark.parametrize("bad", [{"num_validation": 9}, {"num_validation": 1428}, {"limit_train": 5}])
def test_sizes_that_cannot_hold_every_class_are_refused(bad, tmp_path):
    with pytest.raises(InputError, match=f"{next(iter(bad))}: expected .* found {next(iter(bad.values()))}"):
        load(DataSpec(**bad), CPU, tmp_path)


def test_standardized_training_split_has_mean_zero_and_std_one(tmp_path):
    make_image_folder(tmp_path / "root", num_train=20)
    spec = DataSpec(dataset="image-folder", root=str(tmp_path / "root"), num_validation=6)
    data = load(spec, CPU, tmp_path)
    images = data.train.take(slice(None)).double()
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        images.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    for split in (data.validation, data.test):  # by the training split's statistics
        assert torch.equal(split.offset, data.train.offset)
        assert torch.equal(split.scale, data.train.scale)
    assert data.image_shape == (3, 5, 4)


def test_statistics_equal_numpys():
    images = np.random.default_rng(0).integers(0, 256, (1500, 3, 6, 5), dtype=np.uint8)
    mean, variance = channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(variance, images.astype(float).var((0, 2, 3)), rtol=1e-12)


def test_constant_channel_becomes_zero(tmp_path):
    root = tmp_path / "root"
    make_image_folder(root)
    for path in root.rglob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[:, :, 1] = 7
        Image.fromarray(pixels).save(path)
    data = load(DataSpec(dataset="image-folder", root=str(root), num_validation=4), CPU, tmp_path)
    images = data.train.take(slice(None))
    assert torch.isfinite(images).all()
    assert torch.equal(images[:, 1], torch.zeros_like(images[:, 1]))


@pytest.mark.parametrize("validation", ["split", "test"])
def test_notebook_preprocessing_equals_numpys(validation, tmp_path):
    make_image_folder(tmp_path / "root", num_train=20)
    spec = DataSpec(
        dataset="image-folder", root=str(tmp_path / "root"), num_validation=6, validation=validation,
        preprocessing="notebook",
    )  # fmt: skip
    data = load(spec, CPU, tmp_path)
    own = {
        "train": data.train,
        "test": data.test,
        "validation": data.test if validation == "test" else data.train,
    }
    for name, reference in own.items():
        split = getattr(data, name)
        expected = (
            split.images.numpy().astype(np.float64) - reference.images.numpy().astype(np.float64).mean()
        )
        np.testing.assert_allclose(split.take(slice(None)).numpy(), expected, atol=1e-4)


def test_take_gathers_by_index(tmp_path):
    data = load(DataSpec(), CPU, tmp_path)
    index = torch.tensor([5, 0, 5])
    taken = data.train.take(index)
    assert taken.dtype == torch.float32
    assert taken.shape == (3, 1, 8, 8)
    assert torch.equal(taken, data.train.take(slice(None))[index])
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"dataset": "cifar-100"}, "did you mean 'cifar100'"),
        ({"dataset": "image-folder"}, "expects the folder of the images"),
        ({"num_validation": 0}, "greater than or equal to 1"),
        ({"limit_train": -1}, "greater than or equal to 0"),
        ({"preprocessing": "none"}, "'standardize' or 'notebook'"),
        ({"augmentation": {"zoom": [2.0, 1.0]}}, "low <= high"),
    ],
)
def test_spec_refuses(bad, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        DataSpec(**bad)


def test_spec_reads_augmentation_from_toml_shapes():
    spec = DataSpec.model_validate({"augmentation": {"zoom": [0.9, 1.1], "shear": 0}})
    assert spec.augmentation is not None
    assert spec.augmentation.zoom == (0.9, 1.1)


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_is_described(name):
    entry = DATASETS[name]
    assert entry.description
    assert entry.source
    assert (entry.num_classes is None) == (entry.shape is None) == entry.needs_root


def test_a_class_too_small_for_the_split_is_refused_with_its_numbers(tmp_path):
    root = tmp_path / "root"
    make_image_folder(root)
    for path in list((root / "train" / "class1").iterdir())[1:]:
        path.unlink()
    said = r"class class1: .* found 1 in all, 0 for validation \(num_validation = 2\)"
    with pytest.raises(InputError, match=said):
        load(DataSpec(dataset="image-folder", root=str(root), num_validation=2), CPU, tmp_path)
