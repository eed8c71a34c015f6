"""RandomCrop and RandomResizedCrop, each with a horizontal flip. Pure functions of one image, run on the device.

The parameters of a crop are drawn apart from the crop itself, so that another implementation can be given the same
ones.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiprune_jax.augment import boxes
from semiprune_jax.augment.randaugment import Image
from semiprune_jax.augment.recipe import Recipe


class RandomCropParams(NamedTuple):
    """A window of the padded image."""

    offset: jax.Array  # i32[2], row and column of the image's corner from that of the window, in -padding .. padding
    flip: jax.Array  # bool[]


class ResizedCropParams(NamedTuple):
    """A box of the image."""

    corner: jax.Array  # i32[2], row and column in the image
    extent: jax.Array  # i32[2], height and width, at least 1
    flip: jax.Array  # bool[]


def random_crop_params(key: jax.Array, shape: tuple[int, ...], recipe: Recipe) -> RandomCropParams:
    """Uniform over the windows of the padded image; flipped half the time, if the recipe allows it."""
    pad = jnp.array([int(side * recipe.padding) for side in shape[:2]])
    offset_key, flip_key = jax.random.split(key)
    room = jnp.array([side - (recipe.size or side) for side in shape[:2]]) + 2 * pad
    offset = jax.random.randint(offset_key, (2,), 0, room + 1) - pad
    return RandomCropParams(offset, jax.random.bernoulli(flip_key) & recipe.flip)


def resized_crop_params(
    key: jax.Array, shape: tuple[int, ...], recipe: Recipe, area: tuple[float, float] = boxes.AREA
) -> ResizedCropParams:
    """A box of a share of the image in the range ``area``, see ``boxes``; flipped half the time, if allowed.

    The first of ten boxes that fits the image; the central one if none does.
    """
    height, width = shape[:2]
    area_key, aspect_key, corner_key, flip_key = jax.random.split(key, 4)
    (smallest, largest), (narrowest, widest), count = area, boxes.ASPECT, (boxes.ATTEMPTS,)
    pixels = height * width * jax.random.uniform(area_key, count, minval=smallest, maxval=largest)
    aspect = jnp.exp(jax.random.uniform(aspect_key, count, minval=jnp.log(narrowest), maxval=jnp.log(widest)))
    heights, widths = boxes.extents(pixels, aspect, jnp)
    fits = boxes.fit(heights, widths, shape)
    top, left, *central = boxes.central(shape)
    first = jnp.stack([heights, widths], axis=1).astype(jnp.int32)[jnp.argmax(fits)]
    extent = jnp.where(jnp.any(fits), first, jnp.array(central))
    corner = jax.random.randint(corner_key, (2,), 0, jnp.array([height, width]) - extent + 1)
    corner = jnp.where(jnp.any(fits), corner, jnp.array([top, left]))
    return ResizedCropParams(corner, extent, jax.random.bernoulli(flip_key) & recipe.flip)


def random_crop(image: Image, params: RandomCropParams, size: int = 0) -> Image:
    """The window of the reflected-padded image, of side ``size`` or as large as the image; one gather for both axes."""
    height, width = image.shape[:2]
    rows = _reflect(jnp.arange(size or height) + params.offset[0], height)
    columns = _reflect(jnp.arange(size or width) + params.offset[1], width)
    columns = jnp.where(params.flip, columns[::-1], columns)
    return image[rows[:, None], columns[None, :]]


def resized_crop(image: Image, params: ResizedCropParams, size: int = 0) -> Image:
    """The box of the image, resized to side ``size`` or to the image's own: Pillow's bilinear, with antialiasing.

    Columns first, rounded to uint8, then rows; weights in its 22-bit fixed point.
    """
    height, width = image.shape[:2]
    rows, row_weights = _taps(params.corner[0], params.extent[0], height, size or height)
    columns, column_weights = _taps(params.corner[1], params.extent[1], width, size or width)
    columns = jnp.where(params.flip, columns[::-1], columns)
    column_weights = jnp.where(params.flip, column_weights[::-1], column_weights)
    x = image.astype(jnp.int32)
    # Tap by tap: an array of all of them would be several images large.
    taps = range(columns.shape[1]), range(rows.shape[1])
    x = sum((x[:, columns[:, k]] * column_weights[None, :, k, None] for k in taps[0]), start=jnp.int32(1 << 21)) >> 22
    x = sum((x[rows[:, k]] * row_weights[:, k, None, None] for k in taps[1]), start=jnp.int32(1 << 21)) >> 22
    return jnp.minimum(x, 255).astype(jnp.uint8)


def _taps(corner: jax.Array, extent: jax.Array, side: int, size: int) -> tuple[jax.Array, jax.Array]:
    """i32[size, K] positions along an axis that each new pixel reads, and their weights in 1 / 2^22.

    In whole numbers: weights are ratios of small ones, and sums of them land on halves too often to be nearly right.
    """
    count = 2 * math.ceil(max(1.0, side / size)) + 1
    reach = jnp.maximum(extent, size)  # of the triangle, in 1 / size of an old pixel; the rest is in half of that
    centre = (2 * jnp.arange(size) + 1) * extent
    first = jnp.maximum((centre - 2 * reach + size) // (2 * size), 0)
    at = first[:, None] + jnp.arange(count)[None]
    weight = jnp.maximum(2 * reach - jnp.abs((2 * at + 1) * size - centre[:, None]), 0)
    weight = jnp.where(at < extent, weight, 0)
    total = jnp.sum(weight, axis=1, keepdims=True)
    # weight * 2^22 / total, rounded, by long division: the product would not fit.
    high, rest = (weight << 11) // total, (weight << 11) % total
    low, rest = (rest << 11) // total, (rest << 11) % total
    return corner + jnp.minimum(at, extent - 1), (high << 11) + low + (2 * rest >= total)


def _reflect(index: jax.Array, size: int) -> jax.Array:
    """Indices past either end, mirrored about the first and last pixel (which are not repeated)."""
    index = jnp.abs(index)
    return jnp.where(index >= size, 2 * (size - 1) - index, index)
