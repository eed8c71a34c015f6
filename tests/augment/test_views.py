"""Whole views: their parts, and their dependence on nothing but their own key and image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from benchmarks.reference import augmentation as pillow
from semiprune_jax.augment import crops, randaugment, views
from tests.goldens import natural_images

RECIPE = views.Recipe((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), 0.125, flip=True)


def test_evaluation_normalises_only(rng):
    image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    got = views.evaluation_view(RECIPE)(jax.random.key(0), image)
    np.testing.assert_allclose(got, (image / 255 - RECIPE.mean) / RECIPE.std, rtol=1e-4, atol=1e-6)


def test_images_enlarged_for_others_networks(rng):
    """Enlarging is Pillow's bicubic to about two grey levels; an image of the right size stays as it is."""
    image = rng.integers(90, 160, (8, 8, 3)).astype(np.uint8)  # Pillow clips between its two passes
    got = np.asarray(views.enlarged_view(20)(jax.random.key(0), jnp.asarray(image)))
    assert got.shape == (20, 20, 3)
    grey = 255 * (got * np.array(views.IMAGENET_STD) + np.array(views.IMAGENET_MEAN))
    theirs = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC), float)
    assert np.abs(grey - theirs).max() < 2.1
    np.testing.assert_allclose(grey, np.round(grey), atol=1e-3)  # whole levels, as a file has
    stripes = np.broadcast_to(np.uint8([0, 255] * 4)[:, None, None], (8, 8, 3))  # a cubic overshoots at its edges
    got = np.asarray(views.enlarged_view(20)(jax.random.key(0), jnp.asarray(stripes)))
    grey = 255 * (got * np.array(views.IMAGENET_STD) + np.array(views.IMAGENET_MEAN))
    assert -1e-3 < grey.min() < grey.max() < 255.001
    same = np.asarray(views.enlarged_view(8)(jax.random.key(0), jnp.asarray(image)))
    grey = 255 * (same * np.array(views.IMAGENET_STD) + np.array(views.IMAGENET_MEAN))
    np.testing.assert_allclose(grey, image, atol=1e-3)


def test_both_ways_and_any_batch_agree():
    """A strong view depends on its own key and image only, and not on how its batch is mapped."""
    batch, keys = natural_images(48, 16), jax.random.split(jax.random.key(0), 48)
    one_by_one = jax.jit(views.strong_views(RECIPE, sequential=True))
    expected = one_by_one(keys, batch)
    together = jax.jit(views.strong_views(RECIPE, sequential=False))(keys, batch)
    np.testing.assert_allclose(together, expected, atol=1e-5)
    np.testing.assert_array_equal(one_by_one(keys[::-1], batch[::-1]), expected[::-1])


@pytest.mark.parametrize("operation", ["Equalize", "TranslateY"])
def test_an_operation_that_most_images_draw(operation, monkeypatch):
    """More images draw it than fit its group; none is lost, and the views equal the sequential ones."""
    which, recipe = list(randaugment.OPERATIONS).index(operation), RECIPE._replace(operations=1)
    draw = views.strong_params
    monkeypatch.setattr(
        views, "strong_params", lambda *args: draw(*args)._replace(operation=jnp.full(1, which, jnp.int32))
    )
    batch, keys = natural_images(48, 16), jax.random.split(jax.random.key(0), 48)
    assert not randaugment._group(jnp.full(48, which)).fits
    together, one_by_one = (jax.jit(views.strong_views(recipe, sequential=way))(keys, batch) for way in (False, True))
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_operations_are_drawn_with_replacement_over_the_whole_range():
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.jit(jax.vmap(lambda key: views.strong_params(key, (8, 16, 3), RECIPE)))(keys)
    np.testing.assert_allclose(np.bincount(drawn.operation.ravel(), minlength=14) / 6000, 1 / 14, atol=0.015)
    assert np.any(drawn.operation[:, 0] == drawn.operation[:, 1])
    np.testing.assert_allclose(np.histogram(drawn.magnitude, 4, (0, 1))[0] / 6000, 0.25, atol=0.025)
    assert len(np.unique(drawn.magnitude)) > 5950  # each has its own
    for values, low, high in zip(drawn.cutout.T, (0, 1, 1), (0.5, 16, 8), strict=True):  # side, x, y
        np.testing.assert_allclose(np.histogram(values, 4, (low, high))[0] / 2000, 0.25, atol=0.04)
        assert low <= np.min(values)
        assert np.max(values) <= high


def test_a_strong_view_follows_its_parameters(rng):
    """Pillow makes the same view from the same crop, operations in order, and Cutout."""
    names = list(randaugment.OPERATIONS)
    batch = natural_images(48, 16)
    keys = jax.random.split(jax.random.key(1), len(batch))
    drawn = jax.jit(jax.vmap(lambda key: views.strong_params(key, (16, 16, 3), RECIPE)))(keys)
    drawn = jax.tree.map(np.asarray, drawn)
    got = jax.jit(views.strong_views(RECIPE, sequential=True))(keys, batch)
    compared = 0
    for i, image in enumerate(batch):
        operations = [(names[o], float(m)) for o, m in zip(drawn.operation[i], drawn.magnitude[i], strict=True)]
        if "AutoContrast" in dict(operations):
            continue
        cropped = pillow.crop_flip(
            Image.fromarray(image), tuple(drawn.crop.offset[i].tolist()), bool(drawn.crop.flip[i]), RECIPE.padding
        )
        view = pillow.strong(cropped, operations, tuple(float(v) for v in drawn.cutout[i]))
        expected = pillow.normalise(view, RECIPE.mean, RECIPE.std).transpose(1, 2, 0)
        np.testing.assert_allclose(got[i], expected, atol=1e-5)
        compared += 1
    assert compared > 30


LARGE = RECIPE._replace(padding=0.0, size=14, resized=True)  # from squares of 16


def test_a_strong_view_may_begin_with_a_resized_crop(rng):
    """Without operations, a view is the crop with a Cutout that is placed in the view, not in the square."""
    batch = natural_images(6, 16)
    keys = jax.random.split(jax.random.key(3), 6)
    recipe = LARGE._replace(operations=0)
    drawn = jax.jit(jax.vmap(lambda key: views.strong_params(key, (16, 16, 3), recipe)))(keys)
    drawn = jax.tree.map(np.asarray, drawn)
    got = jax.jit(views.strong_views(recipe, sequential=True))(keys, batch)
    assert got.shape == (6, 14, 14, 3)
    assert np.max(drawn.cutout[:, 1:]) <= 14
    for i, image in enumerate(batch):
        part = jax.tree.map(lambda x, i=i: x[i], drawn.crop)
        box = (*(int(v) for v in part.corner), *(int(v) for v in part.extent))
        view = pillow.cutout(
            pillow.resize_flip(Image.fromarray(image), box, bool(part.flip), 14), *(float(v) for v in drawn.cutout[i])
        )
        expected = pillow.normalise(view, RECIPE.mean, RECIPE.std).transpose(1, 2, 0)
        np.testing.assert_allclose(got[i], expected, atol=1e-5)
    plain = jax.jit(jax.vmap(views.resized_crop_view(recipe)))(keys, batch)
    part = jax.jit(lambda key: crops.resized_crop_params(key, (16, 16, 3), recipe))(keys[0])
    box = (*(int(v) for v in part.corner), *(int(v) for v in part.extent))
    view = pillow.resize_flip(Image.fromarray(batch[0]), box, bool(part.flip), 14)
    expected = pillow.normalise(view, RECIPE.mean, RECIPE.std).transpose(1, 2, 0)
    np.testing.assert_allclose(plain[0], expected, atol=1e-5)


def test_strong_views_differ_from_weak_ones(rng):
    image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(0), 48)
    strong = np.asarray(jax.jit(views.strong_views(RECIPE, sequential=True))(keys, np.array([image] * 48)))
    fill = views.normalise(jnp.array(randaugment.CUTOUT_FILL, jnp.uint8), RECIPE.mean, RECIPE.std)
    boxed = np.all(np.isclose(strong, np.asarray(fill)[None, None, None]), axis=-1).any(axis=(1, 2))
    assert boxed.mean() > 0.9  # Cutout always applies; a side below one pixel still fills one
