"""Centres that are chosen one after another: the farthest first (k-centre), or drawn by squared distance (BADGE)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.features.blocks import checked, nearer


def farthest_first(features: np.ndarray, count: int, first: int) -> np.ndarray:
    """Ids i64[count] in the order of choice: ``first``, then each time the example farthest from the chosen ones.

    Greedy k-centre, whose radius is at most twice the best possible one (Sener & Savarese, arXiv:1708.00489). Of
    equally far examples the lower id comes first; if all remaining examples lie on centres, their ids follow in order.

    Raises:
      ArgumentError: count is not in 1..N, or features are not finite.

    >>> farthest_first(np.array([[0.0], [1.0], [5.0], [10.0]]), count=3, first=0)
    array([0, 3, 2])
    """
    features = checked(features)
    _check_count(count, len(features))
    return np.asarray(_farthest(jnp.asarray(features), count, first), np.int64)


@partial(jax.jit, static_argnums=1)
def _farthest(features: jax.Array, count: int, first: jax.Array) -> jax.Array:
    def choose(i: jax.Array, carried: tuple[jax.Array, jax.Array]):
        chosen, nearest = carried
        last = chosen[i - 1]
        nearest = nearer(features, features[last], nearest).at[last].set(-1.0)  # it is never chosen again
        return chosen.at[i].set(jnp.argmax(nearest).astype(jnp.int32)), nearest

    chosen = jnp.zeros(count, jnp.int32).at[0].set(first)
    return jax.lax.fori_loop(1, count, choose, (chosen, jnp.full(len(features), jnp.inf)))[0]


def badge(probabilities: np.ndarray, features: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Ids i64[count] by BADGE: k-means++ on gradients of the last layer (Ash et al., arXiv:1906.03671).

    If the prediction of an example were its label, the gradient of its loss would be the outer product of
    p - onehot(argmax p) and its features h. It is never computed, since the inner product of two gradients is the
    product of the inner products of their factors. The first centre has the largest norm; the others are drawn by their
    squared distances from the centres before them.

    Args:
      probabilities: f32[N, C].
      features: f32[N, D], the input of the last layer.

    Raises:
      ArgumentError: count is not in 1..N, shapes do not match, or values are not finite.
    """
    features, p = checked(features), checked(probabilities)
    if len(features) != len(p):
        raise ArgumentError(
            f"{len(p)} rows of probabilities and {len(features)} embeddings; expected one row per embedding"
        )
    _check_count(count, len(features))
    residual = p - (np.arange(p.shape[1])[None] == np.argmax(p, axis=1)[:, None])
    key = jax.random.key(seed, impl="threefry2x32")
    chosen = _plus_plus(jnp.asarray(residual, jnp.float32), jnp.asarray(features), count, key)
    return np.asarray(chosen, np.int64)


@partial(jax.jit, static_argnums=2)
def _plus_plus(a: jax.Array, h: jax.Array, count: int, key: jax.Array) -> jax.Array:
    norm = jnp.sum(a**2, axis=1) * jnp.sum(h**2, axis=1)

    def choose(i: jax.Array, carried: tuple[jax.Array, jax.Array]):
        chosen, nearest = carried
        last = chosen[i - 1]
        product = jnp.matmul(a, a[last], precision="highest") * jnp.matmul(h, h[last], precision="highest")
        square = jnp.maximum(norm + norm[last] - 2.0 * product, 0.0)
        nearest = jnp.minimum(nearest, square).at[last].set(-1.0)
        # Gumbel's maximum is a draw in proportion to the squares; if all of them are 0, each example is as likely.
        noise = jax.random.gumbel(jax.random.fold_in(key, i), nearest.shape)
        late = jnp.where(nearest > 0, jnp.log(jnp.maximum(nearest, 1e-38)) + noise, noise - 1e6)
        late = jnp.where(nearest < 0, -jnp.inf, late)
        return chosen.at[i].set(jnp.argmax(late).astype(jnp.int32)), nearest

    chosen = jnp.zeros(count, jnp.int32).at[0].set(jnp.argmax(norm).astype(jnp.int32))
    return jax.lax.fori_loop(1, count, choose, (chosen, jnp.full(len(h), jnp.inf)))[0]


def _check_count(count: int, n: int) -> None:
    if not 1 <= count <= n:
        raise ArgumentError(f"{count} centres of {n} examples; expected 1 .. {n}")
