"""k-means: Lloyd's iterations from greedy k-means++ seeds, the best of several starts. On the devices, in blocks."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.features.blocks import Block, checked, each, nearer, placed

# scikit-learn's defaults.
STARTS = 10  # clusterings, of which the one of least inertia counts
ITERATIONS = 300  # of one start, at most
# Centroids have come to rest when the sum of the squares of their moves is at most this times the mean variance of the
# features.
TOLERANCE = 1e-4


class Clusters(NamedTuple):
    """A clustering."""

    centroid: np.ndarray  # f32[k, D]
    cluster: np.ndarray  # i32[N], of each example
    distance: np.ndarray  # f32[N], Euclidean, to its own centroid

    @property
    def inertia(self) -> float:
        """Sum of squared distances."""
        return float(np.sum(self.distance.astype(np.float64) ** 2))


def fit(features: np.ndarray, k: int, seed: int = 0) -> Clusters:
    """The clustering of least inertia of ten starts.

    A cluster that loses all of its examples gets the example that is farthest from its centroid.

    Args:
      features: f32[N, D].

    Raises:
      ArgumentError: k is not in 1..N, or features are not finite.

    >>> points = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> sorted(fit(points, k=2).centroid[:, 0].tolist())
    [0.5, 10.5]
    """
    features = checked(features)
    n = len(features)
    if not 1 <= k <= n:
        raise ArgumentError(f"k = {k} clusters of {n} examples; expected 1 .. {n}")
    rng = np.random.default_rng(seed)
    rest = TOLERANCE * float(np.mean(np.var(features, axis=0, dtype=np.float64)))
    # Clusters stay the same, and products keep more of their digits near the origin.
    origin = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    features = features - origin
    # Each start and each iteration reads them, so they stay on the devices.
    blocks = list(placed(features, k + 2 * features.shape[1]))
    found: Clusters | None = None
    for _ in range(STARTS):
        one = _lloyd(features, blocks, _seeds(features, blocks, k, rng), rest)
        if found is None or one.inertia < found.inertia:
            found = one
    assert found is not None
    return found._replace(centroid=found.centroid + origin)


class _Assigned(NamedTuple):
    """The nearest centroid of each example, and the number and the sum of the examples of each centroid."""

    cluster: np.ndarray  # i32[N]
    distance: np.ndarray  # f32[N], to that centroid
    count: np.ndarray  # i64[k]
    total: np.ndarray  # f64[k, D]


def _lloyd(features: np.ndarray, blocks: list[Block], centroid: np.ndarray, rest: float) -> Clusters:
    now = _assign(len(features), blocks, centroid)
    for _ in range(ITERATIONS):
        moved, before = _means(features, now), now
        still = np.sum((moved - centroid) ** 2, dtype=np.float64) <= rest
        centroid, now = moved, _assign(len(features), blocks, moved)
        if still or np.array_equal(now.cluster, before.cluster):
            break
    return Clusters(centroid, now.cluster, now.distance)


def _assign(n: int, blocks: list[Block], centroid: np.ndarray) -> _Assigned:
    k, width = centroid.shape
    made = _Assigned(np.empty(n, np.int32), np.empty(n, np.float32), np.zeros(k, np.int64), np.zeros((k, width)))
    for rows, (own, away, count, total) in each(_nearest, blocks, centroid, np.array(n, np.int32), whole=2):
        made.cluster[rows], made.distance[rows] = own, away
        made.count[:] += count
        made.total[:] += total
    return made


def _nearest(rows: jax.Array, numbers: jax.Array, centroid: jax.Array, n: jax.Array) -> tuple[jax.Array, ...]:
    """The nearest centroid of each row (of equals the first) and its distance; counts and sums by centroid."""
    near = jnp.sum(centroid**2, axis=1)[None] - 2.0 * jnp.matmul(rows, centroid.T, precision="highest")
    own = jnp.argmin(near, axis=1).astype(jnp.int32)
    # A product, since a scatter on a GPU adds in a different order each time.
    belongs = (own[:, None] == jnp.arange(len(centroid))[None]) & (numbers < n)[:, None]
    total = jnp.matmul(belongs.astype(jnp.float32).T, rows, precision="highest")
    return own, jnp.linalg.norm(rows - centroid[own], axis=1), jnp.sum(belongs, axis=0), total


def _means(features: np.ndarray, now: _Assigned) -> np.ndarray:
    """f32[k, D]."""
    means = (now.total / np.maximum(now.count, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(now.count == 0)
    means[empty] = features[np.argsort(-now.distance, kind="stable")[: len(empty)]]
    return means


def _seeds(features: np.ndarray, blocks: list[Block], k: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-means++ as in scikit-learn, f32[k, D]: of a few candidates the best becomes the next seed.

    Candidates are drawn by their squared distances from the seeds before them; the best one leaves the smallest sum of
    squared distances. No example is a seed twice, and the candidates of one draw differ.
    """
    n, count = len(features), 2 + int(np.log(k))
    chosen = [int(rng.integers(n))]
    key = jax.random.key(int(rng.integers(1 << 31)), impl="threefry2x32")
    squares = [jnp.where(numbers < n, jnp.inf, -1.0) for _, _, numbers in blocks]
    for i in range(1, k):
        last, key_now, drawn = np.int32(chosen[-1]), jax.random.fold_in(key, i), []
        for b, (_, block, numbers) in enumerate(blocks):
            squares[b], *some = _draw(block, numbers, squares[b], features[last], last, key_now, count)
            drawn.append(some)
        late, rows = (np.concatenate(part) for part in zip(*jax.device_get(drawn), strict=True))
        best = np.argsort(-late, kind="stable")[:count]
        rows = np.where(late[best] > -np.inf, rows[best], rows[best[0]])  # fewer than ``count`` rows may be left
        left = [
            _potential(block, square, features[rows]) for (_, block, _), square in zip(blocks, squares, strict=True)
        ]
        chosen.append(int(rows[np.argmin(np.sum(jax.device_get(left), axis=0, dtype=np.float64))]))
    return features[chosen]


@partial(jax.jit, static_argnums=6)
def _draw(
    block: jax.Array,
    numbers: jax.Array,
    square: jax.Array,
    seed: jax.Array,
    last: jax.Array,
    key: jax.Array,
    count: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Squared distances f32[R] to the nearest seed, ``last`` included; the ``count`` largest draws, and their rows.

    Rows that are seeds, and padding, have -1. Gumbel's maximum is a draw in proportion to the squares, and the largest
    ones after it are draws without replacement; where all squares are 0, each row is as likely.
    """
    square = jnp.where(numbers == last, -1.0, nearer(block, seed, square))
    noise = jax.vmap(lambda number: jax.random.gumbel(jax.random.fold_in(key, number)))(numbers)
    late = jnp.where(square > 0, jnp.log(jnp.maximum(square, 1e-38)) + noise, noise - 1e6)
    late = jnp.where(square < 0, -jnp.inf, late)
    largest, places = jax.lax.top_k(late, min(count, len(late)))
    return square, largest, numbers[places]


@jax.jit
def _potential(block: jax.Array, square: jax.Array, candidates: jax.Array) -> jax.Array:
    """f32[L]: for each candidate f32[L, D], the sum of squared distances to the nearest seed if it became a seed."""
    product = jnp.matmul(block, candidates.T, precision="highest")
    away = jnp.sum(block**2, axis=1)[:, None] - 2.0 * product + jnp.sum(candidates**2, axis=1)[None]
    return jnp.sum(jnp.maximum(jnp.minimum(away, square[:, None]), 0.0), axis=0)  # 0 from seeds and padding
