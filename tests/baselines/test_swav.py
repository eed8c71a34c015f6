"""SwAV: codes and loss against loops, the step over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    """Rows sum to 1; after many rounds, every prototype has its share of the batch; padding has none."""
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
    """One crop's scores have a gradient through its prediction alone."""
    one, two = (jnp.asarray(rng.uniform(-1, 1, (6, 5)), jnp.float32) for _ in range(2))
    code = swav.sinkhorn(two, jnp.ones(6), 0.05)
    whole = jax.grad(lambda x: swav.swapped_loss([x, two], jnp.ones(6), 0.5, 0.05))(one)
    alone = jax.grad(lambda x: -0.5 * jnp.sum(code * jax.nn.log_softmax(x / 0.5)))(one)
    np.testing.assert_allclose(whole, alone, rtol=1e-4, atol=1e-6)


def config():
    made = small.config()
    made.swav.update({"network": "tiny", "epochs": 2, "batch_size": 32, "warm_up_epochs": 1, "learning_rate": 0.5})
    made.swav.update({"prototypes": 6, "frozen_steps": 2, "small_crops": 2, "small_crop_size": 8})
    return made


def embedded(tmp_path, mode, devices):
    made, _ = small.trainer(tmp_path / f"{mode}{devices}", config(), mode, devices)
    return swav.swav(made, config().swav, name="embed", seed=0)["features"]


@pytest.mark.parametrize(("mode", "devices"), [("jit", 4), pytest.param("pmap", 3, marks=pytest.mark.long)])
def test_two_epochs_on_any_devices(tmp_path, mode, devices):
    """With a padded last batch, embeddings equal those of one device."""
    alone = embedded(tmp_path, "jit", 1)
    assert alone.shape == (90, 16)
    np.testing.assert_allclose(embedded(tmp_path, mode, devices), alone, atol=2e-4 * np.abs(alone).max())


def test_prototypes_rest_and_stay_on_the_sphere(tmp_path):
    """Prototypes rest for two steps; the first step's learning rate is 0 anyway."""
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
