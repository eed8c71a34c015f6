"""Where every random number of a run comes from.

Two families, both functions of the run's seed and of names, never of devices, processes or time:

* on the device: ``stream_key(seed, "fixmatch")``, then ``example_keys(key, step, rows)``;
* on the host: ``hash_keys(seed, "label", keys)``, so that new images change nothing that was drawn before.

Importing this module does not import JAX, which the command line loads only once a config is valid.
"""

import hashlib
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jax


def stream_key(seed: int, stream: str) -> "jax.Array":
    """Typed threefry key of one named stream ("init", "fixmatch", ...) of a run."""
    import jax

    root = jax.random.key(seed, impl="threefry2x32")
    return jax.random.fold_in(root, zlib.crc32(stream.encode()))


def example_keys(key: "jax.Array", step: "jax.Array", rows: "jax.Array") -> "jax.Array":
    """Keys [B] of the examples in the given rows of one global batch.

    Args:
      key: typed key of the stream.
      step: i32 scalar, the global step.
      rows: i32[B], rows of the *global* batch, so that a shard draws as the whole batch would.
    """
    import jax

    at_step = jax.random.fold_in(key, step)
    return jax.vmap(lambda row: jax.random.fold_in(at_step, row))(rows)


def row_keys(key: "jax.Array", step: "jax.Array", rows: int, axis_name: str | None) -> "jax.Array":
    """Keys [rows] of this device's share of a global batch; without ``axis_name``, of the whole batch."""
    import jax
    import jax.numpy as jnp

    first = jax.lax.axis_index(axis_name) * rows if axis_name else 0
    return example_keys(key, step, first + jnp.arange(rows))


def hash_keys(seed: int, purpose: str, keys: Sequence[str]) -> np.ndarray:
    """uint64[N]: one hash per example key, a pure function of (seed, purpose, key)."""
    prefix = hashlib.blake2b(f"{seed}/{purpose}/".encode(), digest_size=8)
    hashes = np.empty(len(keys), np.uint64)
    for i, key in enumerate(keys):
        digest = prefix.copy()
        digest.update(key.encode())
        hashes[i] = int.from_bytes(digest.digest(), "big")
    return hashes


def hash_uniform(seed: int, purpose: str, keys: Sequence[str]) -> np.ndarray:
    """f64[N] in the open interval (0, 1): ``hash_keys`` read as uniform numbers.

    >>> hash_uniform(0, "tie", ["cat/1.jpg", "dog/2.jpg"]).round(3)
    array([0.886, 0.089])
    """
    # The top 53 bits fill a double exactly; the half step keeps 0 and 1 out.
    return ((hash_keys(seed, purpose, keys) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
