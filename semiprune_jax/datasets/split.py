"""What every source hands out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from semiprune_jax.errors import DataError


@dataclass(frozen=True)
class Split:
    """One set of images. A row is an example's id; its key is the name that outlives the run."""

    keys: Sequence[str]
    labels: np.ndarray  # i32[N], -1 where the source knows none
    content: str  # digest by which a changed split is noticed
    # (ids i64[n], called with the number of images read so far) -> u8[n, S, S, 3]
    read: Callable[..., np.ndarray]
    # () -> id -> why it cannot be decoded; None: all can
    find_broken: Callable[[], dict[int, str]] | None = None

    def read_all(self, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """u8[N, S, S, 3]."""
        return self.read(np.arange(len(self.keys)), progress)


def check_keys(keys: Iterable[str], source: str) -> None:
    """DataError if a key would not fit on a line of a UTF-8 text file."""
    for key in keys:
        if not key.isprintable():  # neither control characters nor bytes that are not UTF-8
            raise DataError(f"{source} holds the name {key!r}, which cannot be written on a line of text; rename it")


@dataclass(frozen=True)
class Dataset:
    """A pool, its test set if there is one, and the names of the classes."""

    classes: tuple[str, ...]
    train: Split
    test: Split | None
    image_size: int
    skipped: tuple["Skipped", ...] = ()  # what data.skip_bad left out of train and test
    corruption: np.ndarray | None = None  # i8[N] of train: index into variants.KINDS, -1 for none


class Skipped(NamedTuple):
    """An image that cannot be decoded."""

    part: str  # train | test
    key: str
    reason: str
