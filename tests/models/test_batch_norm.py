"""Batch normalisation against PyTorch's rules: statistics, padding, gradients, evaluation."""

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.models.batch_norm import BatchNorm
from tests.oracles import pytorch


def norm(x, mask=None, train=True, momentum=0.9, variables=None):
    module = BatchNorm(momentum, 1e-5)
    variables = variables or {
        "params": {"scale": jnp.array([1.5, 0.5]), "bias": jnp.array([0.1, -0.2])},
        "batch_stats": {"mean": jnp.array([0.3, 0.4]), "var": jnp.array([2.0, 3.0])},
    }
    return module.apply(variables, x, train=train, mask=mask, axis_name=None, mutable=["batch_stats"]), variables


def test_batch_norm_agrees_with_pytorch(rng):
    x = rng.normal(1, 2, (5, 3, 3, 2)).astype(np.float32)
    (y, new), variables = norm(jnp.array(x))
    p, s = variables["params"], variables["batch_stats"]
    expected = pytorch.batch_norm(
        x, *(np.array(v) for v in (p["scale"], p["bias"], s["mean"], s["var"])), momentum=0.1, eps=1e-5
    )
    np.testing.assert_allclose(y, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["mean"], expected[1], rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], expected[2], rtol=1e-5)


def test_gradients_of_batch_norm_in_bfloat16_are_summed_in_float32(rng):
    x, slope = (jnp.array(rng.normal(1, 2, (64, 16, 16, 2)), jnp.bfloat16) for _ in range(2))
    _, variables = norm(x)

    def gradients(dtype):
        def loss(params):
            (y, _), _ = norm(x.astype(dtype), variables=variables | {"params": params})
            return jnp.sum((y * slope.astype(dtype)).astype(jnp.float32))

        return jax.grad(loss)(variables["params"])

    half, exact = gradients(jnp.bfloat16), gradients(jnp.float32)
    for name in ("scale", "bias"):
        np.testing.assert_allclose(half[name], exact[name], rtol=0.005)


def test_batch_norm_leaves_padding_out(rng):
    x = rng.normal(1, 2, (6, 3, 3, 2)).astype(np.float32)
    mask = jnp.array([True, True, False, True, False, False])
    junk = np.where(np.asarray(mask)[:, None, None, None], x, 1e6).astype(np.float32)
    (y, new), _ = norm(jnp.array(junk), mask)
    (y_alone, new_alone), _ = norm(jnp.array(x[np.asarray(mask)]))
    np.testing.assert_allclose(np.asarray(y)[np.asarray(mask)], y_alone, rtol=1e-4, atol=1e-5)
    for key in ("mean", "var"):
        np.testing.assert_allclose(new["batch_stats"][key], new_alone["batch_stats"][key], rtol=1e-5)


def test_batch_norm_evaluates_with_running_statistics(rng):
    x = rng.normal(size=(2, 3, 3, 2)).astype(np.float32)
    (y, new), variables = norm(jnp.array(x), train=False)
    expected = (x - [0.3, 0.4]) / np.sqrt(np.array([2.0, 3.0]) + 1e-5) * [1.5, 0.5] + [0.1, -0.2]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert not new or jax.tree.all(jax.tree.map(jnp.array_equal, new["batch_stats"], variables["batch_stats"]))


def test_an_empty_batch_gives_no_nan():
    (y, new), _ = norm(jnp.ones((2, 3, 3, 2)), jnp.zeros(2, bool))
    assert np.all(np.isfinite(y))
    assert np.all(np.isfinite(new["batch_stats"]["var"]))
