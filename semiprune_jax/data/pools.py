"""The pools of images of one run: where each lies, and which part of its images stages see.

A training gets the same batches from a ``MemoryPool`` as from a ``StreamPool``: both follow the order of the ids.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from semiprune_jax.data.cache import Cache
from semiprune_jax.data.memory import MemoryPool
from semiprune_jax.data.resize import CenterCrop, Fit, RandomResizedCrop, Resize
from semiprune_jax.data.sizes import Sizes
from semiprune_jax.data.split import Dataset, Split
from semiprune_jax.data.stream import StreamPool
from semiprune_jax.distributed import processes
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.randomness import hash_keys

_MOST_WORKERS = 64  # each holds whole batches
_SAMPLE = 256  # images that a digest of a streamed pool covers

Pool: TypeAlias = MemoryPool | StreamPool


def paired(fetch: Callable[[Any, Any], dict]) -> Callable[[Any, dict], dict[str, dict]]:
    """The ``fetch`` of a pool, for FixMatch's items of labelled and unlabelled ids. Unlabelled rows carry no labels."""

    def fetch_pair(arrays: Any, item: dict[str, Any]) -> dict[str, dict]:
        unlabelled = fetch(arrays, item["unlabelled"])
        return {
            "labelled": fetch(arrays, item["labelled"]),
            "unlabelled": unlabelled | {"label": jnp.full_like(unlabelled["label"], -1)},
        }

    return fetch_pair


def worker_count(workers: int) -> int:
    """``runtime.workers`` as a number of processes: -1 is one per core, but no more than have batches to make."""
    return min(os.cpu_count() or 1, _MOST_WORKERS) if workers < 0 else workers


@dataclass(frozen=True)
class Pools:
    """The pools of one run, each made when it is first needed.

    Args:
      placement: "memory", "stream", or "auto": in memory if a pool takes no more than ``memory_share`` of a device's.
      cache: a directory for squares and centres that are streamed; None: they are decoded each time.
      decoder: see ``decode``.
      workers: see ``worker_count``; 0: threads.
    """

    dataset: Dataset
    sizes: Sizes
    layout: Layout
    placement: str
    memory_share: float
    cache: Path | None
    decoder: str
    workers: int

    @cached_property
    def squares(self) -> Pool:
        """Whole images of the pool, as squares; FixMatch sees these."""
        return self._place(self.dataset.train, Resize(self.sizes.square), "decoding")

    @cached_property
    def eval_pool(self) -> Pool:
        """Images of the pool as they are predicted."""
        if not self.sizes.resized:
            return self.squares
        return self._stream(self.dataset.train, self._center_crop, None)  # seen once

    @cached_property
    def test(self) -> Pool | None:
        """Images of the test set."""
        fit = self._center_crop if self.sizes.resized else Resize(self.sizes.square)
        return self._place(self.dataset.test, fit, "decoding the test set") if self.dataset.test else None

    def supervised(self, seed: int, stream: str) -> Pool:
        """Images of the pool that a supervised training sees; random crops are drawn from the seed's stream."""
        if not (self.sizes.resized and self.sizes.exact):
            return self.squares
        return self._stream(self.dataset.train, RandomResizedCrop(seed, stream, self.sizes.image), None)

    def digests(self) -> dict[str, str]:
        """Digests of pixels, which a listing does not know: of all images if all are in memory, or of a sample."""
        in_memory = [pool for pool in (self.squares, self.test) if isinstance(pool, MemoryPool)]
        if not self.sizes.resized and len(in_memory) == 1 + (self.dataset.test is not None):
            return {"all": " ".join(pool.digest for pool in in_memory)}
        digest = hashlib.sha256()
        for split in filter(None, (self.dataset.train, self.dataset.test)):
            rows = np.sort(np.argsort(hash_keys(0, "sample", split.keys), kind="stable")[:_SAMPLE])
            digest.update(split.read(rows, Resize(self.sizes.square)).tobytes())
        return {"sample": digest.hexdigest()}

    @property
    def _center_crop(self) -> CenterCrop:
        return CenterCrop(self.sizes.square, self.sizes.image)

    def _place(self, split: Split, fit: Resize | CenterCrop, title: str) -> Pool:
        n = len(split.keys)
        # Process 0 decides: all must do the same, and their machines may differ.
        fits = processes.broadcast(n * fit.size**2 * 3 <= self.memory_share * self.layout.memory)
        if self.placement == "stream" or (self.placement == "auto" and not fits):
            return self._stream(split, fit, self.cache)
        return MemoryPool(split.read(np.arange(n), fit, title), self.layout)

    def _stream(self, split: Split, fit: Fit, cache: Path | None) -> StreamPool:
        images = Cache(cache, split, fit, self.decoder) if cache and not isinstance(fit, RandomResizedCrop) else split
        return StreamPool(images, fit, len(split.keys), self.layout, worker_count(self.workers))
