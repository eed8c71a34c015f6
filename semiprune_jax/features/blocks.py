"""Blocks of rows: how work over all pairs of rows fits a device's memory."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BLOCK_BYTES = 256 << 20  # of the largest array of one block, on each device


def checked(features: np.ndarray) -> np.ndarray:
    """f32[N, D]; ValueError if it is not that, or not finite."""
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"embeddings have shape {features.shape}; expected [N, D], neither of them 0")
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(features)} embeddings are not finite, the first in row {bad.argmax()}"
        )
    return features


def by_blocks(function: Callable, rows: np.ndarray, columns: int, *fixed: np.ndarray) -> Iterator[tuple[slice, tuple]]:
    """``function(block, ids, *fixed)`` for one block of rows after another, spread over the devices.

    Compiled once for each shape of a function; one that is called again and again should be a module's own.

    Args:
      function: (block f32[R, D], their numbers i32[R], *fixed) -> tree of arrays [R, ...].
      rows: f32[N, D].
      columns: floats that a row of the block takes, at most; decides how many rows a block has.
      fixed: arrays that every block is given whole.

    Yields:
      Which rows, and what the function made of them, on the host; padding is left out.
    """
    compiled, split, whole = _program(function, len(fixed))
    devices = split.mesh.size
    share = max(1, min(BLOCK_BYTES // (4 * columns), -(-len(rows) // devices)))
    size = share * devices
    fixed_on_devices = jax.device_put(fixed, whole)
    for first in range(0, len(rows), size):
        block = rows[first : first + size]
        count = len(block)
        numbers = np.arange(first, first + size, dtype=np.int32)
        padded = np.pad(block, [(0, size - count), (0, 0)]) if count < size else block
        made = compiled(jax.device_put(padded, split), jax.device_put(numbers, split), *fixed_on_devices)
        yield slice(first, first + count), jax.tree.map(lambda x, count=count: x[:count], jax.device_get(made))


@lru_cache(maxsize=16)
def _program(function: Callable, fixed: int) -> tuple[Callable, NamedSharding, NamedSharding]:
    """The compiled function, and how blocks and what every block is given lie on the devices."""
    mesh = Mesh(np.array(jax.local_devices()), ("rows",), axis_types=(AxisType.Auto,))
    split, whole = NamedSharding(mesh, PartitionSpec("rows")), NamedSharding(mesh, PartitionSpec())
    return jax.jit(function, in_shardings=(split, split, *[whole] * fixed), out_shardings=split), split, whole
