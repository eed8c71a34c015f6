"""Blocks of rows, so that work over all pairs of rows fits into the memory of the devices."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from semiprune_jax.errors import ArgumentError

BLOCK_BYTES = 256 << 20  # of the largest array of one block, on each device

Block: TypeAlias = tuple[slice, jax.Array, jax.Array]  # which rows, f32[R, D], and their numbers i32[R]

_named: ContextVar[tuple[Any, ...]] = ContextVar("devices", default=())


@contextmanager
def devices(used: Sequence[Any]) -> Iterator[None]:
    """Within it, work on features uses these devices of this process; without it, all of them.

    Blocks are spread over the devices; arrays that are not cut into blocks lie on the first one.
    """
    token = _named.set(tuple(used))
    try:
        with jax.default_device(used[0]):
            yield
    finally:
        _named.reset(token)


def checked(features: np.ndarray) -> np.ndarray:
    """f32[N, D]; ValueError if the shape is another one or a value is not finite."""
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or 0 in features.shape:
        raise ArgumentError(f"embeddings have shape {features.shape}; expected [N, D], neither of them 0")
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise ArgumentError(
            f"{int(bad.sum())} of {len(features)} embeddings are not finite, the first in row {bad.argmax()}"
        )
    return features


def nearer(rows: jax.Array, centre: jax.Array, square: jax.Array) -> jax.Array:
    """The squared distances of rows f32[R, D] to their nearest centres, f32[R], once ``centre`` f32[D] is one of them.

    Args:
      square: f32[R], the squared distances before.
    """
    new = jnp.sum((rows - centre[None]) ** 2, axis=1)
    # XLA would fuse jnp.minimum into the sum, and a CPU would then add one number at a time: 64 ms instead of 6.5 for
    # 100,000 x 512.
    return jnp.where(new < square, new, square)


def placed(rows: np.ndarray, columns: int) -> Iterator[Block]:
    """One block of rows f32[N, D] after another, spread over the devices; the last one is padded.

    Args:
      columns: the largest number of floats that the work on one row needs; it determines the size of a block.
    """
    split, _ = _shardings(_used())
    share = max(1, min(BLOCK_BYTES // (4 * columns), -(-len(rows) // split.mesh.size)))
    size = share * split.mesh.size
    for first in range(0, len(rows), size):
        block = rows[first : first + size]
        numbers = np.arange(first, first + size, dtype=np.int32)
        padded = np.pad(block, [(0, size - len(block)), (0, 0)]) if len(block) < size else block
        yield slice(first, first + len(block)), jax.device_put(padded, split), jax.device_put(numbers, split)


def each(
    function: Callable, blocks: Iterable[Block], *fixed: np.ndarray, whole: int = 0
) -> Iterator[tuple[slice, tuple]]:
    """``function(block, numbers, *fixed)`` for one block after another.

    It is compiled once for each function and shape; a function that is used repeatedly should belong to a module.

    Args:
      function: (block f32[R, D], its row numbers i32[R], *fixed) -> arrays [R, ...], then ``whole`` other arrays.
      fixed: arrays that are passed whole with every block.
      whole: how many results belong to the block instead of its rows.

    Yields:
      Which rows, and the results of the function on the host, without padding.
    """
    used = _used()
    compiled = _program(function, len(fixed), whole, used)
    fixed_on_devices = jax.device_put(fixed, _shardings(used)[1])
    for rows, block, numbers in blocks:
        of_rows, of_block = jax.device_get(compiled(block, numbers, *fixed_on_devices))
        yield rows, (*(x[: rows.stop - rows.start] for x in of_rows), *of_block)


def _used() -> tuple[Any, ...]:
    return _named.get() or tuple(jax.local_devices())


@lru_cache(maxsize=4)
def _shardings(used: tuple[Any, ...]) -> tuple[NamedSharding, NamedSharding]:
    """The layouts of arrays that are split by rows, and of arrays that lie whole on each device."""
    mesh = Mesh(np.array(used), ("rows",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("rows")), NamedSharding(mesh, PartitionSpec())


@lru_cache(maxsize=16)
def _program(function: Callable, fixed: int, whole: int, used: tuple[Any, ...]) -> Callable:
    def parted(*arguments: jax.Array) -> tuple[tuple, tuple]:
        made = function(*arguments)
        return made[: len(made) - whole], made[len(made) - whole :]

    own, everywhere = _shardings(used)
    return jax.jit(parted, in_shardings=(own, own, *[everywhere] * fixed), out_shardings=(own, everywhere))
