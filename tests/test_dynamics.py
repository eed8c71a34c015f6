import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax import dynamics


def test_observe_by_hand():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]))
    seen = dynamics.observe(logits, jnp.array([0, 1]))
    np.testing.assert_allclose(seen["p_label"], [0.7, 0.2], rtol=1e-5)
    np.testing.assert_allclose(seen["p_other"], [0.2, 0.7], rtol=1e-5)
    assert seen["correct"].tolist() == [True, False]
    np.testing.assert_allclose(seen["el2n"], np.sqrt([0.09 + 0.04 + 0.01, 0.49 + 0.64 + 0.01]), rtol=1e-5)
    np.testing.assert_allclose(
        seen["entropy"], 2 * [-(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))], rtol=1e-4
    )


def test_observe_saturated():
    seen = dynamics.observe(jnp.array([[200.0, 0.0], [0.0, 200.0]]), jnp.array([0, 0]))
    np.testing.assert_allclose(seen["el2n"], [0, np.sqrt(2)], rtol=1e-6)
    assert np.all(np.isfinite(seen["entropy"]))


def test_update_writes_its_rows_and_drops_those_past_the_end():
    record = dynamics.init(5, 3)
    seen = {
        "p_label": jnp.array([0.1, 0.2, 0.3, 0.4]),
        "p_other": jnp.array([0.5, 0.6, 0.7, 0.8]),
        "correct": jnp.array([True, False, True, True]),
        "el2n": jnp.array([1.0, 2.0, 3.0, 4.0]),
        "entropy": jnp.zeros(4),
    }
    new = jax.jit(dynamics.update)(record, jnp.array([4, 5, 0, 6]), 1, seen)
    expected = np.zeros((5, 3), np.float32)
    expected[4, 1], expected[0, 1] = 0.1, 0.3
    np.testing.assert_array_equal(new.p_label, expected)
    assert new.correct.sum() == 2
    assert new.el2n[0, 1] == 3.0
    assert new.entropy is None


def test_order_of_batches_does_not_matter(rng):
    logits, label = jnp.array(rng.normal(size=(12, 4)), jnp.float32), jnp.array(rng.integers(0, 4, 12))

    def record(order):
        made = dynamics.init(12, 1, entropy=True)
        for rows in np.split(order, 3):
            made = dynamics.update(made, jnp.array(rows), 0, dynamics.observe(logits[rows], label[rows]))
        return made

    one, other = record(np.arange(12)), record(rng.permutation(12))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert np.all(one.entropy > 0)


def test_bytes_a_visit():
    record = dynamics.init(1, 1)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(record)) == 13
