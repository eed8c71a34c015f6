"""The boxes that RandomResizedCrop cuts out (torchvision's arithmetic), on the host and on the device.

Host and device draw their random numbers in their own ways, and turn them into boxes in the same way. Importing this
module does not import JAX.
"""

from typing import Any

AREA = (0.08, 1.0)  # of a box, as a share of the image; uniform
ASPECT = (3 / 4, 4 / 3)  # width / height of a box; log-uniform
ATTEMPTS = 10  # boxes drawn, of which the first that fits is taken


def extents(pixels: Any, aspect: Any, xp: Any) -> tuple[Any, Any]:
    """(height, width) of boxes with so many pixels and that aspect, rounded to whole numbers.

    Args:
      pixels, aspect: numbers, or arrays of one shape.
      xp: numpy or jax.numpy.
    """
    return xp.round(xp.sqrt(pixels / aspect)), xp.round(xp.sqrt(pixels * aspect))


def fit(height: Any, width: Any, shape: tuple[int, ...]) -> Any:
    """Whether boxes are not empty and lie within an image of ``shape`` (height, width, ...); bool, or array of them."""
    return (height > 0) & (height <= shape[0]) & (width > 0) & (width <= shape[1])


def central(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the box that is taken where no attempt fits.

    It lies in the middle of an image of ``shape`` (height, width, ...) and is as large as it can be with an allowed
    aspect, the one nearest to the image's.

    >>> central((10, 1000)), central((1000, 10)), central((30, 40))
    ((0, 493, 10, 13), (493, 0, 13, 10), (0, 0, 30, 40))
    """
    height, width = shape[:2]
    narrowest, widest = ASPECT
    if width / height < narrowest:
        own = round(width / narrowest), width
    elif width / height > widest:
        own = height, round(height * widest)
    else:
        own = height, width
    return (height - own[0]) // 2, (width - own[1]) // 2, *own
