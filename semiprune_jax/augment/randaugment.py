"""RandAugment's operations and Cutout. Pure functions, run on the device.

The fourteen operations are Pillow's arithmetic on uint8 RGB (where Pillow computes in floats, single pixels may be one
level off), with the ranges of USB's ``semilearn/datasets/augmentation/randaugment.py``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Image = jax.Array  # u8[H, W, 3] or f32[H, W, 3]

CUTOUT_FILL = (125, 123, 114)


def apply_operation(which: jax.Array, image: Image, magnitude: jax.Array) -> Image:
    """The ``which``-th of OPERATIONS at ``magnitude`` in [0, 1), which spans the operation's own range."""
    return jax.lax.switch(which, [_at_magnitude(operation) for operation in OPERATIONS.values()], image, magnitude)


def _at_magnitude(operation: "Operation") -> Callable[[Image, jax.Array], Image]:
    low, high = operation.range
    return lambda image, magnitude: operation.function(image, low + magnitude * (high - low)).astype(jnp.uint8)


def one_by_one(images: Image, operations: jax.Array, magnitudes: jax.Array) -> Image:
    """Applies rounds of operations to a batch, one image after the other.

    A round goes over all images before the next one begins; all rounds of one image before the next image would take
    nearly twice as long.

    Args:
      images: u8[B, H, W, 3].
      operations, magnitudes: i32[rounds, B] and f32[rounds, B], see ``apply_operation``.
    """

    def one_round(images: Image, drawn: tuple[jax.Array, jax.Array]) -> tuple[Image, None]:
        which, magnitude = drawn
        return jax.lax.map(lambda one: apply_operation(*one), (which, images, magnitude)), None

    return jax.lax.scan(one_round, images, (operations, magnitudes))[0]


def together(images: Image, operations: jax.Array, magnitudes: jax.Array) -> Image:
    """As ``one_by_one``, but images with the same operation run together, unless an operation has too many."""
    groups = jax.vmap(_group)(operations)

    def one_round(images: Image, drawn: tuple[_Group, jax.Array]) -> tuple[Image, None]:
        return _grouped(drawn[0], images, drawn[1]), None

    return jax.lax.cond(
        jnp.all(groups.fits),
        lambda images: jax.lax.scan(one_round, images, (groups, magnitudes))[0],
        lambda images: one_by_one(images, operations, magnitudes),
        images,
    )


class _Group(NamedTuple):
    """Which images run an operation together: each operation has ``room`` places, some of them empty."""

    place: jax.Array  # i32[B], of each image among all places
    image: jax.Array  # i32[operations, room], the image in each place; any where it is empty
    fits: jax.Array  # bool[], no operation has more images than places


def _group(which: jax.Array) -> _Group:
    """Groups the images of one round by their operation, i32[B].

    An operation has room for the mean and six standard deviations of its draws: of 448 images 66, twice as many places
    as images in all, and too few in one of two million batches, of 64 in one of 400,000 (tails of the binomial).
    """
    count, kinds = which.shape[0], len(OPERATIONS)
    room = min(count, math.ceil(count / kinds + 6 * math.sqrt(count / kinds)))
    rank = jnp.cumsum(which[:, None] == jnp.arange(kinds)[None], axis=0)[jnp.arange(count), which] - 1
    place = which * room + rank
    # Images that find no room are left out here, which ``fits`` tells.
    place = jnp.where(rank < room, place, kinds * room + jnp.arange(count))
    image = jnp.zeros(kinds * room, jnp.int32).at[place].set(jnp.arange(count), mode="drop", unique_indices=True)
    return _Group(place, image.reshape(kinds, room), jnp.all(rank < room))


def _grouped(group: _Group, images: Image, magnitude: jax.Array) -> Image:
    """One round of operations: sorted by operation in one gather, and back again in another."""
    done = [
        jax.vmap(_at_magnitude(operation))(images[rows], magnitude[rows])
        for operation, rows in zip(OPERATIONS.values(), group.image, strict=True)
    ]
    return jnp.concatenate(done)[group.place]


def cutout(image: Image, fraction: jax.Array, x: jax.Array, y: jax.Array) -> Image:
    """Fills a box of side ``fraction * W`` pixels centred at (x, y), as Pillow draws it.

    Left and top are clamped to the image *before* right and bottom are measured from them, so boxes at the left
    or top border keep their side; Pillow's rectangles include their end pixels.
    """
    height, width = image.shape[:2]
    side = fraction * width
    left = jnp.floor(jnp.maximum(0.0, x - side / 2))
    top = jnp.floor(jnp.maximum(0.0, y - side / 2))
    right = jnp.floor(jnp.minimum(width, left + side))
    bottom = jnp.floor(jnp.minimum(height, top + side))
    column, row = jnp.arange(width), jnp.arange(height)
    inside_x = (column >= left) & (column <= right)
    inside_y = (row >= top) & (row <= bottom)
    inside = inside_y[:, None, None] & inside_x[None, :, None] & (fraction > 0)
    return jnp.where(inside, jnp.array(CUTOUT_FILL, image.dtype)[None, None], image)


def auto_contrast(image: Image, value: jax.Array) -> Image:
    """Stretches each channel from its minimum and maximum to 0 and 255; a constant channel stays."""
    del value
    x, rows = image.astype(jnp.float32), image.reshape(image.shape[0], -1)
    # Of rows first, a long line of numbers; the channels, three, come last.
    low, high = (
        reduce(reduce(rows, axis=0).reshape(-1, image.shape[2]), axis=0).astype(jnp.float32)[None, None]
        for reduce in (jnp.min, jnp.max)
    )
    # floor((x - low) * 255 / (high - low)) exactly, without a division for each pixel: such a ratio is a whole number
    # or at least 1/255 from the next one, and rounding moves it by less than 1e-4.
    stretched = jnp.floor((x - low) * 255.0 * (1.0 / jnp.maximum(high - low, 1.0)) + 1e-3)
    return jnp.where(high > low, stretched, x)


def brightness(image: Image, value: jax.Array) -> Image:
    """Blend with black."""
    return _blend(jnp.zeros((), jnp.float32), image, value)


def color(image: Image, value: jax.Array) -> Image:
    """Blend with the grey version."""
    return _blend(_grey(image)[:, :, None].astype(jnp.float32), image, value)


def contrast(image: Image, value: jax.Array) -> Image:
    """Blend with the constant image of the mean grey value."""
    grey = _grey(image)
    # floor(mean + 1/2) in integers: a float32 sum of a large image would lose digits.
    mean = (2 * jnp.sum(grey) + grey.size) // (2 * grey.size)
    return _blend(mean.astype(jnp.float32), image, value)


def equalize(image: Image, value: jax.Array) -> Image:
    """Equalises each channel's histogram."""
    del value

    def channel(x: jax.Array) -> jax.Array:
        # Integer adds: the slow repeated-index scatter of some GPU builds concerns floats.
        histogram = jnp.zeros(256, jnp.int32).at[x.ravel()].add(1)
        step = (x.size - histogram[jnp.max(x)]) // 255
        below = jnp.cumsum(histogram) - histogram
        table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
        return jnp.where(step > 0, table[x], x)

    return jax.vmap(channel, in_axes=2, out_axes=2)(image.astype(jnp.int32))


def identity(image: Image, value: jax.Array) -> Image:
    """The image."""
    del value
    return image


def posterize(image: Image, value: jax.Array) -> Image:
    """Keeps the int(value) high bits of each channel."""
    dropped = 8 - jnp.maximum(jnp.floor(value).astype(jnp.int32), 1)
    x = image.astype(jnp.int32)
    return (x >> dropped) << dropped


def rotate(image: Image, value: jax.Array) -> Image:
    """Rotates counter-clockwise by ``value`` degrees about the centre."""
    height, width = image.shape[:2]
    cos, sin = jnp.cos(jnp.deg2rad(value)), jnp.sin(jnp.deg2rad(value))
    x, y = width / 2.0, height / 2.0
    # Pillow's matrix for angle -value, translated so that the centre stays.
    return _affine(image, (cos, -sin, x - x * cos + y * sin), (sin, cos, y - x * sin - y * cos))


def sharpness(image: Image, value: jax.Array) -> Image:
    """Blend with the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13; the border is not smoothed."""
    height, width, channels = image.shape
    if min(height, width) < 3:
        return image
    x = image.reshape(height, -1).astype(jnp.float32)  # a row is one long line of numbers
    padded = jnp.pad(x, ((1, 1), (channels, channels)))
    down = padded[:-2] + padded[1:-1] + padded[2:]
    total = down[:, : -2 * channels] + down[:, channels:-channels] + down[:, 2 * channels :] + 4.0 * x
    # total / 13, rounded: (2 total + 13) / 26, an odd number over an even one, is at least 1/26 from any whole one.
    smooth = jnp.floor((2.0 * total + 13.0) * (1.0 / 26.0))
    row, column = jnp.arange(height)[:, None], jnp.arange(width * channels)[None] // channels
    inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    return _blend(jnp.where(inside, smooth, x), x, value).reshape(image.shape)


def shear_x(image: Image, value: jax.Array) -> Image:
    """Reads each pixel from x + value * y."""
    return _affine(image, (1.0, value, 0.0), (0.0, 1.0, 0.0))


def shear_y(image: Image, value: jax.Array) -> Image:
    """Reads each pixel from y + value * x."""
    return _affine(image, (1.0, 0.0, 0.0), (value, 1.0, 0.0))


def solarize(image: Image, value: jax.Array) -> Image:
    """Inverts values at or above the threshold."""
    return jnp.where(image < value, image, 255 - image)


def translate_x(image: Image, value: jax.Array) -> Image:
    """Reads each pixel from x + value * W."""
    return _affine(image, (1.0, 0.0, value * image.shape[1]), (0.0, 1.0, 0.0))


def translate_y(image: Image, value: jax.Array) -> Image:
    """Reads each pixel from y + value * H."""
    return _affine(image, (1.0, 0.0, 0.0), (0.0, 1.0, value * image.shape[0]))


class Operation(NamedTuple):
    """An operation, and the range that its magnitude is uniform in."""

    function: Callable[[Image, jax.Array], Image]
    range: tuple[float, float]


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": Operation(auto_contrast, (0.0, 1.0)),
    "Brightness": Operation(brightness, (0.05, 0.95)),
    "Color": Operation(color, (0.05, 0.95)),
    "Contrast": Operation(contrast, (0.05, 0.95)),
    "Equalize": Operation(equalize, (0.0, 1.0)),
    "Identity": Operation(identity, (0.0, 1.0)),
    "Posterize": Operation(posterize, (4.0, 8.0)),
    "Rotate": Operation(rotate, (-30.0, 30.0)),
    "Sharpness": Operation(sharpness, (0.05, 0.95)),
    "ShearX": Operation(shear_x, (-0.3, 0.3)),
    "ShearY": Operation(shear_y, (-0.3, 0.3)),
    "Solarize": Operation(solarize, (0.0, 256.0)),
    "TranslateX": Operation(translate_x, (-0.3, 0.3)),
    "TranslateY": Operation(translate_y, (-0.3, 0.3)),
}


def _grey(image: Image) -> jax.Array:
    """i32[H, W]: Pillow's luma, ITU-R 601-2 in 16-bit fixed point."""
    x = image.astype(jnp.int32)
    return (x[:, :, 0] * 19595 + x[:, :, 1] * 38470 + x[:, :, 2] * 7471 + 0x8000) >> 16


def _blend(degenerate: jax.Array, image: Image, value: jax.Array) -> Image:
    """degenerate + value * (image - degenerate), truncated; value in [0, 1] cannot leave 0..255."""
    return jnp.floor(degenerate + value * (image.astype(jnp.float32) - degenerate))


def _affine(image: Image, to_x: tuple, to_y: tuple) -> Image:
    """Nearest-neighbour transform with black fill; (a, b, c) reads from a x + b y + c at pixel centres.

    16.16 fixed point as Pillow's, so that both round the same way.
    """
    height, width = image.shape[:2]

    def fixed(value) -> jax.Array:
        return jnp.floor(jnp.asarray(value, jnp.float32) * 65536.0 + 0.5).astype(jnp.int32)

    def source(a, b, c) -> jax.Array:
        start = fixed(c + a * 0.5 + b * 0.5)
        return (start + fixed(a) * jnp.arange(width)[None] + fixed(b) * jnp.arange(height)[:, None]) >> 16

    x, y = source(*to_x), source(*to_y)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    read = image[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)]
    return jnp.where(inside[:, :, None], read, jnp.zeros((), image.dtype))
