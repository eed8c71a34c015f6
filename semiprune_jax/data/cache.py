"""Fitted images, kept on a local disk: after the first pass nothing has to be decoded.

Two files: the images, u8[N, S, S, 3], and a checksum of each, u32[N], 0 where there is no image yet. A row is written
when it is first needed, the image before its checksum, and checked whenever it is read: one that a full disk, a kill or
a flipped bit has left incomplete or damaged is decoded again. Processes may share a cache: they write the same bytes.
"""

import hashlib
import os
import shutil
import zlib
from pathlib import Path

import numpy as np

from semiprune_jax.data.resize import CenterCrop, Place, Resize
from semiprune_jax.data.split import Split
from semiprune_jax.errors import DeviceError

_VERSION = 1  # of the meaning of the bytes: raised when a fit or the layout of the files changes
# Names of the fits in names of files, which outlive those of the classes.
_NAMES = {Resize: "Square", CenterCrop: "Central"}


class Cache:
    """The images of one split under one fit.

    Args:
      directory: on a local disk; made if it does not exist.
      split, fit: whose images are kept, and how they are fitted. A split with other contents, another fit and another
        decoder have files of their own.
      decoder: see ``decode``.

    Raises:
      DeviceError: the directory cannot be written, or the disk has no room for the images that are missing.
    """

    size: int

    def __init__(self, directory: Path, split: Split, fit: Resize | CenterCrop, decoder: str):
        self._split, self._fit, self.size = split, fit, fit.size
        kind, settings = _NAMES[type(fit)], ", ".join(f"{name}={value}" for name, value in fit._asdict().items())
        identity = f"{_VERSION} {split.content} {kind}({settings}) {decoder}"
        name = f"{kind.lower()}{fit.size}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        self._images, self._sums = directory / f"{name}.u8", directory / f"{name}.crc32"
        self._row = fit.size * fit.size * 3
        self._files: tuple[int, np.ndarray, np.ndarray] | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._make_room(len(split.keys))
        except OSError as error:
            raise DeviceError(
                f"data.cache = '{directory}' cannot be used: {error.strerror}; name a directory on a local disk"
            ) from None

    def one(self, row: int, fit: object = None, place: Place = (0, 0)) -> np.ndarray:
        """u8[S, S, 3]: the image, decoded if the cache does not hold it yet; see ``Split.one``."""
        file, images, sums = self._open()
        image = images[row]
        if sums[row] and sums[row] == _checksum(image):
            return image
        image = np.ascontiguousarray(self._split.one(row, self._fit))
        # Written, not assigned through the map: on a full disk this raises an error, that would be a signal.
        os.pwrite(file, image.data, row * self._row)
        with self._sums.open("r+b") as sums_file:
            os.pwrite(sums_file.fileno(), _checksum(image).tobytes(), row * 4)
        return image

    def count(self) -> int:
        """How many images the cache holds."""
        return int(np.count_nonzero(self._open()[2]))

    def _open(self) -> tuple[int, np.ndarray, np.ndarray]:
        if self._files is None:
            n = len(self._split.keys)
            file = os.open(self._images, os.O_RDWR)
            images = np.memmap(self._images, np.uint8, "r", shape=(n, self.size, self.size, 3))
            self._files = file, images, np.memmap(self._sums, np.uint32, "r", shape=(n,))
        return self._files

    def _make_room(self, n: int) -> None:
        for path, size in ((self._images, n * self._row), (self._sums, n * 4)):
            with path.open("ab") as file:
                if file.tell() != size:
                    file.truncate(size)  # sparse: the disk fills as rows are written
        missing = (n - self.count()) * self._row
        free = shutil.disk_usage(self._images.parent).free
        if missing > free:
            raise DeviceError(
                f"data.cache = '{self._images.parent}' needs {missing / 1e9:.1f} GB more, but {free / 1e9:.1f} GB are "
                "free; name a larger disk, or none"
            )

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_files": None}  # each process opens its own


def _checksum(image: np.ndarray) -> np.uint32:
    return np.uint32(zlib.crc32(np.ascontiguousarray(image).data) or 1)
