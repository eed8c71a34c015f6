"""RandAugment's operations and Cutout against Pillow itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from benchmarks.reference import augmentation as pillow
from semiprune_jax.augment import randaugment
from tests.augment import images

# Where Pillow computes in float32, a multiply-add fused on one side only, or a table of truncated doubles, may move a
# value across a whole number. At most this share of pixels may differ, by one grey level.
FLOAT = {"Brightness": 1e-3, "Color": 1e-3, "Contrast": 1e-3, "Sharpness": 1e-3, "AutoContrast": 2e-2}


@pytest.mark.parametrize("name", randaugment.OPERATIONS)
def test_operation_is_pillows(name, rng):
    """Compares both ends of its range, an even grid (the worst case for rounding), and random values."""
    operation, (reference, low, high) = randaugment.OPERATIONS[name], pillow.OPERATIONS[name]
    assert operation.range == (low, high)
    run = jax.jit(operation.function)
    constant = name in ("AutoContrast", "Equalize", "Identity")
    values = [0.0] if constant else [*np.linspace(low, high, 15), *rng.uniform(low, high, 6)]
    different = total = 0
    for image in images(rng):
        for value in np.float32(values):
            expected = np.asarray(reference(Image.fromarray(image), float(value))).astype(int)
            got = np.asarray(run(image, value)).astype(int)
            assert np.abs(got - expected).max() <= (name in FLOAT), value
            different, total = different + np.sum(got != expected), total + got.size
    assert different <= FLOAT.get(name, 0) * total, f"{different} of {total}"


def test_images_too_small_to_smooth_stay():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(randaugment.sharpness(image, 0.1), image)
    np.testing.assert_array_equal(pillow.OPERATIONS["Sharpness"][0](Image.fromarray(image), 0.1), image)


def test_there_are_fourteen():
    assert len(randaugment.OPERATIONS) == 14
    assert "Invert" not in randaugment.OPERATIONS


def test_cutout_is_pillows(rng):
    run = jax.jit(randaugment.cutout)
    for image in images(rng):
        height, width = image.shape[:2]
        for corner in (*np.ndindex(2, 2), *rng.random((6, 2))):  # boxes clamped at each border, and inside
            drawn = np.float32([rng.random() / 2, corner[0] * width, corner[1] * height])
            expected = pillow.cutout(Image.fromarray(image), *(float(v) for v in drawn))
            np.testing.assert_array_equal(run(image, *drawn), np.asarray(expected))
    np.testing.assert_array_equal(run(image, 0.0, 3.0, 3.0), image)


def test_every_image_has_a_place_of_its_own(rng):
    for count in (1, 5, 60, 448):
        which = jnp.array(rng.integers(0, 14, count))
        group = randaugment._group(which)
        assert group.fits
        np.testing.assert_array_equal(group.image.ravel()[group.place], np.arange(count))
        np.testing.assert_array_equal(group.place // group.image.shape[1], which)
    assert group.image.size < 2.1 * 448  # twice as many places as images, not fourteen times
