"""Where the images of a run lie while they are used: on the devices, or on disk and read as the run goes.

A training takes its images from a ``Resident`` or a ``Streamed`` pool alike, with the same results: the order is that
of the ids in both. Which images those are is the stage's affair: squares of the whole image, random parts, or centres.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.data import memory, stream
from semiprune_jax.data.cache import Cache
from semiprune_jax.data.memory import MemoryPool
from semiprune_jax.data.resize import CenterCrop, Fit, RandomResizedCrop, Resize
from semiprune_jax.data.sources import Dataset, Split
from semiprune_jax.data.stream import StreamFeed, StreamPool
from semiprune_jax.distributed import processes
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.randomness import hash_keys

_MOST_WORKERS = 64  # each holds whole batches
_SAMPLE = 256  # images that a digest of a streamed pool looks at


class Resident:
    """A pool that lies on every device as uint8; a feed is ids."""

    fetch = staticmethod(memory.fetch)

    def __init__(self, images: np.ndarray, layout: Layout):
        self.n, self._layout = len(images), layout
        self.digest = hashlib.sha256(images.data).hexdigest()
        self._images = layout.replicate(images)

    def arrays(self, labels: np.ndarray) -> MemoryPool:
        """What the compiled step reads of the pool, with these labels i32[N]."""
        return MemoryPool(self._images, self._layout.replicate(jnp.asarray(labels, jnp.int32)))

    def feed(self, order: Any, total_steps: int) -> contextlib.AbstractContextManager[Callable[[int, int], Any]]:
        """(step, count) -> what the compiled step reads of each step: this process' rows of it."""
        del total_steps
        part, parts = self._layout.part
        if parts == 1:
            return contextlib.nullcontext(order)

        def rows(ids: np.ndarray) -> np.ndarray:
            share = ids.shape[1] // parts
            return ids[:, part * share : (part + 1) * share]

        return contextlib.nullcontext(lambda step, count: jax.tree.map(rows, order(step, count)))


class Streamed:
    """A pool that is decoded as it is used; a feed is images with their ids."""

    fetch = staticmethod(stream.fetch)

    def __init__(self, images: Split | Cache, fit: Fit, n: int, layout: Layout, workers: int):
        self.n, self._layout = n, layout
        self._images, self._fit, self._workers = images, fit, workers

    def arrays(self, labels: np.ndarray) -> StreamPool:
        """What the compiled step reads of the pool, with these labels i32[N]."""
        return StreamPool(self._layout.replicate(jnp.asarray(labels, jnp.int32)))

    def feed(self, order: Any, total_steps: int) -> contextlib.AbstractContextManager[Callable[[int, int], Any]]:
        """(step, count) -> what the compiled step reads of each step; read ahead until it is closed."""
        part = self._layout.part
        return contextlib.closing(
            StreamFeed(
                self._images, self._fit, order, self.n, total_steps=total_steps, workers=self._workers, part=part
            )
        )


Pool: TypeAlias = Resident | Streamed


def worker_count(workers: int) -> int:
    """``runtime.workers`` as a number of processes: -1 is one a core, but no more than have batches to make."""
    return min(os.cpu_count() or 1, _MOST_WORKERS) if workers < 0 else workers


class Sizes(NamedTuple):
    """Pixels, and which parts of an image stages see."""

    image: int  # of a network's input
    square: int  # of the squares that whole images become; ``image`` where views are windows of them
    resized: bool  # whether training views are random parts, resized
    exact: bool  # whether supervised ones are parts of the original image, rather than of its square


@dataclass(frozen=True)
class Pools:
    """The pools of one run, each made when it is first needed.

    Args:
      placement: "memory", "stream", or "auto": memory for what takes no more than ``memory_share`` of a device's.
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
        """Whole images of the pool, as squares: what FixMatch sees."""
        return self._place(self.dataset.train, Resize(self.sizes.square), "decoding")

    @cached_property
    def eval_pool(self) -> Pool:
        """Images of the pool as they are predicted."""
        if not self.sizes.resized:
            return self.squares
        return self._streamed(self.dataset.train, self._central, None)  # seen once

    @cached_property
    def test(self) -> Pool | None:
        """Images of the test set."""
        fit = self._central if self.sizes.resized else Resize(self.sizes.square)
        return self._place(self.dataset.test, fit, "decoding the test set") if self.dataset.test else None

    def supervised(self, seed: int, stream: str) -> Pool:
        """Images of the pool that a supervised training sees; random parts are drawn from the seed's stream."""
        if not (self.sizes.resized and self.sizes.exact):
            return self.squares
        return self._streamed(self.dataset.train, RandomResizedCrop(seed, stream, self.sizes.image), None)

    def digests(self) -> dict[str, str]:
        """Digests of pixels, which a listing does not know: of all, where all are in memory, or of a sample."""
        resident = [pool for pool in (self.squares, self.test) if isinstance(pool, Resident)]
        if not self.sizes.resized and len(resident) == 1 + (self.dataset.test is not None):
            return {"all": " ".join(pool.digest for pool in resident)}
        digest = hashlib.sha256()
        for split in filter(None, (self.dataset.train, self.dataset.test)):
            rows = np.sort(np.argsort(hash_keys(0, "sample", split.keys), kind="stable")[:_SAMPLE])
            digest.update(split.read(rows, Resize(self.sizes.square)).tobytes())
        return {"sample": digest.hexdigest()}

    @property
    def _central(self) -> CenterCrop:
        return CenterCrop(self.sizes.square, self.sizes.image)

    def _place(self, split: Split, fit: Resize | CenterCrop, title: str) -> Pool:
        n = len(split.keys)
        # As process 0 finds: all must do the same, and their machines may differ.
        fits = processes.broadcast(n * fit.size**2 * 3 <= self.memory_share * self.layout.memory)
        if self.placement == "stream" or (self.placement == "auto" and not fits):
            return self._streamed(split, fit, self.cache)
        return Resident(split.read(np.arange(n), fit, title), self.layout)

    def _streamed(self, split: Split, fit: Fit, cache: Path | None) -> Streamed:
        images = Cache(cache, split, fit, self.decoder) if cache and not isinstance(fit, RandomResizedCrop) else split
        return Streamed(images, fit, len(split.keys), self.layout, worker_count(self.workers))
