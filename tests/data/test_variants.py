"""Corruptions and long tails: their counts, their pixels by plain loops, and their draws by key."""

import math

import numpy as np
import pytest
from PIL import Image

from semiprune_jax.data import variants
from semiprune_jax.errors import DataError
from tests.goldens import natural_images

KEYS = [f"k{i:04d}" for i in range(1000)]


@pytest.mark.parametrize(
    ("factor", "total", "first"), [(0.1, 19_573, [500, 488, 477]), (0.01, 10_847, [500, 477, 455])]
)
def test_long_tail_counts(factor, total, first):
    sizes = variants.long_tail_sizes(500, 100, factor)
    assert sizes[:3].tolist() == first
    assert sizes[-1] == int(500 * factor)
    assert sizes.sum() == total


def test_a_long_tail_is_cut_by_key(rng):
    labels = np.arange(1000) % 4
    stays = variants.long_tailed(labels, KEYS, 0.1, seed=0)
    assert np.bincount(labels[stays]).tolist() == variants.long_tail_sizes(250, 4, 0.1).tolist()
    assert np.all(np.diff(stays) > 0)
    order = rng.permutation(1000)
    moved = variants.long_tailed(labels[order], [KEYS[i] for i in order], 0.1, seed=0)
    np.testing.assert_array_equal(np.sort(order[moved]), stays)
    assert not np.array_equal(stays, variants.long_tailed(labels, KEYS, 0.1, seed=1))
    few = np.r_[np.zeros(10, int), np.ones(2, int)]  # a class that is smaller than its share stays whole
    assert np.bincount(few[variants.long_tailed(few, KEYS[:12], 0.5, 0)]).tolist() == [10, 2]
    with pytest.raises(DataError, match="needs every label, but 1 are unknown"):
        variants.long_tailed(np.r_[-1, labels[1:]], KEYS, 0.1, 0)


def test_corruptions_are_drawn_by_key(rng):
    kinds = variants.corruptions(KEYS, 0.3, seed=0)
    assert np.bincount(kinds + 1).tolist() == [700, 60, 60, 60, 60, 60]
    order = rng.permutation(1000)
    np.testing.assert_array_equal(variants.corruptions([KEYS[i] for i in order], 0.3, 0), kinds[order])
    assert np.all(variants.corruptions(KEYS, 0.0, 0) == -1)
    assert np.sum(variants.corruptions(KEYS[:99], 0.3, 0) >= 0) == 25  # five per kind, the floor of 5.94


@pytest.mark.parametrize("size", [32, 64])
def test_motion_blur(size):
    """Compares every pixel with a loop over the rows and columns of the kernel."""
    kernel = np.zeros((15, 15))
    kernel[7:9] = np.array(variants._BLUR) / (15 * 1024)
    assert kernel.sum() == pytest.approx(0.698, abs=1e-3)
    image = natural_images(1, size)[0]

    def mirror(i):
        i = abs(i)
        return i if i < size else 2 * (size - 1) - i

    expected = np.zeros((size, size, 3))
    for y, x in np.ndindex(size, size):
        for dy, dx in np.ndindex(15, 15):
            if kernel[dy, dx]:
                expected[y, x] += kernel[dy, dx] * image[mirror(y + dy - 7), mirror(x + dx - 7)]
    expected = np.rint(expected)  # as OpenCV rounds it, before the stretch and after it
    expected = (expected - expected.min()) * (255 / (expected.max() - expected.min()))
    got = variants.corrupt(image, "motion_blur", "k")
    is_half = np.abs(expected % 1 - 0.5) < 1e-4  # which float32 rounds either way
    np.testing.assert_array_equal(got[~is_half], np.rint(expected)[~is_half])
    assert np.mean(is_half) < 0.02
    assert got.min() == 0
    assert got.max() == 255
    assert variants.corrupt(np.full((size, size, 3), 9, np.uint8), "motion_blur", "k").max() == 0


def test_fog():
    image = natural_images(1, 32)[0]
    assert not variants.corrupt(image, "fog", "k", faithful=True).any()  # the released script makes it black
    got = variants.corrupt(image, "fog", "k")
    for y, x, c in [(0, 0, 0), (16, 16, 1), (31, 5, 2)]:
        t = math.exp(-0.4 * (-0.04 * math.dist((y, x), (16, 16)) + math.sqrt(32)))
        assert 0.103 < t < 0.15
        assert got[y, x, c] == int(255 * (image[y, x, c] / 255 * t + 0.5 * (1 - t)))
    assert got.min() > 0.42 * 255
    assert got.max() < 0.58 * 255


@pytest.mark.parametrize(("size", "small", "high"), [(32, 8, 20), (64, 16, 45), (16, 4, 10)])
def test_resolution_and_rectangle(size, small, high):
    image = natural_images(1, size)[0]
    bicubic = Image.Resampling.BICUBIC
    expected = Image.fromarray(image).resize((small, small), bicubic).resize((size, size), bicubic)
    np.testing.assert_array_equal(variants.corrupt(image, "resolution", "k"), np.asarray(expected))
    low = 5 if size >= 32 else 2
    boxed = image.copy()
    boxed[low : high + 1, low : high + 1] = 0
    np.testing.assert_array_equal(variants.corrupt(image, "rectangle", "k"), boxed)


def test_gaussian_noise():
    """Noise has mean 0.2 and deviation 1; negative sums become 0, or wrap as in the released script."""
    image = np.full((64, 64, 3), 128, np.uint8)
    got = variants.corrupt(image, "gaussian", "k")
    assert np.mean(got == 255) == pytest.approx(
        1 - 0.5 * (1 + math.erf((1 - 128 / 255 - 0.2) / math.sqrt(2))), abs=0.02
    )
    assert np.mean(got == 0) == pytest.approx(0.5 * (1 + math.erf((-128 / 255 - 0.2) / math.sqrt(2))), abs=0.02)
    wrapped = variants.corrupt(image, "gaussian", "k", faithful=True)
    positive = got > 0
    np.testing.assert_array_equal(wrapped[positive], got[positive])
    lowest = 0.5 * (1 + math.erf((-1 - 128 / 255 - 0.2) / math.sqrt(2)))
    assert np.mean(wrapped == 1) == pytest.approx(lowest, abs=0.01)  # -255 wraps to 1
    np.testing.assert_array_equal(got, variants.corrupt(image, "gaussian", "k"))
    assert not np.array_equal(got, variants.corrupt(image, "gaussian", "other"))
