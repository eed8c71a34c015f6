"""A pool that lies on every device as uint8: a batch is a gather by id."""

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.distributed.layout import Layout


class MemoryArrays(NamedTuple):
    """The arrays of a pool on a device; a row is an id."""

    image: jax.Array  # u8[N, H, W, 3]
    label: jax.Array  # i32[N], -1 where unknown

    @classmethod
    def of(cls, image: np.ndarray, label: np.ndarray) -> "MemoryArrays":
        """From host arrays."""
        return cls(jnp.asarray(image, jnp.uint8), jnp.asarray(label, jnp.int32))


def fetch(arrays: MemoryArrays, ids: jax.Array) -> dict[str, jax.Array]:
    """The batch of the given ids i32[B]; an id past the end is padding."""
    n = arrays.image.shape[0]
    row = jnp.minimum(ids, n - 1)
    return {"image": arrays.image[row], "label": arrays.label[row], "id": ids, "mask": ids < n}


class MemoryPool:
    """Images on every device; a feed is ids.

    Args:
      images: u8[N, H, W, 3].
    """

    fetch = staticmethod(fetch)

    def __init__(self, images: np.ndarray, layout: Layout):
        self.n, self._layout = len(images), layout
        self.digest = hashlib.sha256(images.data).hexdigest()
        self._images = layout.replicate(images)

    def arrays(self, labels: np.ndarray) -> MemoryArrays:
        """The arrays that a compiled step reads of the pool, with these labels i32[N]."""
        return MemoryArrays(self._images, self._layout.replicate(jnp.asarray(labels, jnp.int32)))

    def feed(self, order: Any, total_steps: int) -> contextlib.AbstractContextManager[Callable[[int, int], Any]]:
        """(step, count) -> the rows of those steps that this process feeds to the compiled step."""
        del total_steps
        part, parts = self._layout.part
        if parts == 1:
            return contextlib.nullcontext(order)

        def rows(ids: np.ndarray) -> np.ndarray:
            share = ids.shape[1] // parts
            return ids[:, part * share : (part + 1) * share]

        return contextlib.nullcontext(lambda step, count: jax.tree.map(rows, order(step, count)))
