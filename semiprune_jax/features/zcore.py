"""ZCore: how much of an embedding space an example stands for, without labels (Griffin et al., arXiv:2411.15349).

Points are drawn in two random dimensions at a time. The example nearest to a point covers it, and the neighbours of
that example are redundant. In the released code (voxel51/zcore) forked workers draw the same random numbers; here every
draw is independent.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.features import blocks
from semiprune_jax.features.neighbours import smallest

_EXPONENT = 4.0  # of the distance by which redundant examples share a loss


def zcore(
    features: np.ndarray,
    seed: int = 0,
    *,
    samples: int = 1_000_000,
    neighbours: int = 1000,
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """The score f32[N] in [0, 1]; high is worth keeping.

    Points are drawn, in each dimension, from the triangular density over its range whose mode is its median. Each point
    adds 1 to the score of the nearest example (in L1; of equally near ones the lower id). The ``neighbours`` examples
    nearest to that one, or all others where there are fewer, lose 1 together, in proportion to distance^-4; where the
    nearest of them is at a distance of 0, it loses all of it. A number in (0, 1) is added to the score of each example,
    as the released ``rand_init`` does, before scores are scaled to [0, 1].

    Args:
      features: f32[N, D]; dimensions that are constant are left out.
      noise: f64[N], the numbers added; drawn if None.

    Raises:
      ArgumentError: fewer than two dimensions vary, ``samples`` is not positive, or features are not finite.
    """
    features = blocks.checked(features)
    n = len(features)
    features = features[:, features.min(axis=0) < features.max(axis=0)]
    if features.shape[1] < 2:
        raise ArgumentError(f"{features.shape[1]} dimensions of the embeddings vary; ZCore needs two or more")
    if samples < 1:
        raise ArgumentError(f"samples = {samples}; expected 1 or more")
    rng, k = np.random.default_rng(seed), min(neighbours, n - 1)
    spread = np.quantile(features, [0.0, 0.5, 1.0], axis=0).astype(np.float32)
    columns = jax.device_put(np.ascontiguousarray(features.T))
    score = rng.random(n) if noise is None else np.array(noise, np.float64)
    size = int(min(samples, max(1, blocks.BLOCK_BYTES // (16 * n))))
    for first in range(0, samples, size):
        dimensions, points = draw(rng, size, spread)
        counted = min(size, samples - first)
        nearest, near, share = (x[:counted] for x in jax.device_get(_cover(columns, dimensions, points, k, _EXPONENT)))
        score += np.bincount(nearest, minlength=n)
        score -= np.bincount(near.ravel(), weights=share.ravel(), minlength=n)
    low, high = score.min(), score.max()
    return ((score - low) / (high - low if high > low else 1.0)).astype(np.float32)


def draw(rng: np.random.Generator, count: int, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two different dimensions, i32[count, 2], and a point in them, f32[count, 2].

    Args:
      spread: f32[3, D], minimum, median and maximum of each dimension.
    """
    width = spread.shape[1]
    first = rng.integers(0, width, count)
    second = (first + rng.integers(1, width, count)) % width
    dimensions = np.stack([first, second], axis=1).astype(np.int32)
    low, mode, high = (row[dimensions].astype(np.float64) for row in spread)
    u = rng.random((count, 2))
    rising = low + np.sqrt(u * (high - low) * (mode - low))
    falling = high - np.sqrt((1.0 - u) * (high - low) * (high - mode))
    return dimensions, np.where(u * (high - low) < mode - low, rising, falling).astype(np.float32)


@partial(jax.jit, static_argnums=3)
def _cover(columns: jax.Array, dimensions: jax.Array, points: jax.Array, k: int, exponent: float):
    """The nearest example of each sample i32[B], the k nearest others to that example i32[B, k], and their losses."""

    def one(dimension: jax.Array, point: jax.Array):
        x, y = columns[dimension[0]], columns[dimension[1]]
        nearest = jnp.argmin(jnp.abs(x - point[0]) + jnp.abs(y - point[1]))
        away = (jnp.abs(x - x[nearest]) + jnp.abs(y - y[nearest])).at[nearest].set(jnp.inf)
        distance, near = smallest(away, k)
        ratio = distance[0] / distance  # at most 1: powers of distances themselves would leave the range of floats
        share = jnp.where(distance[0] > 0, ratio**exponent, jnp.arange(k) == 0)
        return nearest, near, share / jnp.sum(share)

    return jax.vmap(one)(dimensions, points)
