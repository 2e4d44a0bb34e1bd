"""Augmentation against SciPy's per-image resampling and Keras-Preprocessing's own output."""

import math
import tomllib

import numpy as np
import pydantic
import pytest
import torch
from scipy import ndimage

from benchmark.data.augment import NUM_DRAWS, Augmentation, augment

IDENTITY = Augmentation(flip=False, zoom=(1.0, 1.0), shear=0.0)


def random_batch(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(shape, generator=generator) * 4 - 2
    return images, torch.rand(shape[0], NUM_DRAWS, generator=generator)


def with_scipy(image, draws, config):
    """One image [C, H, W] by SciPy, in float64, from the definition in (row, column) coordinates."""
    low, high = config.zoom
    z_row, z_column = low + (high - low) * draws[0], low + (high - low) * draws[1]
    s = (2 * draws[2] - 1) * (math.radians(config.shear) if config.shear_unit == "degrees" else config.shear)
    matrix = np.array([[1, -np.sin(s)], [0, np.cos(s)]]) @ np.diag([z_row, z_column])
    size = np.array(image.shape[1:])
    centre = size / 2 + 0.5 if config.centre == "keras-legacy" else (size - 1) / 2
    result = np.stack(
        [
            ndimage.affine_transform(c, matrix, centre - matrix @ centre, order=1, mode="nearest")
            for c in image
        ]
    )
    return result[:, :, ::-1] if config.flip and draws[3] < 0.5 else result


@pytest.mark.parametrize("centre", ["pixel-centre", "keras-legacy"])
@pytest.mark.parametrize(("shear", "unit"), [(0.2, "degrees"), (40.0, "degrees"), (0.2, "radians")])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (5, 9), (9, 4), (1, 6), (1, 1)])
def test_equals_scipy(centre, shear, unit, flip, size):
    config = Augmentation(flip=flip, shear=shear, shear_unit=unit, centre=centre)
    images, draws = random_batch((12, 3, *size))
    corners = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0.49], [1, 0, 0, 0.5], [1, 1, 1, 0.99]]) * (1 - 2**-24)
    draws[:4] = corners
    expected = [
        with_scipy(i.double().numpy(), d.double().numpy(), config) for i, d in zip(images, draws, strict=True)
    ]
    np.testing.assert_allclose(augment(images, draws, config).numpy(), np.stack(expected), atol=1e-4)


def test_wide_zoom_repeats_edges_like_scipy():
    config = Augmentation(flip=False, zoom=(0.3, 3.0), shear=60.0)
    images, draws = random_batch((20, 1, 7, 10), seed=1)
    expected = [
        with_scipy(i.double().numpy(), d.double().numpy(), config) for i, d in zip(images, draws, strict=True)
    ]
    np.testing.assert_allclose(augment(images, draws, config).numpy(), np.stack(expected), atol=1e-4)


def test_equals_keras_preprocessing_1_1_2():
    # From Keras-Preprocessing 1.1.2 with SciPy 1.17:
    # apply_affine_transform(x, shear=20.0, zx=0.9, zy=1.15, row_axis=0, col_axis=1, channel_axis=2)
    expected = [
        [24.79878, 19.07415, 16.444242, 9.133536],
        [64.0, 61.88268, 54.447086, 45.133537],
        [64.0, 78.94351, 99.23386, 106.84036],
    ]
    image = (torch.arange(12.0) ** 2).reshape(1, 1, 3, 4)
    config = Augmentation(flip=False, zoom=(0.9, 1.15), shear=40.0, centre="keras-legacy")
    draws = torch.tensor([[0.0, 1.0, 0.75, 0.0]])  # row zoom 0.9, column zoom 1.15, half the shear range
    np.testing.assert_allclose(augment(image, draws, config)[0, 0].numpy(), expected, rtol=1e-5)


def test_identity_is_exact():
    images, draws = random_batch((6, 3, 7, 5))
    assert torch.equal(augment(images, draws, IDENTITY), images)


def test_flips_left_to_right_below_one_half():
    images, draws = random_batch((3, 2, 4, 6))
    draws[:, 3] = torch.tensor([0.0, 0.499, 0.5])
    flipped = augment(images, draws, IDENTITY.model_copy(update={"flip": True}))
    np.testing.assert_array_equal(flipped[:2], images[:2].numpy()[:, :, :, ::-1])
    assert torch.equal(flipped[2], images[2])


def test_every_image_depends_on_its_own_draws_alone():
    images, draws = random_batch((16, 3, 8, 8))
    config = Augmentation(shear=20.0)
    together = augment(images, draws, config)
    alone = torch.cat([augment(images[i : i + 1], draws[i : i + 1], config) for i in range(16)])
    assert torch.equal(together, alone)


def test_is_a_function_of_its_arguments():
    images, draws = random_batch((4, 1, 8, 8))
    inputs, state = (images.clone(), draws.clone()), torch.get_rng_state()
    first = augment(images, draws, Augmentation())
    assert torch.equal(first, augment(images, draws, Augmentation()))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, inputs[0])
    assert torch.equal(draws, inputs[1])


def test_coordinates_keep_their_precision_under_autocast():
    images, draws = random_batch((4, 3, 32, 32))
    config = Augmentation(shear=20.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = augment(images, draws, config)
    assert torch.equal(mixed, augment(images, draws, config))


def test_reads_toml():
    table = tomllib.loads('flip = true\nzoom = [0.5, 2]\nshear = 1\nshear_unit = "radians"')
    config = Augmentation(**table)
    assert config.zoom == (0.5, 2.0)
    assert config.max_shear_rad == 1.0


@pytest.mark.parametrize(
    "bad",
    [
        {"zoom": [0.0, 1.0]},
        {"zoom": [1.2, 0.8]},
        {"zoom": [0.8, math.inf]},
        {"zoom": [0.8]},
        {"zoom": "0.8"},
        {"shear": -0.1},
        {"shear": 90.0},
        {"shear": 1.6, "shear_unit": "radians"},
        {"shear": math.nan},
        {"shear_unit": "gradians"},
        {"centre": "corner"},
        {"flip": 1},
        {"rotation": 10.0},
    ],
)
def test_refuses_bad_ranges(bad):
    with pytest.raises(pydantic.ValidationError):
        Augmentation(**bad)
