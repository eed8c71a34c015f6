"""Boxes of RandomResizedCrop on host and device: the first that fits, or torchvision's central box."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semiprune_jax.augment import boxes, crops
from semiprune_jax.augment.recipe import Recipe
from semiprune_jax.data.resize import random_box

RECIPE = Recipe((0.5,) * 3, (0.25,) * 3, 0.0, flip=True)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((10, 1000), (0, 493, 10, 13)),  # 10 * 4/3 = 13.3 columns; (1000 - 13) / 2 = 493.5
        ((1000, 10), (493, 0, 13, 10)),
        ((8, 900), (0, 444, 8, 11)),  # 10.7 columns
        ((30, 40), (0, 0, 30, 40)),  # 4/3 exactly
        ((30, 41), (0, 0, 30, 40)),
        ((44, 30), (2, 0, 40, 30)),
        ((7, 7), (0, 0, 7, 7)),
        ((1, 1), (0, 0, 1, 1)),
        ((2, 1), (0, 0, 1, 1)),
    ],
)
def test_the_central_box_by_hand(shape, box):
    assert boxes.central((*shape, 3)) == box


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_central_box_is_as_large_as_its_aspect_allows(height, width):
    top, left, h, w = boxes.central((height, width))
    assert 1 <= h <= height
    assert 1 <= w <= width
    assert (top, left) == ((height - h) // 2, (width - w) // 2)
    if 3 * height <= 4 * width <= 16 / 3 * height:
        assert (h, w) == (height, width)
    else:  # one side is whole, the other one within half a pixel of the limit
        assert (h, abs(w - h * 4 / 3) <= 0.5) == (height, True) or (w, abs(h - w * 4 / 3) <= 0.5) == (width, True)


def first_that_fits(pixels, aspects, shape):
    """[height, width] of the first box that fits, by a loop, or None."""
    for count, aspect in zip(pixels.tolist(), aspects.tolist(), strict=True):
        h, w = round(math.sqrt(count / aspect)), round(math.sqrt(count * aspect))
        if 0 < h <= shape[0] and 0 < w <= shape[1]:
            return [h, w]
    return None


@pytest.mark.parametrize("shape", [(64, 64, 3), (12, 60, 3), (200, 30, 3), (8, 900, 3)])
def test_the_device_takes_the_first_that_fits(shape):
    keys = jax.random.split(jax.random.key(0), 300)
    drawn = jax.jit(jax.vmap(lambda key: crops.resized_crop_params(key, shape, RECIPE)))(keys)
    corners, extents = np.asarray(drawn.corner), np.asarray(drawn.extent)
    fallen_back = 0
    for key, corner, extent in zip(keys, corners.tolist(), extents.tolist(), strict=True):
        area_key, aspect_key = jax.random.split(key, 4)[:2]
        pixels = shape[0] * shape[1] * jax.random.uniform(area_key, (10,), minval=0.08, maxval=1)
        logs = jax.random.uniform(aspect_key, (10,), minval=math.log(3 / 4), maxval=math.log(4 / 3))
        expected = first_that_fits(pixels, np.exp(logs), shape)
        if expected is None:
            assert (*corner, *extent) == boxes.central(shape)
            fallen_back += 1
        else:
            assert extent == expected
            assert 0 <= corner[0] <= shape[0] - extent[0]
            assert 0 <= corner[1] <= shape[1] - extent[1]
    assert (fallen_back == 0) == (shape[0] == shape[1])
    assert (fallen_back == 300) == (shape[1] == 900)


def test_the_host_takes_the_first_that_fits():
    shape, fallen_back = (12, 60), 0
    for seed in range(300):
        found = random_box(np.random.default_rng(seed), *shape)
        rng = np.random.default_rng(seed)
        for _ in range(10):
            area, aspect = rng.uniform(0.08, 1), math.exp(rng.uniform(*np.log([3 / 4, 4 / 3])))
            if extent := first_that_fits(np.array([area * 720]), np.array([aspect]), shape):
                break
        if extent is None:
            assert found == boxes.central(shape)
            fallen_back += 1
        else:
            corner = [int(rng.integers(side - own + 1)) for side, own in zip(shape, extent, strict=True)]
            assert found == (*corner, *extent)
    assert 0 < fallen_back < 100
