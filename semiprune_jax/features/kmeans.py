"""k-means: Lloyd's iterations from k-means++ seeds, the best of several starts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.features.blocks import by_blocks, checked


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
      ValueError: k is not in 1..N, or features are not finite.

    >>> points = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> sorted(fit(points, k=2).centroid[:, 0].tolist())
    [0.5, 10.5]
    """
    features = checked(features)
    if not 1 <= k <= len(features):
        raise ValueError(f"k = {k} clusters of {len(features)} examples; expected 1 .. {len(features)}")
    rng = np.random.default_rng(seed)
    rest = tolerance * float(np.mean(np.var(features, axis=0, dtype=np.float64)))
    found: Clusters | None = None
    for _ in range(starts):
        one = _lloyd(features, _seeds(features, k, rng), iterations, rest)
        if found is None or one.inertia < found.inertia:
            found = one
    assert found is not None
    return found


def _lloyd(features: np.ndarray, centroid: np.ndarray, iterations: int, rest: float) -> Clusters:
    cluster, distance = assign(features, centroid)
    for _ in range(iterations):
        moved = _means(features, cluster, distance, centroid)
        still = np.sum((moved - centroid) ** 2, dtype=np.float64) <= rest
        centroid, before = moved, cluster
        cluster, distance = assign(features, centroid)
        if still or np.array_equal(cluster, before):
            break
    return Clusters(centroid, cluster, distance)


def assign(features: np.ndarray, centroid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid i32[N] of each example, the first of equals, and the Euclidean distance f32[N]."""

    cluster, distance = np.empty(len(features), np.int32), np.empty(len(features), np.float32)
    columns = len(centroid) + 2 * features.shape[1]
    for rows, (own, away) in by_blocks(_own_centroid, features, columns, np.asarray(centroid, np.float32)):
        cluster[rows], distance[rows] = own, away
    return cluster, distance


def _own_centroid(rows: jax.Array, numbers: jax.Array, centroid: jax.Array) -> tuple[jax.Array, jax.Array]:
    del numbers
    near = jnp.sum(centroid**2, axis=1)[None] - 2.0 * jnp.matmul(rows, centroid.T, precision="highest")
    own = jnp.argmin(near, axis=1).astype(jnp.int32)
    return own, jnp.linalg.norm(rows - centroid[own], axis=1)


def _means(features: np.ndarray, cluster: np.ndarray, distance: np.ndarray, centroid: np.ndarray) -> np.ndarray:
    count = np.bincount(cluster, minlength=len(centroid))
    order = np.argsort(cluster, kind="stable")
    first = np.cumsum(count) - count
    sums = np.add.reduceat(features[order], np.minimum(first, len(order) - 1), axis=0, dtype=np.float64)
    means = np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], 0.0).astype(np.float32)
    empty = np.flatnonzero(count == 0)
    means[empty] = features[np.argsort(-distance, kind="stable")[: len(empty)]]
    return means


def _seeds(features: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++: each seed drawn by its squared distance from those before it."""
    chosen = [int(rng.integers(len(features)))]
    square = np.full(len(features), np.inf)
    for _ in range(k - 1):
        square = np.minimum(square, np.sum((features - features[chosen[-1]]) ** 2, axis=1))
        total = np.cumsum(square, dtype=np.float64)
        if total[-1] == 0:  # fewer different examples than clusters: any of the others
            chosen.append(int(rng.choice(np.setdiff1d(np.arange(len(features)), chosen))))
            continue
        chosen.append(int(np.searchsorted(total, rng.random() * total[-1], side="right").clip(max=len(features) - 1)))
    return features[chosen]
