"""The order in which examples are visited: a function of (seed, stream, epoch) and of nothing else.

A sampler turns a step number into ids, so the position in a training is its step and there is nothing else to save.
"""

import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np


@lru_cache(maxsize=8)
def epoch_order(seed: int, stream: str, epoch: int, n: int) -> np.ndarray:
    """i64[n]: the permutation of 0..n-1 in which the named stream visits its examples in one epoch (or pass)."""
    entropy = (seed, zlib.crc32(stream.encode()), epoch)
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy))).permutation(n)
    order.setflags(write=False)  # shared by the cache
    return order


class EpochSampler:
    """Whole epochs, each of which visits every id exactly once; the last batch of an epoch is padded.

    Args:
      seed, stream: name the order.
      ids: i64[n], the examples trained on.
      batch_size: of the global batch.
      rows: rows of the padded batch, at least ``batch_size``.
      pad_id: the id that padding rows carry: past the end of every array indexed by ids.
    """

    def __init__(self, seed: int, stream: str, ids: np.ndarray, *, batch_size: int, rows: int, pad_id: int):
        self.ids, self.batch_size, self.rows, self.pad_id = np.asarray(ids), batch_size, rows, pad_id
        self.seed, self.stream = seed, stream
        self.steps_per_epoch = -(-len(self.ids) // batch_size)

    def __call__(self, step: int, count: int) -> np.ndarray:
        """i32[count, rows]: the ids of ``count`` steps from ``step`` on; they must lie in one epoch."""
        epoch, first = divmod(step, self.steps_per_epoch)
        if first + count > self.steps_per_epoch:
            raise ValueError(f"steps {step}..{step + count - 1} cross an epoch of {self.steps_per_epoch} steps")
        order = epoch_order(self.seed, self.stream, epoch, len(self.ids))
        feed = np.full((count, self.rows), self.pad_id, np.int32)
        for row in range(count):
            chosen = self.ids[order[(first + row) * self.batch_size : (first + row + 1) * self.batch_size]]
            feed[row, : len(chosen)] = chosen
        return feed


class EndlessSampler:
    """An endless chain of whole permutations, cut by step; arguments as for ``EpochSampler``."""

    def __init__(self, seed: int, stream: str, ids: np.ndarray, *, batch_size: int, rows: int, pad_id: int):
        self.ids, self.batch_size, self.rows, self.pad_id = np.asarray(ids), batch_size, rows, pad_id
        self.seed, self.stream = seed, stream

    def __call__(self, step: int, count: int) -> np.ndarray:
        """i32[count, rows]: the ids of ``count`` steps from ``step`` on."""
        n, first = len(self.ids), step * self.batch_size
        passes, offsets = np.divmod(np.arange(first, first + count * self.batch_size), n)
        chosen = np.empty(len(offsets), np.int64)
        for number in np.unique(passes):
            here = passes == number
            chosen[here] = self.ids[epoch_order(self.seed, self.stream, int(number), n)[offsets[here]]]
        feed = np.full((count, self.rows), self.pad_id, np.int32)
        feed[:, : self.batch_size] = chosen.reshape(count, self.batch_size)
        return feed


class SequentialSampler:
    """The ids i64[n] once, in order; for evaluation and prediction. The last batch is padded."""

    def __init__(self, ids: np.ndarray, *, rows: int, pad_id: int):
        self.ids, self.rows, self.pad_id = np.asarray(ids, np.int32), rows, pad_id
        self.steps = -(-len(ids) // rows)

    def __call__(self, step: int, count: int) -> np.ndarray:
        """i32[count, rows]: the ids of ``count`` steps from ``step`` on."""
        feed = np.full(count * self.rows, self.pad_id, np.int32)
        chosen = self.ids[step * self.rows : (step + count) * self.rows]
        feed[: len(chosen)] = chosen
        return feed.reshape(count, self.rows)


class PairedSampler(NamedTuple):
    """FixMatch's two streams."""

    labelled: EndlessSampler
    unlabelled: EndlessSampler

    def __call__(self, step: int, count: int) -> dict[str, np.ndarray]:
        """i32[count, rows] of each."""
        return {"labelled": self.labelled(step, count), "unlabelled": self.unlabelled(step, count)}
