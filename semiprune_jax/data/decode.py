"""Pixels from the bytes of an image file."""

import importlib.util
import io

import numpy as np
from PIL import Image, ImageOps

from semiprune_jax.errors import ConfigError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_ORIENTATION = 0x0112  # the EXIF tag


def check_decoder(decoder: str) -> None:
    """ConfigError if the decoder is not installed."""
    if decoder == "fast" and importlib.util.find_spec("simplejpeg") is None:
        raise ConfigError("data.decoder='fast' needs the extra fast-decode; install it")


def decode(data: bytes, decoder: str = "pillow") -> np.ndarray:
    """u8[H, W, 3]: the image upright, in RGB; the first frame of an animation.

    ``decoder`` "fast" uses simplejpeg for upright colour JPEGs and Pillow for everything else. Raises whatever the
    decoder raises on a broken file; Pillow warns of images of more than 89 million pixels and refuses those of more
    than twice that, before it decodes them.
    """
    image = Image.open(io.BytesIO(data))
    if (
        decoder == "fast"
        and image.format == "JPEG"
        and image.mode == "RGB"
        and image.getexif().get(_ORIENTATION, 1) == 1
    ):
        import simplejpeg  # pyright: ignore[reportMissingImports]  (an extra)

        return simplejpeg.decode_jpeg(data, colorspace="RGB")
    return np.asarray(to_rgb(ImageOps.exif_transpose(image)))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16-bit greys keep their high byte, transparent images get a black background.

    Raises ValueError for images of floating-point numbers, whose range is not known.
    """
    if image.mode == "F":
        raise ValueError("32-bit floating-point pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # I;16 and its byte orders; I: Pillow's choice for some 16-bit files
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")
