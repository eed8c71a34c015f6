"""A pool that is decoded while it is used, through grain: any number of images, in the order of a memory pool.

The feed follows the order of a training; grain's workers read its steps ahead, and each process reads its own rows of
each batch. A step is a position, so that a run resumes at any step and saves nothing of the stream.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.data.resize import Fit, Place
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import DeviceError

_AHEAD = 2  # batches that each worker, or thread, has ready

Order: TypeAlias = Callable[[int, int], Any]  # (step, count) -> ids i32[count, rows], or a dict of them


class Images(Protocol):
    """A ``Split``, or a ``Cache`` of one."""

    def one(self, row: int, fit: Fit, place: Place) -> np.ndarray:
        """u8[S, S, 3]."""
        ...


class StreamArrays(NamedTuple):
    """The arrays on a device of a pool whose images come with the feed."""

    label: jax.Array  # i32[N], -1 where unknown


def fetch(arrays: StreamArrays, item: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The batch of a feed's item {"id": i32[B], "image": u8[B, S, S, 3]}; an id past the end is padding."""
    n = arrays.label.shape[0]
    return item | {"label": arrays.label[jnp.minimum(item["id"], n - 1)], "mask": item["id"] < n}


class StreamPool:
    """Images that are decoded as they are used; a feed is images with their ids.

    Args:
      images, fit, workers: see ``StreamFeed``.
      n: how many images there are.
    """

    fetch = staticmethod(fetch)

    def __init__(self, images: Images, fit: Fit, n: int, layout: Layout, workers: int):
        self.n, self._layout = n, layout
        self._images, self._fit, self._workers = images, fit, workers

    def arrays(self, labels: np.ndarray) -> StreamArrays:
        """The arrays that a compiled step reads of the pool, with these labels i32[N]."""
        return StreamArrays(self._layout.replicate(jnp.asarray(labels, jnp.int32)))

    def feed(self, order: Any, total_steps: int) -> contextlib.AbstractContextManager[Callable[[int, int], Any]]:
        """(step, count) -> the rows of those steps that this process feeds to the compiled step; closed at its end."""
        images, fit, workers, part = self._images, self._fit, self._workers, self._layout.part
        feed = StreamFeed(images, fit, order, self.n, total_steps=total_steps, workers=workers, part=part)
        return contextlib.closing(feed)


class StreamFeed:
    """The batches of a training, read ahead. Asking for any step but the next one restarts the reading.

    Args:
      images: where they come from.
      fit: makes u8[S, S, 3] of them.
      order: gives the ids of each step.
      n: ids of the pool; other ids are padding, and their images black.
      total_steps: how many steps there are.
      workers: processes that decode; 0: threads of this one.
      part: the number of this process and how many there are; each reads its own rows of every batch, in one block.
    """

    def __init__(
        self, images: Images, fit: Fit, order: Order, n: int, *, total_steps: int, workers: int, part: tuple[int, int]
    ):
        self._steps = _Steps(images, fit, order, n, total_steps, part)
        self._workers = workers
        self._iterator: Any = None
        self._next = 0

    def __call__(self, step: int, count: int) -> Any:
        """{"id": i32[count, B], "image": u8[count, B, S, S, 3]}, or a dict of these: the rows of this process."""
        opens = self._iterator is None or step != self._next
        try:
            with _sigterm_blocked() if opens else contextlib.nullcontext():
                if opens:
                    self._open(step)
                batches: Any = self._iterator
                items = [next(batches) for _ in range(count)]  # the first one starts the workers
        except RuntimeError as error:
            raise DeviceError(
                f"a worker that decodes images died ({' '.join(str(error).split())}); it was killed for want of "
                "memory, or /dev/shm is too small: lower runtime.workers or the batch size"
            ) from None
        self._next = step + count
        batches = jax.tree.map(lambda *parts: np.stack(parts), *items)
        for leaf in jax.tree.leaves(items):
            # Workers pass batches in shared memory. Grain 0.2.18 frees it in a thread, which fails if it runs before
            # the array is gone; then the memory of one batch stays, in one of some twenty feeds. So it is freed here.
            if shared := getattr(leaf, "shm", None):
                shared.unlink()
                leaf._unlink_on_del = False
        return batches

    def close(self) -> None:
        """Stops the workers, and frees the memory shared with them."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _open(self, step: int) -> None:
        import grain  # a second, and not needed by pools in memory

        self.close()
        threads = 1 if self._workers else os.cpu_count() or 1
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, _AHEAD))
        dataset = grain.MapDataset.source(self._steps)[step:].to_iter_dataset(options)
        if self._workers:
            options = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=_AHEAD)
            dataset = dataset.mp_prefetch(options, _end_with_parent)
        self._iterator, self._next = iter(dataset), step


@contextlib.contextmanager
def _sigterm_blocked() -> Iterator[None]:
    """Workers and the threads that start them never get SIGTERM, which a launcher may send to all processes at once."""
    resource_tracker.ensure_running()  # it unblocks SIGTERM at its first use, which would otherwise be below
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(worker: int, workers: int) -> None:
    """In a worker: ends it when the process that it reads for has ended in any way; ignores Ctrl-C."""
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)  # multiprocessing's tracker then frees the memory they shared

    threading.Thread(target=wait, daemon=True).start()


class _Steps:
    """The steps of a training as grain's source: a record is this process's part of a batch."""

    def __init__(self, images: Images, fit: Fit, order: Order, n: int, total_steps: int, part: tuple[int, int]):
        self._images, self._fit, self._order, self._n = images, fit, order, n
        self._total_steps, self._part = total_steps, part

    def __len__(self) -> int:
        return self._total_steps

    def __getitem__(self, index: int) -> Any:
        ids = self._order(index, 1)
        if isinstance(ids, dict):
            return {name: self._read(index, value[0]) for name, value in ids.items()}
        return self._read(index, ids[0])

    def _read(self, step: int, ids: np.ndarray) -> dict[str, np.ndarray]:
        process, processes = self._part
        share = len(ids) // processes  # rows are a multiple of the devices, and devices of the processes
        first = process * share
        images = np.zeros((share, self._fit.size, self._fit.size, 3), np.uint8)
        for row in range(first, first + share):
            if ids[row] < self._n:
                images[row - first] = self._images.one(int(ids[row]), self._fit, (step, row))
        return {"id": ids[first : first + share], "image": images}
