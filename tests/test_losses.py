import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax.train import losses
from tests.oracles import pytorch


def test_cross_entropy(rng):
    logits, label = rng.normal(0, 5, (9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    expected = [pytorch.cross_entropy(row, y) for row, y in zip(logits.astype(float), label, strict=True)]
    np.testing.assert_allclose(losses.cross_entropy(jnp.array(logits), jnp.array(label)), expected, rtol=1e-5)


def test_cross_entropy_is_float32_and_spares_unknown_labels():
    logits = jnp.array([[50.0, 0.0], [0.0, 0.0]], jnp.bfloat16)
    got = losses.cross_entropy(logits, jnp.array([0, -1]))
    assert got.dtype == jnp.float32
    assert got[1] == 0


def test_oracle_fixmatch_loss_by_hand():
    confident, unsure = [9.0, 0.0], [0.1, 0.0]
    total, loss_l, loss_u = pytorch.fixmatch_loss([[0.0, 0.0]], [0], [confident, unsure], [[0.0, 0.0]] * 2, 0.95, 2.0)
    assert loss_l == pytest.approx(np.log(2))
    assert loss_u == pytest.approx(np.log(2) / 2)  # the mean is over the whole batch
    assert total == pytest.approx(2 * np.log(2))
