"""Crops against Pillow, and the distribution of their parameters."""

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.reference import augmentation as pillow
from semiprune_jax.augment import crops
from semiprune_jax.augment.recipe import Recipe
from tests.augment import images
from tests.goldens import natural_images

RECIPE = Recipe((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), 0.125, flip=True)


def test_crop_and_flip_are_pillows(rng):
    run = jax.jit(crops.random_crop)
    for image in images(rng):
        for corner in np.ndindex(3, 3):
            offset = np.array(corner) - 1  # 1/8 of the smallest side
            for flip in (False, True):
                expected = pillow.crop_flip(Image.fromarray(image), tuple(offset.tolist()), flip, 0.125)
                np.testing.assert_array_equal(run(image, crops.RandomCropParams(offset, flip)), np.asarray(expected))


def test_every_crop_is_drawn():
    """All 25 windows with a border of 2, flipped or not, are about equally frequent."""
    keys = jax.random.split(jax.random.key(0), 5000)
    drawn = jax.jit(jax.vmap(lambda key: crops.random_crop_params(key, (16, 16, 3), RECIPE)))(keys)
    cells = (drawn.offset[:, 0] + 2) * 10 + (drawn.offset[:, 1] + 2) * 2 + drawn.flip
    assert np.all(np.abs(drawn.offset) <= 2)
    # A binomial count of 5,000 draws at 1/50 leaves 100 +- 50 once in a million.
    np.testing.assert_allclose(np.bincount(cells, minlength=50), 100, atol=50)


def test_no_flip_where_it_would_change_the_meaning(rng):
    image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    still = RECIPE._replace(padding=0.0, flip=False)
    for seed in range(8):
        drawn = crops.random_crop_params(jax.random.key(seed), image.shape, still)
        np.testing.assert_array_equal(crops.random_crop(image, drawn), image)


LARGE = RECIPE._replace(padding=0.0, size=14, resized=True)  # from squares of 16


def test_windows_of_larger_squares(rng):
    """All nine windows of 14 in 16 are drawn, flipped or not, with the square's pixels."""
    image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(0), 1800)
    drawn = jax.jit(jax.vmap(lambda key: crops.random_crop_params(key, image.shape, LARGE)))(keys)
    cells = drawn.offset[:, 0] * 6 + drawn.offset[:, 1] * 2 + drawn.flip
    np.testing.assert_allclose(np.bincount(cells, minlength=18), 100, atol=50)
    for i in range(5):
        crop = crops.RandomCropParams(drawn.offset[i], drawn.flip[i])
        window = crops.random_crop(image, crop, 14)
        y, x = crop.offset
        expected = image[y : y + 14, x : x + 14]
        np.testing.assert_array_equal(window, expected[:, ::-1] if crop.flip else expected)


@pytest.mark.parametrize(("side", "size"), [(16, 14), (64, 56), (256, 224), (16, 32), (64, 20)])
def test_resized_crops_are_pillows(side, size):
    """Every pixel equals Pillow's in enlarged and reduced boxes, random and of extreme extents."""
    photo = Image.fromarray(natural_images(1, 64)[0]).resize((side, side), Image.Resampling.BICUBIC)
    run = jax.jit(lambda image, part: crops.resized_crop(image, part, size))
    draw = jax.jit(jax.vmap(lambda key: crops.resized_crop_params(key, (side, side, 3), LARGE)))
    drawn = jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(0), 12)))
    parts = [jax.tree.map(lambda x, i=i: x[i], drawn) for i in range(12)]
    for extent in ((1, 1), (side, side), (side, 1), (size, min(side, size + 1))):
        parts.append(
            crops.ResizedCropParams(np.zeros(2, np.int32), np.minimum(np.array(extent, np.int32), side), np.array(True))
        )
    for part in parts:
        box = (*(int(v) for v in part.corner), *(int(v) for v in part.extent))
        expected = pillow.resize_flip(photo, box, bool(part.flip), size)
        np.testing.assert_array_equal(run(np.asarray(photo), part), np.asarray(expected), err_msg=str(box))


@pytest.mark.parametrize(("side", "size"), [(16, 14), (40, 32), (64, 20), (256, 224)])
def test_weights_of_a_resized_crop_are_pillows(side, size):
    """Weights equal Pillow's formula in double precision, rounded to 1 / 2^22."""
    taps = jax.jit(lambda extent: crops._taps(0, extent, side, size))
    for extent in range(1, side + 1, 1 if side < 100 else 13):
        at, got = (np.asarray(x) for x in taps(extent))
        scale = extent / size
        support = max(scale, 1.0)
        for x in range(size):
            centre = (x + 0.5) * scale
            low, high = max(0, int(centre - support + 0.5)), min(extent, int(centre + support + 0.5))
            weights = np.maximum(0, 1 - np.abs((np.arange(low, high) - centre + 0.5) / support))
            expected = np.zeros(side, np.int64)
            expected[low:high] = (0.5 + weights / weights.sum() * 2**22).astype(np.int64)
            found = np.zeros(side, np.int64)
            np.add.at(found, at[x], got[x])
            # A weight of exactly a half may round either way in doubles.
            assert np.abs(found - expected).max() <= (np.abs(weights / weights.sum() * 2**22 % 1 - 0.5) < 1e-6).any()


def test_boxes_are_torchvisions():
    """Areas are uniform in 8 to 100% where they fit, aspects log-uniform in 3/4 to 4/3, corners uniform."""
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.tree.map(
        np.asarray, jax.jit(jax.vmap(lambda key: crops.resized_crop_params(key, (300, 300, 3), LARGE)))(keys)
    )
    (top, left), (height, width) = np.asarray(drawn.corner).T, np.asarray(drawn.extent).T
    assert np.all((top >= 0) & (left >= 0) & (top + height <= 300) & (left + width <= 300))
    area, aspect = height * width / 300**2, width / height
    assert 0.078 < area.min() < 0.1
    assert area.max() > 0.95
    assert area[area < 0.5].mean() == pytest.approx(0.29, abs=0.01)
    assert 0.74 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.35
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.01)
    for corner, extent in ((top, height), (left, width)):
        assert np.any((corner == 0) & (extent < 300))
        assert np.any((corner + extent == 300) & (extent < 300))
        assert (corner[extent < 290] / (300 - extent[extent < 290])).mean() == pytest.approx(0.5, abs=0.02)
    assert np.mean(drawn.flip) == pytest.approx(0.5, abs=0.03)
