"""The operations against Pillow itself; geometry and chance of the views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from semiprune_jax import augment

RECIPE = augment.Recipe((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), 0.125, flip=True)


def pillow(name, image, v):
    w, h = image.size
    affine = Image.Transform.AFFINE
    return {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Brightness": lambda: ImageEnhance.Brightness(image).enhance(v),
        "Color": lambda: ImageEnhance.Color(image).enhance(v),
        "Contrast": lambda: ImageEnhance.Contrast(image).enhance(v),
        "Equalize": lambda: ImageOps.equalize(image),
        "Identity": lambda: image,
        "Posterize": lambda: ImageOps.posterize(image, max(1, int(v))),
        "Rotate": lambda: image.rotate(v),
        "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(v),
        "ShearX": lambda: image.transform((w, h), affine, (1, v, 0, 0, 1, 0)),
        "ShearY": lambda: image.transform((w, h), affine, (1, 0, 0, v, 1, 0)),
        "Solarize": lambda: ImageOps.solarize(image, v),
        "TranslateX": lambda: image.transform((w, h), affine, (1, 0, v * w, 0, 1, 0)),
        "TranslateY": lambda: image.transform((w, h), affine, (1, 0, 0, 0, 1, v * h)),
    }[name]()


def images(rng, count):
    """Noise of every contrast, and smooth ramps."""
    for i in range(count):
        shape = ((16, 16, 3), (11, 14, 3))[i % 2]
        low, high = sorted(rng.integers(0, 256, 2))
        noise = rng.integers(low, high + 1, shape)
        ramp = np.clip(np.cumsum(rng.normal(0, 6, shape), axis=1) + 100, 0, 255)
        yield (noise if i % 4 < 2 else ramp).astype(np.uint8)


@pytest.mark.parametrize("name", augment.OPERATIONS)
def test_operation_is_pillows(name, rng):
    operation = augment.OPERATIONS[name]
    run, (low, high) = jax.jit(operation.function), operation.range
    for image in images(rng, 40):
        v = np.float32(low + rng.random() * (high - low))
        expected = np.asarray(pillow(name, Image.fromarray(image), float(v))).astype(int)
        got = np.asarray(run(image, v)).astype(int)
        if name == "AutoContrast":  # Pillow's table is a truncated float, one off where the quotient is whole
            assert np.abs(got - expected).max() <= 1
        else:
            np.testing.assert_array_equal(got, expected)


def test_there_are_fourteen():
    assert len(augment.OPERATIONS) == 14
    assert "Invert" not in augment.OPERATIONS


def test_cutout_is_pillows(rng):
    run = jax.jit(augment.cutout)
    for image in images(rng, 60):
        height, width = image.shape[:2]
        fraction, x, y = np.float32(rng.random(3)) * np.float32([0.5, width, height])
        side = float(fraction) * width
        left, top = int(max(0, float(x) - side / 2)), int(max(0, float(y) - side / 2))
        expected = Image.fromarray(image)
        box = (left, top, min(width, left + side), min(height, top + side))
        ImageDraw.Draw(expected).rectangle(box, augment.CUTOUT_FILL)
        np.testing.assert_array_equal(run(image, fraction, x, y), np.asarray(expected))
    np.testing.assert_array_equal(run(image, 0.0, 3.0, 3.0), image)


def test_crops_are_windows_of_the_reflected_image(rng):
    """Every crop is one of the 25 windows, flipped or not, and all 50 come up."""
    image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    padded = np.pad(image, [(2, 2), (2, 2), (0, 0)], mode="reflect")
    windows = [padded[y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    known = {w.tobytes() for w in windows} | {w[:, ::-1].tobytes() for w in windows}
    crops = jax.jit(jax.vmap(lambda key: augment.crop_flip(key, jnp.array(image), RECIPE)))(
        jax.random.split(jax.random.key(0), 600)
    )
    assert {np.asarray(crop).tobytes() for crop in crops} == known


def test_no_flip_where_it_would_change_the_meaning(rng):
    image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    still = RECIPE._replace(padding=0.0, flip=False)
    for seed in range(8):
        np.testing.assert_array_equal(augment.crop_flip(jax.random.key(seed), image, still), image)


def test_evaluation_normalises_only(rng):
    image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    got = augment.evaluation_view(RECIPE)(jax.random.key(0), image)
    np.testing.assert_allclose(got, (image / 255 - RECIPE.mean) / RECIPE.std, rtol=1e-4, atol=1e-6)


def test_both_mappings_and_any_batch_agree(rng):
    """A view depends on its own key and image only."""
    batch = rng.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(0), 6)
    strong = augment.strong_view(RECIPE)
    one = jax.jit(augment.views(strong, sequential=True))(keys, batch)
    np.testing.assert_allclose(jax.jit(augment.views(strong, sequential=False))(keys, batch), one, atol=1e-5)
    np.testing.assert_array_equal(jax.jit(augment.views(strong, sequential=True))(keys[2:4], batch[2:4]), one[2:4])


def test_operations_are_drawn_with_replacement_over_the_whole_range(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        augment, "apply_operation", lambda which, image, m: drawn.append((int(which), float(m))) or image
    )
    for seed in range(300):
        augment.random_operations(jax.random.key(seed), jnp.zeros((4, 4, 3), jnp.uint8), 3)
    which, magnitude = np.array(drawn).reshape(300, 3, 2).transpose(2, 0, 1)
    np.testing.assert_allclose(np.bincount(which.astype(int).ravel(), minlength=14) / 900, 1 / 14, atol=0.035)
    assert np.any(which[:, 0] == which[:, 1])
    np.testing.assert_allclose(np.histogram(magnitude, 4, (0, 1))[0] / 900, 0.25, atol=0.06)
    assert len(np.unique(magnitude)) > 890  # a fresh one each


def test_strong_views_differ_from_weak_ones(rng):
    image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(0), 20)
    strong = jax.jit(augment.views(augment.strong_view(RECIPE), sequential=True))(keys, jnp.array([image] * 20))
    fill = augment.normalise(jnp.array(augment.CUTOUT_FILL, jnp.uint8), RECIPE.mean, RECIPE.std)
    boxed = np.all(np.isclose(strong, np.asarray(fill)[None, None, None]), axis=-1).any(axis=(1, 2))
    assert boxed.mean() > 0.9  # always Cutout; a side under a pixel still draws one
