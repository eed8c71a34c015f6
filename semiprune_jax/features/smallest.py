"""The smallest numbers of long rows, exactly, without sorting the rows."""

import math

import jax
import jax.numpy as jnp

_WORTH = 4  # numbers of a block, from which on looking at blocks first costs less than it saves


def smallest(values: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest numbers of each row, smallest first, and where they are; of equal ones the first.

    A row is cut into blocks, and only the k blocks with the smallest minima are looked into: a number of another block
    has k smaller or equal ones before it. With blocks of sqrt(n / k) numbers that leaves 2 sqrt(n k) of n to be sorted.

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
    # In their order, so that of equal numbers the first stays the first.
    chosen = jnp.sort(jax.lax.top_k(-jnp.min(blocks, axis=-1), k)[1], axis=-1)
    inside = jnp.take_along_axis(blocks, chosen[..., None], axis=-2).reshape(*rows, k * width)
    negative, places = jax.lax.top_k(-inside, k)
    return -negative, jnp.take_along_axis(chosen, places // width, axis=-1) * width + places % width
