"""Harder pools made from any pool: corrupted images (the paper's "-C") and long-tailed classes ("-LT").

Which examples are changed is a function of (seed, key), and their pixels are a function of the key, so that a variant
is the same on any machine, from memory or from a stream.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from semiprune_jax.apportionment import first_of_each_class
from semiprune_jax.data.resize import resize
from semiprune_jax.data.split import Split
from semiprune_jax.errors import DataError
from semiprune_jax.randomness import hash_keys

KINDS = ("motion_blur", "fog", "resolution", "rectangle", "gaussian")

# Rows 7 and 8 of the 15x15 kernel, in 1/(15 * 1024): a diagonal of ones that OpenCV has turned by 45 degrees, in steps
# of 1/32 pixel, which leaves a horizontal line of weight 0.698.
_BLUR = (378, 432, 272, 341, 420, 348, 278, 400, 400, 278, 348, 420, 341, 272, 432)
# Side of the image -> side it is shrunk to, and the corners of the black box.
_GEOMETRY = {32: (8, 5, 20), 64: (16, 5, 45)}


def long_tail_sizes(largest: int, classes: int, factor: float) -> np.ndarray:
    """i64[C]: examples of each class, from ``largest`` down to ``largest * factor``.

    n_c = floor(largest * factor^(c / (C - 1))), the formula of LDAM (arXiv:1906.07413) and USB.

    >>> sizes = long_tail_sizes(500, 100, 0.1)
    >>> sizes[:3].tolist(), sizes[-1].item(), sizes.sum().item()
    ([500, 488, 477], 50, 19573)
    """
    exponents = np.arange(classes) / max(classes - 1, 1)
    return np.floor(largest * factor**exponents + 1e-9).astype(np.int64)


def long_tailed(labels: np.ndarray, keys: Sequence[str], factor: float, seed: int) -> np.ndarray:
    """ids, sorted, of the examples that are kept: the lowest hashes of each class; class 0 is the head.

    Raises:
      DataError: a label is unknown.
    """
    if np.any(labels < 0):
        raise DataError(
            f"data.imbalance = {factor:g} needs every label, but {int(np.sum(labels < 0))} are unknown; set it to 1"
        )
    counts = np.bincount(labels)
    sizes = np.minimum(long_tail_sizes(int(counts.max()), len(counts), factor), counts)
    rank = np.argsort(hash_keys(seed, "long_tail", keys), kind="stable")
    return first_of_each_class(rank, labels, sizes)


def corruptions(keys: Sequence[str], rate: float, seed: int) -> np.ndarray:
    """i8[N]: the index into KINDS of each example's corruption, -1 for none; floor(rate / 5 * N) of each kind."""
    each = int(np.floor(rate / len(KINDS) * len(keys) + 1e-9))
    rank = np.argsort(hash_keys(seed, "corruption", keys), kind="stable")
    kinds = np.full(len(keys), -1, np.int8)
    kinds[rank[: each * len(KINDS)]] = np.repeat(np.arange(len(KINDS)), each)
    return kinds


def corrupted(split: Split, kinds: np.ndarray, size: int, *, faithful: bool) -> Split:
    """The split with the images that ``corruptions`` has drawn corrupted, as squares of ``size``."""

    def image(row: int) -> np.ndarray:
        clean = split.image(row)
        if kinds[row] < 0:
            return clean
        return corrupt(resize(clean, size, size), KINDS[kinds[row]], split.keys[row], faithful=faithful)

    content = hashlib.sha256(f"{split.content} {faithful}".encode() + kinds.tobytes()).hexdigest()
    return dataclasses.replace(split, content=content, image=image)


def corrupt(image: np.ndarray, kind: str, key: str, *, faithful: bool = False) -> np.ndarray:
    """One image u8[S, S, 3] under one of KINDS; the noise is drawn from the key.

    The kinds and their strength are those of Moderate and SemiPrune's scripts for images of 32 and 64 pixels, scaled
    from 32 elsewhere. ``faithful`` also keeps two mistakes of their scripts: fog in [0, 1] is stored as whole numbers,
    so that the image is black, and negative noise wraps around modulo 256.
    """
    size = image.shape[0]
    small, low, high = _GEOMETRY.get(size, (max(1, size // 4), 5 * size // 32, 20 * size // 32))
    if kind == "motion_blur":
        return _motion_blur(image)
    if kind == "fog":
        return _fog(image, faithful)
    if kind == "resolution":
        return np.asarray(Image.fromarray(image).resize((small, small)).resize((size, size)))
    if kind == "rectangle":
        boxed = Image.fromarray(image)
        ImageDraw.Draw(boxed).rectangle((low, low, high, high), (0, 0, 0))
        return np.asarray(boxed)
    noise = np.random.default_rng(hash_keys(0, "noise", [key])[0]).normal(0.2, 1.0, image.shape)
    noisy = np.clip(image / 255 + noise, -1 if faithful else 0, 1)
    return (np.trunc(255 * noisy).astype(np.int32) & 255).astype(np.uint8)


def _motion_blur(image: np.ndarray) -> np.ndarray:
    """A correlation with the borders mirrored about their pixels, then stretched to 0..255 over all channels.

    Both results are rounded to whole numbers, as by OpenCV's ``filter2D`` and ``normalize``, whose factor and shift are
    float32. Of 6.1 million values 165 differ from OpenCV 5: halves, which its Fourier transform rounds either way.
    """
    height, width = image.shape[:2]
    padded = np.pad(image.astype(np.float64), [(0, 1), (7, 7), (0, 0)], mode="reflect")
    rows = np.sum([weight * padded[:, i : i + width] for i, weight in enumerate(_BLUR)], axis=0)
    blurred = np.rint((rows[:height] + rows[1 : height + 1]) / (15 * 1024))
    low, high = blurred.min(), blurred.max()
    factor = 255 / (high - low) if high > low else 0.0
    stretched = blurred * np.float64(np.float32(factor)) + np.float64(np.float32(-low * factor))
    return np.rint(stretched.astype(np.float32)).astype(np.uint8)


def _fog(image: np.ndarray, faithful: bool) -> np.ndarray:
    """Haze that thins out towards the middle."""
    size = image.shape[0]
    row, column = np.mgrid[:size, :size]
    depth = np.sqrt(size) - 0.04 * np.hypot(row - size / 2, column - size / 2)
    clear = np.exp(-0.4 * depth)[..., None]
    hazy = image / 255 * clear + 0.5 * (1 - clear)
    return (hazy if faithful else 255 * hazy).astype(np.uint8)
