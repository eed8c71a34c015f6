"""Centres against loops, and the frequencies of drawn centres."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax.features import centres

LINE = np.array([[0.0], [1.0], [3.0], [7.0], [7.5]])


def farthest_by_loop(features, count, first):
    chosen = [first]
    while len(chosen) < count:
        away = [min(np.sum((x - features[c]) ** 2) for c in chosen) for x in features]
        chosen.append(max((i for i in range(len(features)) if i not in chosen), key=lambda i: (away[i], -i)))
    return chosen


def test_farthest_first(rng):
    assert centres.farthest_first(LINE, 4, first=0).tolist() == [0, 4, 2, 1]
    features = rng.normal(size=(40, 3)).astype(np.float32)
    assert centres.farthest_first(features, 12, first=7).tolist() == farthest_by_loop(features, 12, 7)
    assert sorted(centres.farthest_first(np.zeros((5, 2)), 5, first=3)) == list(range(5))


def test_badge_draws_by_squared_distance_of_gradients(rng):
    """Over many draws, the second centre's frequencies follow the gradients' squared distances."""
    p = rng.dirichlet(np.ones(3), 8).astype(np.float32)
    h = rng.normal(size=(8, 4)).astype(np.float32)
    gradient = (p - np.eye(3)[p.argmax(1)])[:, :, None] * h[:, None]
    gradient = gradient.reshape(8, -1)
    first = int(np.argmax(np.sum(gradient**2, axis=1)))
    square = np.sum((gradient - gradient[first]) ** 2, axis=1)
    residual = jnp.asarray(p - np.eye(3)[p.argmax(1)], jnp.float32)
    draw = jax.jit(jax.vmap(lambda key: centres._plus_plus(residual, jnp.asarray(h), 2, key)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    assert set(drawn[:, 0].tolist()) == {first}
    np.testing.assert_allclose(np.bincount(drawn[:, 1], minlength=8) / 4000, square / square.sum(), atol=0.03)
    chosen = centres.badge(p, h, 8, seed=3)
    assert sorted(chosen.tolist()) == list(range(8))
    np.testing.assert_array_equal(chosen, centres.badge(p, h, 8, seed=3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: centres.farthest_first(LINE, 6, 0), "6 centres of 5 examples"),
        (lambda: centres.badge(np.ones((4, 2)), LINE, 2), "4 rows of probabilities and 5 embeddings"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
