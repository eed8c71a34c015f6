"""The settings of a pool's views."""

from typing import NamedTuple


class Recipe(NamedTuple):
    """Settings that the views of one pool share."""

    mean: tuple[float, ...]  # of each channel, images in [0, 1]
    std: tuple[float, ...]
    padding: float  # reflected border of a random crop, as a fraction of the side: floor(side * padding) pixels
    flip: bool  # whether left and right may be exchanged
    operations: int = 3  # RandAugment operations of the strong view
    size: int = 0  # pixels of a view's side; 0: those of the image
    resized: bool = False  # strong views begin with a random resized crop, instead of a window of the image's own scale
