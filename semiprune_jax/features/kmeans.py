"""k-means: Lloyd's iterations from k-means++ seeds, the best of several starts. On the devices, in blocks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.features.blocks import Block, checked, each, nearer, placed


class Clusters(NamedTuple):
    """A clustering."""

    centroid: np.ndarray  # f32[k, D]
    cluster: np.ndarray  # i32[N], of each example
    distance: np.ndarray  # f32[N], Euclidean, to its own centroid

    @property
    def inertia(self) -> float:
        """Sum of squared distances."""
        return float(np.sum(self.distance.astype(np.float64) ** 2))


def fit(
    features: np.ndarray, k: int, seed: int = 0, *, starts: int = 10, iterations: int = 300, tolerance: float = 1e-4
) -> Clusters:
    """The clustering of least inertia of ``starts`` ones (scikit-learn's defaults: 10 starts, 300 iterations, 1e-4).

    A cluster that loses all of its examples takes the one that is farthest from its centroid.

    Args:
      features: f32[N, D].
      tolerance: centroids have come to rest when they move, all squares together, by less than this times the mean
        variance of the features.

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
    rest = tolerance * float(np.mean(np.var(features, axis=0, dtype=np.float64)))
    # The same clusters nearer the origin, where products keep more of their digits.
    origin = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    features = features - origin
    # On the devices once: each start and each iteration looks at them again.
    blocks = list(placed(features, k + 2 * features.shape[1]))
    found: Clusters | None = None
    for _ in range(starts):
        one = _lloyd(features, blocks, _seeds(features, blocks, k, rng), iterations, rest)
        if found is None or one.inertia < found.inertia:
            found = one
    assert found is not None
    return found._replace(centroid=found.centroid + origin)


class _Assigned(NamedTuple):
    """Of each example the nearest centroid, and the distance; of each centroid how many it has, and their sum."""

    cluster: np.ndarray  # i32[N]
    distance: np.ndarray  # f32[N]
    count: np.ndarray  # i64[k]
    total: np.ndarray  # f64[k, D]


def _lloyd(features: np.ndarray, blocks: list[Block], centroid: np.ndarray, iterations: int, rest: float) -> Clusters:
    now = _assign(len(features), blocks, centroid)
    for _ in range(iterations):
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
    """The nearest centroid of each row, the first of equals, and the Euclidean distance; and sums by centroid."""
    near = jnp.sum(centroid**2, axis=1)[None] - 2.0 * jnp.matmul(rows, centroid.T, precision="highest")
    own = jnp.argmin(near, axis=1).astype(jnp.int32)
    # A product instead of a scatter, whose order of adding would be another each time on a GPU.
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
    """k-means++, f32[k, D]: each seed drawn by its squared distance from those before it; none twice."""
    chosen = [int(rng.integers(len(features)))]
    key = jax.random.key(int(rng.integers(1 << 31)), impl="threefry2x32")
    squares = [jnp.where(numbers < len(features), jnp.inf, -1.0) for _, _, numbers in blocks]
    for i in range(1, k):
        last = np.int32(chosen[-1])
        drawn = []
        for b, (_, block, numbers) in enumerate(blocks):
            squares[b], *one = _draw(block, numbers, squares[b], features[last], last, jax.random.fold_in(key, i))
            drawn.append(one)
        chosen.append(int(max(jax.device_get(drawn))[1]))
    return features[chosen]


@jax.jit
def _draw(block: jax.Array, numbers: jax.Array, square: jax.Array, seed: jax.Array, last: jax.Array, key: jax.Array):
    """Squared distances f32[R] to the nearest seed, the new one included; and the largest of draws, with its row.

    Rows that are seeds, and padding, have -1. Gumbel's maximum is a draw in proportion to the squares; where all that
    is left are 0 it is any of those.
    """
    square = jnp.where(numbers == last, -1.0, nearer(block, seed, square))
    noise = jax.vmap(lambda number: jax.random.gumbel(jax.random.fold_in(key, number)))(numbers)
    late = jnp.where(square > 0, jnp.log(jnp.maximum(square, 1e-38)) + noise, noise - 1e6)
    late = jnp.where(square < 0, -jnp.inf, late)
    best = jnp.argmax(late)
    return square, late[best], numbers[best]
