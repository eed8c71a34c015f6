"""SwAV: codes and loss against loops, views against other libraries, the step over devices."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from semiprune_jax.augment import swav as crops
from semiprune_jax.augment.crops import resized_crop_params
from semiprune_jax.augment.recipe import Recipe
from semiprune_jax.baselines import swav
from semiprune_jax.config import validation
from semiprune_jax.errors import ConfigError
from tests import small
from tests.oracles import embeddings as oracle


@pytest.mark.parametrize(("batch", "prototypes"), [(2, 5), (9, 3)])
def test_codes_are_those_of_loops(rng, batch, prototypes):
    scores = rng.uniform(-1, 1, (batch, prototypes))
    got = swav.sinkhorn(jnp.asarray(scores), jnp.ones(batch), 0.1)
    np.testing.assert_allclose(got, oracle.sinkhorn(scores, 0.1, 3), rtol=1e-3, atol=1e-6)


def test_marginals(rng):
    """Rows sum to 1; with many rounds every prototype gets its share of the batch; padding gets nothing."""
    scores = jnp.asarray(rng.uniform(-1, 1, (24, 4)), jnp.float32)
    mask = jnp.asarray(np.arange(24) < 20, jnp.float32)
    codes = swav.sinkhorn(scores, mask, 0.1, rounds=200)
    np.testing.assert_allclose(codes.sum(axis=1), mask, atol=1e-5)
    np.testing.assert_allclose(codes.sum(axis=0), 5.0, rtol=1e-3)
    without = swav.sinkhorn(scores[:20], jnp.ones(20), 0.1, rounds=200)
    np.testing.assert_allclose(codes[:20], without, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("others", [0, 3])
def test_the_loss_is_that_of_loops(rng, others):
    scores = [rng.uniform(-1, 1, (6, 5)) for _ in range(2 + others)]
    got = swav.swapped_loss([jnp.asarray(s, jnp.float32) for s in scores], jnp.ones(6), 0.5, 0.05) / 6
    assert got == pytest.approx(oracle.swapped_loss(scores, 0.5, 0.05), rel=1e-4)


def test_codes_have_no_gradient(rng):
    """Of the loss by one crop's scores, only what it predicts with."""
    one, two = (jnp.asarray(rng.uniform(-1, 1, (6, 5)), jnp.float32) for _ in range(2))
    code = swav.sinkhorn(two, jnp.ones(6), 0.05)
    whole = jax.grad(lambda x: swav.swapped_loss([x, two], jnp.ones(6), 0.5, 0.05))(one)
    alone = jax.grad(lambda x: -0.5 * jnp.sum(code * jax.nn.log_softmax(x / 0.5)))(one)
    np.testing.assert_allclose(whole, alone, rtol=1e-4, atol=1e-6)


@given(st.floats(-0.5, 0.5), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_hues_turn_as_in_colorsys(turn, seed):
    x = np.random.default_rng(seed).random((3, 4, 3)).astype(np.float32)
    got = crops.turn_hue(jnp.asarray(x), jnp.float32(turn))
    for pixel, made in zip(x.reshape(-1, 3), np.asarray(got).reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*map(float, pixel))
        np.testing.assert_allclose(made, colorsys.hsv_to_rgb((h + turn) % 1.0, s, v), atol=2e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_scipys(rng, sigma):
    x = rng.random((11, 9, 3)).astype(np.float32)
    expected = ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest", radius=(6, 6, 0))
    np.testing.assert_allclose(crops.blur(jnp.asarray(x), jnp.float32(sigma)), expected, atol=1e-5)


def test_jitter_by_hand(rng):
    x = jnp.asarray(rng.uniform(0.3, 0.6, (4, 5, 3)), jnp.float32)
    half = jnp.full(4, 0.5)
    np.testing.assert_allclose(crops.jitter(x, half), x, atol=1e-5)  # the middle of every range changes nothing
    bright = crops.jitter(x, half.at[0].set(0.75))
    np.testing.assert_allclose(bright, jnp.clip(1.4 * x, 0, 1), atol=1e-5)
    flat = crops.jitter(x, half.at[1].set(0.0))  # contrast 0.2
    np.testing.assert_allclose(np.ptp(flat), 0.2 * np.ptp(x), rtol=1e-4)
    pale = crops.jitter(x, half.at[2].set(0.0))
    np.testing.assert_allclose(pale - crops.grey(x), 0.2 * (x - crops.grey(x)), atol=1e-5)


def test_how_often_colours_change():
    x = jnp.asarray(np.random.default_rng(0).random((4, 4, 3)), jnp.float32)
    made = jax.vmap(lambda key: crops.recolour(key, x))(jax.random.split(jax.random.key(0), 2000))
    grey = np.ptp(np.asarray(made), axis=-1).max(axis=(1, 2)) < 1e-6
    same = np.abs(np.asarray(made) - np.asarray(x)[None]).max(axis=(1, 2, 3)) < 1e-6
    assert abs(grey.mean() - 0.2) < 0.03
    assert abs(same.mean() - 0.2 * 0.8 * 0.5) < 0.02
    assert made.min() >= 0
    assert made.max() <= 1 + 1e-6


def test_views_are_parts_of_the_image():
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)), jnp.uint8)
    recipe = Recipe((0.5,) * 3, (0.25,) * 3, 0.0, True)
    view = crops.crop_view(recipe, 6, (0.05, 0.14))
    made = jax.jit(jax.vmap(view, in_axes=(0, None)))(jax.random.split(jax.random.key(0), 400), image)
    assert made.shape == (400, 6, 6, 3)
    means = np.mean(0.25 * np.asarray(made) + 0.5, axis=(1, 2, 3))
    assert means.std() > 0.02  # no two alike
    assert means.min() >= 0
    assert means.max() <= 1
    drawn = jax.vmap(lambda key: resized_crop_params(key, image.shape, recipe, (0.05, 0.14)))(
        jax.random.split(jax.random.key(0), 400)
    )
    share = np.prod(np.asarray(drawn.extent), axis=1) / 16**2
    assert share.min() > 0.03
    assert share.max() < 0.17  # whole pixels


def config():
    made = small.config()
    made.swav.update({"network": "resnet8", "epochs": 2, "batch_size": 32, "warm_up_epochs": 1, "learning_rate": 0.5})
    made.swav.update({"prototypes": 6, "frozen_steps": 2, "small_crops": 2, "small_crop_size": 8})
    return made


def embedded(tmp_path, mode, devices):
    made, _ = small.trainer(tmp_path / f"{mode}{devices}", config(), mode, devices)
    return swav.swav(made, config().swav, name="embed", seed=0)["features"]


@pytest.mark.parametrize(("mode", "devices"), [("jit", 4), pytest.param("pmap", 3, marks=pytest.mark.long)])
def test_two_epochs_on_any_devices(tmp_path, mode, devices):
    """As one device, with a padded last batch: the same embeddings."""
    alone = embedded(tmp_path, "jit", 1)
    assert alone.shape == (90, 64)
    np.testing.assert_allclose(embedded(tmp_path, mode, devices), alone, atol=2e-4 * np.abs(alone).max())


def test_prototypes_rest_and_stay_on_the_sphere(tmp_path):
    """For two steps, at the first of which the learning rate is 0 anyway."""
    made, _ = small.trainer(tmp_path, config())
    training = swav.swav_training(made, config().swav, name="embed", seed=0)
    state, prototypes = training.state, []
    step = made.layout
    with training.feed as read:
        for number in range(4):
            prototypes.append(np.array(state.params["prototypes"]["kernel"]))
            feed = step.put_feed(read(number, 1))
            state, _, metrics = training.dispatch(state, None, training.pool, feed, training.key)
            assert np.isfinite(metrics["loss"]).all()
    prototypes.append(np.array(state.params["prototypes"]["kernel"]))
    for kernel in prototypes:
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(prototypes[2], prototypes[0], atol=1e-6)  # frozen
    assert not np.allclose(prototypes[3], prototypes[2], atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("network", "wrn_10_1"), ("prototypes", 1), ("crop_area", (0.9, 0.1)), ("epsilon", 0.0), ("small_crops", -1)],
)
def test_bad_values_name_their_field(field, value):
    made = config()
    made.data.path, made.swav[field] = "x", value
    with pytest.raises(ConfigError, match=rf"config\.swav\.{field} = "):
        validation.validate(made)
