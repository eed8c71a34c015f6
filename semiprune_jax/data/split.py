"""Datasets as every source gives them, and how their images are read."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import UnidentifiedImageError
from tqdm import tqdm

from semiprune_jax.data.resize import Fit, Place
from semiprune_jax.errors import DataError

_CHUNK = 1024  # images read between two looks at the progress bar
_REMEDY = "repair or remove them, or leave them out: --config.data.skip_bad=True, with --overwrite"


@dataclass(frozen=True)
class Split:
    """One set of images. The row of an example is its id; its key is the name that outlives the run."""

    keys: Sequence[str]
    labels: np.ndarray  # i32[N], -1 where the source knows none
    content: str  # a digest, which differs if the split has changed
    where: str  # the source, as messages name it
    image: Callable[[int], np.ndarray]  # id -> u8[H, W, 3], upright; raises anything if it cannot be decoded

    def one(self, row: int, fit: Fit, place: Place = (0, 0)) -> np.ndarray:
        """u8[S, S, 3]: one image, fitted; DataError if it cannot be decoded."""
        try:
            return fit(self.image(row), place)
        except Exception as error:
            raise DataError(
                f"an image in {self.where} cannot be decoded: {self.keys[row]} ({_reason(error)}); {_REMEDY}"
            ) from None

    def read(self, ids: np.ndarray, fit: Fit, title: str = "") -> np.ndarray:
        """u8[n, S, S, 3]: images decoded in threads and fitted, with a progress bar if there is a title.

        Raises:
          DataError: names all images that cannot be decoded.
        """
        images = np.empty((len(ids), fit.size, fit.size, 3), np.uint8)

        def keep(row: int, image: np.ndarray) -> None:
            images[row] = fit(image, (0, 0))

        if broken := self._visit(ids, keep, title):
            some = "; ".join(f"{self.keys[i]} ({why})" for i, why in list(broken.items())[:10])
            raise DataError(
                f"{len(broken)} of {len(ids)} images in {self.where} cannot be decoded: {some}"
                f"{'; ...' if len(broken) > 10 else ''}; {_REMEDY}"
            )
        return images

    def find_broken(self) -> dict[int, str]:
        """id -> reason, of the images that cannot be decoded; reads all of them."""
        return self._visit(np.arange(len(self.keys)), lambda row, image: None, "checking")

    def _visit(self, ids: np.ndarray, keep: Callable[[int, np.ndarray], None], title: str) -> dict[int, str]:
        """Decodes images in threads and passes each to ``keep``; id -> reason, of those that cannot be decoded."""
        broken: dict[int, str] = {}

        def one(row: int) -> None:
            try:
                keep(row, self.image(int(ids[row])))
            except Exception as error:  # a decoder may raise anything on a broken file
                broken[int(ids[row])] = _reason(error)

        shown = tqdm(total=len(ids), desc=title, unit="img", leave=False, disable=None if title else True)
        with shown, ThreadPoolExecutor(os.cpu_count()) as threads:
            for first in range(0, len(ids), _CHUNK):
                last = min(first + _CHUNK, len(ids))
                list(threads.map(one, range(first, last)))
                shown.update(last - first)
        return dict(sorted(broken.items()))


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
    skipped: tuple["Skipped", ...] = ()  # images that data.skip_bad left out of train and test
    corruption: np.ndarray | None = None  # i8[N] of train: index into variants.KINDS, -1 for none


class Skipped(NamedTuple):
    """An image that cannot be decoded."""

    part: str  # train | test
    key: str
    reason: str


def _reason(error: Exception) -> str:
    # Pillow shows the buffer it was given, which differs from run to run.
    text = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return text or type(error).__name__
