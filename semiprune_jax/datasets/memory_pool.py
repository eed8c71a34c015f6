"""A pool that lies on the device as uint8: a batch is a gather by id."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class MemoryPool(NamedTuple):
    """Images and labels of a whole pool; a row is an id."""

    image: jax.Array  # u8[N, H, W, 3]
    label: jax.Array  # i32[N], -1 where unknown

    @classmethod
    def of(cls, image: np.ndarray, label: np.ndarray) -> "MemoryPool":
        """From host arrays."""
        return cls(jnp.asarray(image, jnp.uint8), jnp.asarray(label, jnp.int32))


def fetch(pool: MemoryPool, ids: jax.Array) -> dict[str, jax.Array]:
    """The batch of the given ids i32[B]; an id past the end is padding."""
    n = pool.image.shape[0]
    row = jnp.minimum(ids, n - 1)
    return {"image": pool.image[row], "label": pool.label[row], "id": ids, "mask": ids < n}


def fetch_pair(pool: MemoryPool, ids: dict[str, jax.Array]) -> dict[str, dict[str, jax.Array]]:
    """FixMatch's batch: labelled and unlabelled ids of the same pool. Unlabelled rows carry no labels."""
    unlabelled = fetch(pool, ids["unlabelled"])
    return {
        "labelled": fetch(pool, ids["labelled"]),
        "unlabelled": unlabelled | {"label": jnp.full_like(unlabelled["label"], -1)},
    }
