"""Pixels: how large images are where stages see them, and which part of an image they see."""

from typing import Any, NamedTuple


class Sizes(NamedTuple):
    """Sides in pixels, and how views are cut."""

    image: int  # of a network's input
    square: int  # of the squares that whole images become; ``image`` where views are windows of them
    resized: bool  # whether training views are random resized crops
    exact: bool  # whether supervised ones are crops of the original image, rather than of its square

    @classmethod
    def of(cls, options: Any) -> "Sizes":
        """Those that a config's ``data`` section asks for."""
        resized = options.crops == "resized"
        square = options.square_size if resized else options.image_size
        return cls(options.image_size, square, resized, exact=options.supervised_crops == "original")
