"""The operations against Pillow itself; geometry and chance of the views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from benchmarks.reference import augmentation as pillow
from semiprune_jax.augment import randaugment, views
from tests.goldens import natural_images

RECIPE = views.Recipe((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), 0.125, flip=True)


def images(rng):
    """Noise of every contrast, smooth ramps, constants, and windows of photographs; square and not."""
    for i in range(12):
        shape = ((16, 16, 3), (11, 14, 3))[i % 2]
        low, high = sorted(rng.integers(0, 256, 2))
        noise = rng.integers(low, high + 1, shape)
        ramp = np.clip(np.cumsum(rng.normal(0, 6, shape), axis=1) + 100, 0, 255)
        yield (noise if i % 4 < 2 else ramp).astype(np.uint8)
    yield np.full((16, 16, 3), 37, np.uint8)
    yield from natural_images(8, 16)
    yield from natural_images(4, 32)[:, :, :27]


# Where Pillow computes in float32: a multiply-add that is fused here and not there, or a table of truncated doubles,
# may fall on the other side of a whole number. What may differ then is one grey level, of so many pixels.
FLOAT = {"Brightness": 1e-3, "Color": 1e-3, "Contrast": 1e-3, "Sharpness": 1e-3, "AutoContrast": 2e-2}


@pytest.mark.parametrize("name", randaugment.OPERATIONS)
def test_operation_is_pillows(name, rng):
    """Over its whole range: both ends, an even grid (the worst case for rounding), and values between."""
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


def test_crop_and_flip_are_pillows(rng):
    run = jax.jit(views.crop_flip)
    for image in images(rng):
        for corner in np.ndindex(3, 3):
            offset = np.array(corner) - 1  # 1/8 of the smallest side
            for flip in (False, True):
                expected = pillow.crop_flip(Image.fromarray(image), tuple(offset.tolist()), flip, 0.125)
                np.testing.assert_array_equal(run(image, views.Crop(offset, flip)), np.asarray(expected))


def test_every_crop_is_drawn():
    """All 25 windows of a border of 2, flipped or not, about equally often."""
    keys = jax.random.split(jax.random.key(0), 5000)
    drawn = jax.jit(jax.vmap(lambda key: views.draw_crop(key, (16, 16, 3), RECIPE)))(keys)
    cells = (drawn.offset[:, 0] + 2) * 10 + (drawn.offset[:, 1] + 2) * 2 + drawn.flip
    assert np.all(np.abs(drawn.offset) <= 2)
    # A binomial count of 5,000 draws at 1/50 leaves 100 +- 50 once in a million.
    np.testing.assert_allclose(np.bincount(cells, minlength=50), 100, atol=50)


def test_no_flip_where_it_would_change_the_meaning(rng):
    image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    still = RECIPE._replace(padding=0.0, flip=False)
    for seed in range(8):
        drawn = views.draw_crop(jax.random.key(seed), image.shape, still)
        np.testing.assert_array_equal(views.crop_flip(image, drawn), image)


def test_evaluation_normalises_only(rng):
    image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    got = views.evaluation_view(RECIPE)(jax.random.key(0), image)
    np.testing.assert_allclose(got, (image / 255 - RECIPE.mean) / RECIPE.std, rtol=1e-4, atol=1e-6)


def test_images_enlarged_for_others_networks(rng):
    """Pillow's bicubic within a grey level or two, ImageNet's statistics; of its own size an image stays as it is."""
    image = rng.integers(90, 160, (8, 8, 3)).astype(np.uint8)  # Pillow clips what overshoots between its two passes
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
    """More than there is room for: none is lost, and the views are those of one image after the other."""
    which, recipe = list(randaugment.OPERATIONS).index(operation), RECIPE._replace(operations=1)
    draw = views.draw_strong
    monkeypatch.setattr(
        views, "draw_strong", lambda *args: draw(*args)._replace(operation=jnp.full(1, which, jnp.int32))
    )
    batch, keys = natural_images(48, 16), jax.random.split(jax.random.key(0), 48)
    assert not randaugment._group(jnp.full(48, which)).fits
    together, one_by_one = (jax.jit(views.strong_views(recipe, sequential=way))(keys, batch) for way in (False, True))
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_every_image_has_a_place_of_its_own(rng):
    for count in (1, 5, 60, 448):
        which = jnp.array(rng.integers(0, 14, count))
        group = randaugment._group(which)
        assert group.fits
        np.testing.assert_array_equal(group.image.ravel()[group.place], np.arange(count))
        np.testing.assert_array_equal(group.place // group.image.shape[1], which)
    assert group.image.size < 2.1 * 448  # twice as many places as images, not fourteen times


def test_operations_are_drawn_with_replacement_over_the_whole_range():
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.jit(jax.vmap(lambda key: views.draw_strong(key, (8, 16, 3), RECIPE)))(keys)
    np.testing.assert_allclose(np.bincount(drawn.operation.ravel(), minlength=14) / 6000, 1 / 14, atol=0.015)
    assert np.any(drawn.operation[:, 0] == drawn.operation[:, 1])
    np.testing.assert_allclose(np.histogram(drawn.magnitude, 4, (0, 1))[0] / 6000, 0.25, atol=0.025)
    assert len(np.unique(drawn.magnitude)) > 5950  # a fresh one each
    for values, high in zip(drawn.cutout.T, (0.5, 16, 8), strict=True):  # side, x, y
        np.testing.assert_allclose(np.histogram(values, 4, (0, high))[0] / 2000, 0.25, atol=0.04)


def test_a_strong_view_is_made_of_what_it_draws(rng):
    """Crop, operations in their order, Cutout: Pillow makes the same view of the same draws."""
    names = list(randaugment.OPERATIONS)
    batch = natural_images(48, 16)
    keys = jax.random.split(jax.random.key(1), len(batch))
    drawn = jax.jit(jax.vmap(lambda key: views.draw_strong(key, (16, 16, 3), RECIPE)))(keys)
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


LARGE = RECIPE._replace(padding=0.0, size=14, resized=True)  # of squares of 16


def test_windows_of_larger_squares(rng):
    """All nine windows of 14 in 16, flipped or not; they are parts of the square."""
    image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(0), 1800)
    drawn = jax.jit(jax.vmap(lambda key: views.draw_crop(key, image.shape, LARGE)))(keys)
    cells = drawn.offset[:, 0] * 6 + drawn.offset[:, 1] * 2 + drawn.flip
    np.testing.assert_allclose(np.bincount(cells, minlength=18), 100, atol=50)
    for i in range(5):
        crop = views.Crop(drawn.offset[i], drawn.flip[i])
        window = views.crop_flip(image, crop, 14)
        y, x = crop.offset
        expected = image[y : y + 14, x : x + 14]
        np.testing.assert_array_equal(window, expected[:, ::-1] if crop.flip else expected)


@pytest.mark.parametrize(("side", "size"), [(16, 14), (64, 56), (256, 224), (16, 32), (64, 20)])
def test_resized_parts_are_pillows(side, size):
    """Every grey level, of upscaled and downscaled parts, drawn and of the extreme extents."""
    photo = Image.fromarray(natural_images(1, 64)[0]).resize((side, side), Image.Resampling.BICUBIC)
    run = jax.jit(lambda image, part: views.resize_flip(image, part, size))
    draw = jax.jit(jax.vmap(lambda key: views.draw_part(key, (side, side, 3), LARGE)))
    drawn = jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(0), 12)))
    parts = [jax.tree.map(lambda x, i=i: x[i], drawn) for i in range(12)]
    for extent in ((1, 1), (side, side), (side, 1), (size, min(side, size + 1))):
        parts.append(views.Part(np.zeros(2, np.int32), np.minimum(np.array(extent, np.int32), side), np.array(True)))
    for part in parts:
        box = (*(int(v) for v in part.corner), *(int(v) for v in part.extent))
        expected = pillow.resize_flip(photo, box, bool(part.flip), size)
        np.testing.assert_array_equal(run(np.asarray(photo), part), np.asarray(expected), err_msg=str(box))


@pytest.mark.parametrize(("side", "size"), [(16, 14), (40, 32), (64, 20), (256, 224)])
def test_weights_of_a_resized_part_are_pillows(side, size):
    """Its formula in double precision, rounded to 1 / 2^22; every extent."""
    taps = jax.jit(lambda extent: views._taps(0, extent, side, size))
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
            # A weight that is a half exactly may round either way in doubles.
            assert np.abs(found - expected).max() <= (np.abs(weights / weights.sum() * 2**22 % 1 - 0.5) < 1e-6).any()


def test_parts_are_torchvisions():
    """Area uniform in 8 to 100% where it fits, aspect log-uniform in 3/4 to 4/3, corners wherever there is room."""
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: views.draw_part(key, (300, 300, 3), LARGE)))(keys))
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
    narrow = jax.jit(jax.vmap(lambda key: views.draw_part(key, (8, 900, 3), LARGE)))(keys[:50])
    assert np.unique(narrow.extent, axis=0).tolist() == [[8, 900]]  # nothing fits: the whole


def test_a_strong_view_may_begin_with_a_part(rng):
    """Without operations or a flip it is the part, cut out; its Cutout is of the view, not of the square."""
    batch = natural_images(6, 16)
    keys = jax.random.split(jax.random.key(3), 6)
    recipe = LARGE._replace(operations=0)
    drawn = jax.jit(jax.vmap(lambda key: views.draw_strong(key, (16, 16, 3), recipe)))(keys)
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
    plain = jax.jit(jax.vmap(views.resized_view(recipe)))(keys, batch)
    part = jax.jit(lambda key: views.draw_part(key, (16, 16, 3), recipe))(keys[0])
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
    assert boxed.mean() > 0.9  # always Cutout; a side under a pixel still draws one
