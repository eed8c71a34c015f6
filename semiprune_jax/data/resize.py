"""How the host brings decoded images of any size to one size. All in Pillow's bilinear resampling.

A fit is called with an image u8[H, W, 3] and its place (step, row of the global batch), and gives u8[S, S, 3]. Its
random numbers are a function of the place, so that workers and processes may share the rows of a batch as they like.
"""

import math
import zlib
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from semiprune_jax.augment import boxes

Place: TypeAlias = tuple[int, int]


class Resize(NamedTuple):
    """Both sides resized, whatever the aspect."""

    size: int

    def __call__(self, image: np.ndarray, place: Place = (0, 0)) -> np.ndarray:
        """u8[size, size, 3]."""
        return resize(image, self.size, self.size)


class CenterCrop(NamedTuple):
    """The shorter side resized, then the centre cut out, as torchvision tests ImageNet's networks."""

    shorter: int
    size: int

    def __call__(self, image: np.ndarray, place: Place = (0, 0)) -> np.ndarray:
        """u8[size, size, 3]."""
        height, width = image.shape[:2]
        scale = self.shorter / min(height, width)
        # The longer side is truncated, as torchvision does; exact where the ratio is.
        height, width = (max(self.shorter, int(side * scale + 1e-9)) for side in (height, width))
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return resize(image, height, width)[top : top + self.size, left : left + self.size]


class RandomResizedCrop(NamedTuple):
    """A box of random area and aspect, resized: torchvision's RandomResizedCrop, without the flip."""

    seed: int
    stream: str
    size: int

    def __call__(self, image: np.ndarray, place: Place) -> np.ndarray:
        """u8[size, size, 3]."""
        entropy = (self.seed, zlib.crc32(self.stream.encode()), *place)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))
        top, left, height, width = random_box(rng, *image.shape[:2])
        return resize(image[top : top + height, left : left + width], self.size, self.size)


Fit: TypeAlias = Resize | CenterCrop | RandomResizedCrop


def random_box(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random resized crop, see ``augment.boxes``."""
    logs = np.log(boxes.ASPECT)
    for _ in range(boxes.ATTEMPTS):
        pixels, aspect = height * width * rng.uniform(*boxes.AREA), math.exp(rng.uniform(*logs))
        h, w = map(int, boxes.extents(pixels, aspect, np))
        if boxes.fit(h, w, (height, width)):
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    return boxes.central((height, width))


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """u8[height, width, 3] by bilinear resampling with antialiasing; the image itself if it has that size."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
