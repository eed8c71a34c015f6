"""Nearest neighbours of every example among all of them, or some, exactly."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.features.blocks import checked, each, placed

_WORTH = 4  # the smallest size of blocks, in numbers, at which looking at blocks first saves time
_SPARE = 8  # candidates beyond k: products of rows distinguish close neighbours badly


def nearest(
    features: np.ndarray, k: int, metric: str = "euclidean", among: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other examples of each example, nearest first; of equally near ones the lower id comes first.

    The search is exact. It computes all N * M products in blocks, which is quadratic in N if all may be neighbours.

    Args:
      features: f32[N, D].
      metric: "euclidean", or "cosine": 1 - cosine similarity; a row of zeros is at a distance of 1 from all.
      among: i64[M], the ids of the examples that may be neighbours, in ascending order; None: all.

    Returns:
      ids i32[N, k] and distances f32[N, k].

    Raises:
      ArgumentError: k is not in 1..M - 1, the metric is unknown, or features are not finite.

    >>> ids, distances = nearest(np.array([[0.0], [1.0], [3.0]]), k=1)
    >>> ids.tolist(), distances.tolist()
    ([[1], [0], [1]], [[1.0], [1.0], [2.0]])
    """
    features = checked(features)
    n, candidate = len(features), np.arange(len(features)) if among is None else np.asarray(among)
    m = len(candidate)
    if not 1 <= k <= m - 1:
        raise ArgumentError(f"k = {k} neighbours of {m} examples; expected 1 .. {m - 1}")
    if metric not in ("euclidean", "cosine"):
        raise ArgumentError(f"metric = {metric!r} is neither 'euclidean' nor 'cosine'")
    if metric == "cosine":
        norm = np.linalg.norm(features, axis=1, keepdims=True)
        features = features / np.where(norm > 0, norm, 1.0)
    else:
        # Distances stay the same, and products keep more of their digits near the origin.
        features = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)[None]
    looked_at = min(k + _SPARE, m - 1)

    def block(rows: jax.Array, numbers: jax.Array, everything: jax.Array, squares: jax.Array, own: jax.Array):
        # |a - b|^2 without |a|^2, which is the same for the whole row.
        near = squares[None] - 2.0 * jnp.matmul(rows, everything.T, precision="highest")
        near = jnp.where(numbers[:, None] == own[None], jnp.inf, near)
        candidates = jnp.sort(smallest(near, looked_at)[1], axis=1)
        # From the differences themselves, since products cancel.
        square = jnp.sum((everything[candidates] - rows[:, None]) ** 2, axis=-1)
        order = jnp.argsort(square, axis=1, stable=True)[:, :k]
        return jnp.take_along_axis(candidates, order, axis=1), jnp.take_along_axis(square, order, axis=1)

    ids, squares = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    columns, base = max(m, looked_at * features.shape[1]), features[candidate]
    fixed = (base, np.sum(base**2, axis=1), candidate.astype(np.int32))
    for rows, (found, square) in each(block, placed(features, columns), *fixed):
        ids[rows], squares[rows] = candidate[found], square
    return ids, squares / 2.0 if metric == "cosine" else np.sqrt(squares)


def smallest(values: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest numbers of each row, smallest first, and their places; of equal numbers the first comes first.

    A row is cut into blocks, and only the k blocks with the smallest minima are searched; their minima come before any
    number of another block. With blocks of sqrt(n / k) numbers, 2 sqrt(n k) of n numbers are sorted.

    Args:
      values: f32[..., n], n at least k.

    Returns:
      f32[..., k] and i32[..., k].

    >>> numbers, places = smallest(jnp.array([3.0, 1.0, 2.0, 1.0]), k=3)
    >>> numbers.tolist(), places.tolist()
    ([1.0, 1.0, 2.0], [1, 3, 2])
    """
    n, rows = values.shape[-1], values.shape[:-1]
    width = math.isqrt(n // k)
    if width < _WORTH:
        negative, places = jax.lax.top_k(-values, k)
        return -negative, places
    count = -(-n // width)
    padding = [(0, 0)] * len(rows) + [(0, count * width - n)]
    blocks = jnp.pad(values, padding, constant_values=jnp.inf).reshape(*rows, count, width)
    # Blocks stay in order, so that the first of equal numbers stays the first.
    chosen = jnp.sort(jax.lax.top_k(-jnp.min(blocks, axis=-1), k)[1], axis=-1)
    inside = jnp.take_along_axis(blocks, chosen[..., None], axis=-2).reshape(*rows, k * width)
    negative, places = jax.lax.top_k(-inside, k)
    return -negative, jnp.take_along_axis(chosen, places // width, axis=-1) * width + places % width
