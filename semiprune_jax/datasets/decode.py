"""From the bytes of an image file to pixels."""

import io

import numpy as np
from PIL import Image, ImageOps

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_ORIENTATION = 0x0112  # the EXIF tag


def decode(data: bytes, image_size: int, decoder: str = "pillow") -> np.ndarray:
    """u8[S, S, 3]: the image upright, in RGB, resized to a square of ``image_size`` if it is not one.

    Of an animation the first frame. ``decoder`` "fast" uses simplejpeg for upright colour JPEGs and Pillow for
    everything else. Raises whatever the decoder raises on a broken file; Pillow warns of images of more than 89
    million pixels and refuses those of more than twice that, before it decodes them.
    """
    image = Image.open(io.BytesIO(data))
    if (
        decoder == "fast"
        and image.format == "JPEG"
        and image.mode == "RGB"
        and image.getexif().get(_ORIENTATION, 1) == 1
    ):
        import simplejpeg  # pyright: ignore[reportMissingImports]  (an extra)

        return resize(simplejpeg.decode_jpeg(data, colorspace="RGB"), image_size)
    return resize(np.asarray(to_rgb(ImageOps.exif_transpose(image))), image_size)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16-bit greys keep their high byte, transparency is laid on black.

    Raises ValueError for images of floating-point numbers, whose range is anyone's guess.
    """
    if image.mode == "F":
        raise ValueError("32-bit floating-point pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # I;16 and its byte orders; I: Pillow's choice for some 16-bit files
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")


def resize(image: np.ndarray, image_size: int) -> np.ndarray:
    """u8[S, S, 3] by bilinear resampling with antialiasing; both sides, whatever the aspect."""
    if image.shape[:2] == (image_size, image_size):
        return image
    return np.asarray(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BILINEAR))
