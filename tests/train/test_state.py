import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import models
from semiprune_jax.train import state
from tests.oracles import pytorch


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("matrices_only", [True, False])
def test_sgd_is_pytorchs(rng, nesterov, matrices_only):
    start = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    grads = [{"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)} for _ in range(5)]
    tx = state.sgd(
        state.cosine_to(1e-4),
        learning_rate=0.1,
        total_steps=5,
        momentum=0.9,
        nesterov=nesterov,
        weight_decay=0.05,
        decay_matrices_only=matrices_only,
    )
    fresh = state.TrainState(jnp.int32(0), start, {}, tx.init(start), None)
    for g in grads:
        fresh = state.advance(fresh, tx, g, {})
    lrs = [pytorch.cosine_annealing(t, 0.1, 1e-4, 5) for t in range(5)]
    for name, first in start.items():
        decay = 0.0 if matrices_only and name == "bias" else 0.05
        expected = pytorch.sgd(
            first, [g[name] for g in grads], lrs=lrs, momentum=0.9, nesterov=nesterov, weight_decay=decay
        )
        np.testing.assert_allclose(fresh.params[name], expected, rtol=1e-5)
    assert fresh.step == 5


def test_schedules():
    for t in (0, 1, 70, 100):
        got = state.cosine_to(1e-4)(jnp.int32(t), jnp.float32(0.1), jnp.int32(100))
        assert got == pytest.approx(pytorch.cosine_annealing(t, 0.1, 1e-4, 100), rel=1e-5)
        got = state.cosine_sevenths(jnp.int32(t), jnp.float32(0.03), jnp.int32(100))
        assert got == pytest.approx(pytorch.fixmatch_cosine(t, 0.03, 100), rel=1e-5)
    assert state.cosine_sevenths(jnp.int32(0), 0.03, 7) == pytest.approx(0.03)
    assert state.cosine_sevenths(jnp.int32(7), 0.03, 7) == pytest.approx(0.0058527, rel=1e-4)
    # Past its end PyTorch's cosine rises again; ours stays at its last value.
    assert state.cosine_to(1e-4)(jnp.int32(150), 0.1, 100) == pytest.approx(1e-4)


def test_warm_up():
    """SwAV's rate rises linearly from 0 to the peak, then falls by half a cosine to the floor."""
    schedule, peak, total = state.cosine_to(0.1, warm_up=10), jnp.float32(2.0), jnp.int32(30)
    rates = [float(schedule(jnp.int32(step), peak, total)) for step in (0, 5, 10, 20, 30, 99)]
    np.testing.assert_allclose(rates, [0, 1, 2, 1.05, 0.1, 0.1], rtol=1e-5, atol=1e-7)
    assert float(state.cosine_to(0.1)(jnp.int32(0), peak, total)) == 2.0


def test_larc_steps_by_a_share_of_each_parameters_norm(rng):
    params = {"a": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "b": jnp.asarray(rng.normal(size=5), jnp.float32)}
    tx = state.sgd(
        state.cosine_to(0.0),
        learning_rate=0.5,
        total_steps=10,
        momentum=0.9,
        nesterov=False,
        weight_decay=0.0,
        decay_matrices_only=False,
        trust=0.001,
    )
    for size in (1.0, 100.0):  # the gradient's size, which does not matter
        gradient = {name: size * jnp.ones_like(value) for name, value in params.items()}
        updates, _ = tx.update(gradient, tx.init(params), params)
        for name, value in params.items():
            expected = 0.5 * 0.001 * np.linalg.norm(value)
            np.testing.assert_allclose(np.linalg.norm(updates[name]), expected, rtol=1e-4)


def test_average_follows_parameters_and_starts_as_a_copy():
    start = {"w": jnp.array([1.0])}
    tx = state.sgd(
        lambda step, peak, total: peak,
        learning_rate=1.0,
        total_steps=1,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        decay_matrices_only=False,
    )
    s = state.TrainState(jnp.int32(0), start, {}, tx.init(start), start)
    average = 1.0
    for w in (0.0, -1.0, -2.0):  # the weights after steps of 1
        s = state.advance(s, tx, {"w": jnp.array([1.0])}, {}, ema_decay=0.9)
        average = 0.9 * average + 0.1 * w
        assert s.params["w"][0] == pytest.approx(w)
        assert s.ema_params["w"][0] == pytest.approx(average)


def test_create_shares_no_buffers():
    network = models.create("wrn_10_1", num_classes=2, bn_momentum=0.9)
    tx = state.sgd(
        state.cosine_sevenths,
        learning_rate=0.1,
        total_steps=9,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.0,
        decay_matrices_only=True,
    )
    fresh = jax.jit(lambda key: state.create(network, tx, key, (8, 8, 3), ema=True))(jax.random.key(0))
    for p, e in zip(jax.tree.leaves(fresh.params), jax.tree.leaves(fresh.ema_params), strict=True):
        assert p.unsafe_buffer_pointer() != e.unsafe_buffer_pointer()
        np.testing.assert_array_equal(p, e)


def test_schedule_is_traced():
    """Another length and rate use the same executable."""
    tx = state.sgd(
        state.cosine_to(0.0),
        learning_rate=0.1,
        total_steps=9,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        decay_matrices_only=False,
    )
    params = {"w": jnp.ones(3)}
    s = state.TrainState(jnp.int32(0), params, {}, tx.init(params), None)
    step = jax.jit(lambda s: state.advance(s, tx, {"w": jnp.ones(3)}, {}))
    np.testing.assert_allclose(step(s).params["w"], 0.9, rtol=1e-6)
    s = state.set_schedule(s, learning_rate=0.5, total_steps=100)
    np.testing.assert_allclose(step(s).params["w"], 0.5, rtol=1e-6)
    assert step._cache_size() == 1
