"""Files of every kind that a folder of images holds."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semiprune_jax.data.decode import decode
from semiprune_jax.data.resize import Resize

# The quarters are red, green, blue and white.
CORNERS = np.zeros((8, 8, 3), np.uint8)
CORNERS[:4, :4, 0] = CORNERS[:4, 4:, 1] = CORNERS[4:, :4, 2] = 255
CORNERS[4:, 4:] = 255


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(pixels, depth, colour):
    """Writes a PNG by hand, since Pillow writes no 16-bit colour."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("PPM", {}, 0),
        ("TIFF", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("GIF", {}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 12),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 12),
    ],
)
def test_formats(kind, options, tolerance):
    got = decode(encode(Image.fromarray(CORNERS), kind, **options))
    assert got.shape == (8, 8, 3)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - CORNERS).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "HSV", "1"])
def test_any_mode_becomes_rgb(mode):
    image = Image.fromarray(np.full((6, 6, 3), 200, np.uint8))
    if mode == "P":
        image = image.quantize(4)
    elif mode == "LAB":
        image = Image.new("LAB", (6, 6), (200, 128, 128))  # neutral, with lightness 200
    else:
        image = image.convert(mode, dither=Image.Dither.NONE)
    saved_as = "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"
    got = decode(encode(image.convert("RGB") if mode == "HSV" else image, saved_as))
    assert got.shape == (6, 6, 3)
    if mode != "LAB":
        np.testing.assert_allclose(got.astype(int), 255 if mode == "1" else 200, atol=8)


def test_cmyk_jpeg():
    got = decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.all(got[..., 0] > 240)
    assert np.all(got[..., 1:] < 15)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bit_grey_keeps_its_high_byte(dtype):
    values = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024 + 77).astype(dtype)
    expected = (values >> 8).astype(np.uint8)
    mode = "I;16" if dtype == "<u2" else "I;16B"
    tiff = encode(Image.frombytes(mode, (8, 8), values.tobytes()), "TIFF")
    for data in (png(values.astype(np.uint16), 16, 0), tiff):
        np.testing.assert_array_equal(decode(data), np.repeat(expected[..., None], 3, 2))


def test_sixteen_bit_pgm():
    """Pillow reads this format as 32-bit integers."""
    values = (np.arange(64).reshape(8, 8) * 1024).astype(">u2")
    data = b"P5 8 8 65535 " + values.tobytes()
    np.testing.assert_array_equal(decode(data)[..., 0], (values >> 8).astype(np.uint8))


def test_sixteen_bit_colour():
    got = decode(png(CORNERS.astype(np.uint16) * 257, 16, 2))
    np.testing.assert_array_equal(got, CORNERS)


def test_transparency_is_laid_on_black():
    half = np.full((4, 4, 4), 255, np.uint8)
    half[..., 3] = 128
    np.testing.assert_allclose(decode(encode(Image.fromarray(half), "PNG")), 128, atol=1)
    palette = Image.fromarray(CORNERS).quantize(4)
    see_through = palette.getpixel((7, 7))
    got = decode(encode(palette, "PNG", transparency=see_through))
    assert np.all(got[4:, 4:] == 0)
    assert np.all(got[:4, :4, 0] == 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_upright(orientation):
    """An image that a camera saved in any orientation comes back the same."""
    stored = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: x.transpose(1, 0, 2)[::-1],
        7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    }[orientation](CORNERS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data), CORNERS)


def test_the_fast_decoder_differs_by_a_grey_level_or_two(rng):
    """simplejpeg, which has the same libjpeg, decodes upright colour JPEGs; Pillow decodes all other files."""
    smooth = np.clip(np.cumsum(rng.normal(0, 3, (32, 32, 3)), axis=1) + 100, 0, 255).astype(np.uint8)
    data = encode(Image.fromarray(smooth), "JPEG", quality=75)
    assert np.abs(decode(data, "fast").astype(int) - decode(data)).max() <= 2
    assert Resize(16)(decode(data, "fast")).shape == (16, 16, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(Image.fromarray(smooth), "JPEG", exif=exif)
    png_file = encode(Image.fromarray(smooth), "PNG")
    for other in (turned, png_file, encode(Image.fromarray(smooth[..., 0]), "JPEG")):
        np.testing.assert_array_equal(decode(other, "fast"), decode(other))


@pytest.mark.parametrize("size", [(1, 1), (10_000, 3), (3, 10_000), (2, 2)])
def test_any_size_becomes_a_square(size):
    got = Resize(16)(decode(encode(Image.new("RGB", size, (10, 200, 90)), "PNG")))
    assert got.shape == (16, 16, 3)
    np.testing.assert_array_equal(got, np.broadcast_to(np.uint8([10, 200, 90]), got.shape))


def test_of_an_animation_the_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


def test_a_decompression_bomb_is_refused_before_it_goes_off():
    with pytest.raises(Image.DecompressionBombError, match="200000000 pixels"):
        decode(encode(Image.new("1", (20_000, 10_000)), "PNG"))
    with pytest.warns(Image.DecompressionBombWarning):
        decode(encode(Image.new("1", (10_000, 9_000)), "PNG"))


def test_floats_are_refused():
    with pytest.raises(ValueError, match="32-bit floating-point pixels; save it with 8 or 16 bits"):
        decode(encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_half_a_file_is_an_error(kind, rng):
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    data = encode(noise, kind)
    with pytest.raises(Exception, match=r"\w"):
        decode(data[: len(data) // 2])
