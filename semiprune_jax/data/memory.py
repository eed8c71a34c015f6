"""A pool that lies on the device as uint8: a batch is a gather by id."""

from collections.abc import Callable
from typing import Any, NamedTuple

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


def paired(fetch: Callable[[Any, Any], dict[str, jax.Array]]) -> Callable:
    """From the ``fetch`` of a pool FixMatch's: of labelled and unlabelled items. Unlabelled rows carry no labels."""

    def fetch_pair(pool: Any, item: dict[str, Any]) -> dict[str, dict[str, jax.Array]]:
        unlabelled = fetch(pool, item["unlabelled"])
        return {
            "labelled": fetch(pool, item["labelled"]),
            "unlabelled": unlabelled | {"label": jnp.full_like(unlabelled["label"], -1)},
        }

    return fetch_pair
