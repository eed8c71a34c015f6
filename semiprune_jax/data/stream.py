"""A pool that is read while it is used, over grain: any number of images, in the order of a memory pool.

The feed is the order of a training; grain's workers read its steps ahead, each process its own rows of each batch. A
step is a position, so that a run resumes at any and nothing of a stream is saved.
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
from semiprune_jax.errors import DeviceError

_AHEAD = 2  # batches that each worker, or thread, has ready


Order: TypeAlias = Callable[[int, int], Any]  # (step, count) -> ids [count, rows], or a dict of them; see ``order``


class Images(Protocol):
    """A ``Split``, or a ``Cache`` of one."""

    def one(self, row: int, fit: Fit, place: Place) -> np.ndarray:
        """u8[S, S, 3]."""
        ...


class StreamPool(NamedTuple):
    """What lies on the devices of a pool whose images come with the feed."""

    label: jax.Array  # i32[N], -1 where unknown


def fetch(pool: StreamPool, item: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The batch of a feed's item {"id": i32[B], "image": u8[B, S, S, 3]}; an id past the end is padding."""
    n = pool.label.shape[0]
    return item | {"label": pool.label[jnp.minimum(item["id"], n - 1)], "mask": item["id"] < n}


class StreamFeed:
    """The batches of a training, read ahead. Steps are asked for one after the other; another starts the reading anew.

    Args:
      images: where they come from.
      fit: how they become u8[S, S, 3].
      order: of which ids.
      n: ids of the pool; others are padding, and black.
      total_steps: there are no steps past it.
      workers: processes that decode; 0: threads of this one.
      part: this process and how many there are; each reads its own rows of every batch, in one block.
    """

    def __init__(
        self, images: Images, fit: Fit, order: Order, n: int, *, total_steps: int, workers: int, part: tuple[int, int]
    ):
        self._steps = _Steps(images, fit, order, n, total_steps, part)
        self._workers = workers
        self._iterator: Any = None
        self._next = 0

    def __call__(self, step: int, count: int) -> Any:
        """{"id": i32[count, B], "image": u8[count, B, S, S, 3]}, or a dict of these: this process' rows."""
        opens = self._iterator is None or step != self._next
        try:
            with _deaf_to_the_end() if opens else contextlib.nullcontext():
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
            # Workers hand over shared memory. Grain 0.2.18 frees it in a thread, which fails where that is quicker than
            # the end of the array, and the memory stays: one batch in some twenty feeds. So it is freed here.
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
            dataset = dataset.mp_prefetch(options, _end_with_the_parent)
        self._iterator, self._next = iter(dataset), step


@contextlib.contextmanager
def _deaf_to_the_end() -> Iterator[None]:
    """Workers, and the threads that start them, never hear SIGTERM: a launcher may send it to all processes at once."""
    resource_tracker.ensure_running()  # at its first use, which would be below, it unblocks SIGTERM
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_the_parent(worker: int, workers: int) -> None:
    """In a worker: its end is that of the process it reads for, however that one ends, and no Ctrl-C of its own."""
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)  # multiprocessing's tracker then frees the memory they shared

    threading.Thread(target=follow, daemon=True).start()


class _Steps:
    """The steps of a training as grain's source: a record is this process' part of a batch."""

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
        share = len(ids) // processes  # rows are a multiple of the devices, and these of the processes
        first = process * share
        images = np.zeros((share, self._fit.size, self._fit.size, 3), np.uint8)
        for row in range(first, first + share):
            if ids[row] < self._n:
                images[row - first] = self._images.one(int(ids[row]), self._fit, (step, row))
        return {"id": ids[first : first + share], "image": images}
