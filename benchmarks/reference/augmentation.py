"""Weak and strong views in Pillow, with the draws given: crop, flip, RandAugment's operations, Cutout.

Ranges and order are those of USB (``semilearn/datasets/augmentation/randaugment.py``).
"""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

FILL = (125, 123, 114)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


# name -> (operation of an RGB image at a value, lowest value, highest value)
OPERATIONS: dict[str, tuple[Callable[[Image.Image, float], Image.Image], float, float]] = {
    "AutoContrast": (lambda image, v: ImageOps.autocontrast(image), 0, 1),
    "Brightness": (lambda image, v: ImageEnhance.Brightness(image).enhance(v), 0.05, 0.95),
    "Color": (lambda image, v: ImageEnhance.Color(image).enhance(v), 0.05, 0.95),
    "Contrast": (lambda image, v: ImageEnhance.Contrast(image).enhance(v), 0.05, 0.95),
    "Equalize": (lambda image, v: ImageOps.equalize(image), 0, 1),
    "Identity": (lambda image, v: image, 0, 1),
    "Posterize": (lambda image, v: ImageOps.posterize(image, max(1, int(v))), 4, 8),
    "Rotate": (lambda image, v: image.rotate(v), -30, 30),
    "Sharpness": (lambda image, v: ImageEnhance.Sharpness(image).enhance(v), 0.05, 0.95),
    "ShearX": (lambda image, v: _affine(image, 1, v, 0, 0, 1, 0), -0.3, 0.3),
    "ShearY": (lambda image, v: _affine(image, 1, 0, 0, v, 1, 0), -0.3, 0.3),
    "Solarize": (ImageOps.solarize, 0, 256),  # pyright: ignore[reportArgumentType]
    "TranslateX": (lambda image, v: _affine(image, 1, 0, v * image.width, 0, 1, 0), -0.3, 0.3),
    "TranslateY": (lambda image, v: _affine(image, 1, 0, 0, 0, 1, v * image.height), -0.3, 0.3),
}


def resize_flip(image: Image.Image, box: tuple[int, int, int, int], flip: bool, size: int) -> Image.Image:
    """The part (top, left, height, width), resized to a square, and mirrored if drawn.

    The width is resized first, as in Pillow before version 13; later versions begin with the height if it is less work.
    """
    top, left, height, width = box
    part = image.crop((left, top, left + width, top + height))
    part = part.resize((size, height), Image.Resampling.BILINEAR).resize((size, size), Image.Resampling.BILINEAR)
    return ImageOps.mirror(part) if flip else part


def crop_flip(image: Image.Image, offset: tuple[int, int], flip: bool, padding: float) -> Image.Image:
    """Reflects a border of ``padding`` times a side, crops at ``offset`` (rows, columns) from the middle, mirrors."""
    width, height = image.size
    down, across = int(height * padding), int(width * padding)
    padded = Image.fromarray(np.pad(np.asarray(image), [(down, down), (across, across), (0, 0)], mode="reflect"))
    left, top = across + offset[1], down + offset[0]
    cropped = padded.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cropped) if flip else cropped


def cutout(image: Image.Image, fraction: float, x: float, y: float) -> Image.Image:
    """A filled box with a side of ``fraction`` of the width, centred at (x, y) before it is clamped at left and top."""
    if fraction <= 0:
        return image
    width, height = image.size
    side = fraction * width
    left, top = int(max(0, x - side / 2)), int(max(0, y - side / 2))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((left, top, min(width, left + side), min(height, top + side)), FILL)
    return image


def strong(image: Image.Image, operations: Iterable[tuple[str, float]], box: tuple[float, float, float]) -> Image.Image:
    """Applies RandAugment's (name, magnitude in [0, 1)) in their order, then Cutout, to a cropped image."""
    for name, magnitude in operations:
        function, low, high = OPERATIONS[name]
        image = function(image, low + magnitude * (high - low))
    return cutout(image, *box)


def normalise(image: Image.Image, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """The normalised image f64[3, H, W]."""
    return ((np.asarray(image) / 255.0 - mean) / std).transpose(2, 0, 1)
