"""SwAV's views against other libraries."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from semiprune_jax.augment import swav
from semiprune_jax.augment.crops import resized_crop_params
from semiprune_jax.augment.recipe import Recipe


@given(st.floats(-0.5, 0.5), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_hues_turn_as_in_colorsys(turn, seed):
    x = np.random.default_rng(seed).random((3, 4, 3)).astype(np.float32)
    got = swav.turn_hue(jnp.asarray(x), jnp.float32(turn))
    for pixel, made in zip(x.reshape(-1, 3), np.asarray(got).reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*map(float, pixel))
        np.testing.assert_allclose(made, colorsys.hsv_to_rgb((h + turn) % 1.0, s, v), atol=2e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_scipys(rng, sigma):
    x = rng.random((11, 9, 3)).astype(np.float32)
    expected = ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest", radius=(6, 6, 0))
    np.testing.assert_allclose(swav.blur(jnp.asarray(x), jnp.float32(sigma)), expected, atol=1e-5)


def test_jitter_by_hand(rng):
    x = jnp.asarray(rng.uniform(0.3, 0.6, (4, 5, 3)), jnp.float32)
    half = jnp.full(4, 0.5)
    np.testing.assert_allclose(swav.jitter(x, half), x, atol=1e-5)  # the middle of every range changes nothing
    bright = swav.jitter(x, half.at[0].set(0.75))
    np.testing.assert_allclose(bright, jnp.clip(1.4 * x, 0, 1), atol=1e-5)
    flat = swav.jitter(x, half.at[1].set(0.0))  # contrast 0.2
    np.testing.assert_allclose(np.ptp(flat), 0.2 * np.ptp(x), rtol=1e-4)
    pale = swav.jitter(x, half.at[2].set(0.0))
    np.testing.assert_allclose(pale - swav.grey(x), 0.2 * (x - swav.grey(x)), atol=1e-5)


def test_how_often_colours_change():
    x = jnp.asarray(np.random.default_rng(0).random((4, 4, 3)), jnp.float32)
    made = jax.vmap(lambda key: swav.recolour(key, x))(jax.random.split(jax.random.key(0), 2000))
    grey = np.ptp(np.asarray(made), axis=-1).max(axis=(1, 2)) < 1e-6
    same = np.abs(np.asarray(made) - np.asarray(x)[None]).max(axis=(1, 2, 3)) < 1e-6
    assert abs(grey.mean() - 0.2) < 0.03
    assert abs(same.mean() - 0.2 * 0.8 * 0.5) < 0.02
    assert made.min() >= 0
    assert made.max() <= 1 + 1e-6


def test_views_are_parts_of_the_image():
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)), jnp.uint8)
    recipe = Recipe((0.5,) * 3, (0.25,) * 3, 0.0, True)
    view = swav.crop_view(recipe, 6, (0.05, 0.14))
    made = jax.jit(jax.vmap(view, in_axes=(0, None)))(jax.random.split(jax.random.key(0), 400), image)
    assert made.shape == (400, 6, 6, 3)
    means = np.mean(0.25 * np.asarray(made) + 0.5, axis=(1, 2, 3))
    assert means.std() > 0.02  # they differ
    assert means.min() >= 0
    assert means.max() <= 1
    drawn = jax.vmap(lambda key: resized_crop_params(key, image.shape, recipe, (0.05, 0.14)))(
        jax.random.split(jax.random.key(0), 400)
    )
    share = np.prod(np.asarray(drawn.extent), axis=1) / 16**2
    assert share.min() > 0.03
    assert share.max() < 0.17  # sides are whole pixels
