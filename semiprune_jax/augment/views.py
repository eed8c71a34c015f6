"""Views of images: weak, strong (RandAugment, then Cutout) and evaluation. Pure functions, run on the device.

One image at a time: uint8 [H, W, 3] in, float32 [H, W, 3] normalised out, everything random from one key. Over a batch
they are mapped, with ``strong_views`` for those that have operations: a ``vmap`` of ``switch`` would run all fourteen.

What a view draws is apart from what it does with it (``draw_strong``, ``Strong``), so that others can be given the
same draws.

The fourteen operations are Pillow's arithmetic on uint8 RGB (where that is in floats, single pixels may be one level
off), with the ranges of USB's ``semilearn/datasets/augmentation/randaugment.py``: three drawn with replacement, each
with a fresh magnitude, and always Cutout after them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiprune_jax.augment.randaugment import OPERATIONS, Image, cutout, one_by_one, together

View = Callable[[jax.Array, Image], Image]

# Of a resized part, as torchvision's RandomResizedCrop draws it: share of the area, aspect, and how often it is tried.
PART_AREA, PART_ASPECT, PART_TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Recipe(NamedTuple):
    """What the views of one pool share."""

    mean: tuple[float, ...]  # of each channel, images in [0, 1]
    std: tuple[float, ...]
    padding: float  # reflected border of the crop, as a fraction of the side: floor(side * padding) pixels
    flip: bool  # whether left and right may be exchanged
    operations: int = 3  # RandAugment operations of the strong view
    size: int = 0  # pixels of a view's side; 0: those of the image
    resized: bool = False  # strong views begin with a random part of the image, resized, instead of a window


def evaluation_view(recipe: Recipe) -> View:
    """The image as it is, normalised. The key is not used."""
    return lambda key, image: normalise(image, recipe.mean, recipe.std)


def enlarged_view(side: int) -> View:
    """The image resized to ``side`` pixels, bicubic, normalised by ImageNet's statistics: for others' networks."""

    def view(key: jax.Array, image: Image) -> Image:
        del key
        shape = (side, side, image.shape[-1])
        resized = jax.image.resize(image.astype(jnp.float32), shape, "cubic") if image.shape != shape else image
        return normalise(jnp.clip(jnp.round(resized), 0, 255), IMAGENET_MEAN, IMAGENET_STD)

    return view


def weak_view(recipe: Recipe) -> View:
    """Reflect-pad, random crop to size, horizontal flip with probability 1/2 if allowed, normalise."""

    def view(key: jax.Array, image: Image) -> Image:
        drawn = draw_crop(key, image.shape, recipe)
        return normalise(crop_flip(image, drawn, recipe.size), recipe.mean, recipe.std)

    return view


def resized_view(recipe: Recipe) -> View:
    """A random part of the image, resized, flipped as a weak view, normalised: training views of ImageNet."""

    def view(key: jax.Array, image: Image) -> Image:
        drawn = draw_part(key, image.shape, recipe)
        return normalise(resize_flip(image, drawn, recipe.size), recipe.mean, recipe.std)

    return view


def strong_views(recipe: Recipe, *, sequential: bool) -> View:
    """Of each image an independent crop and flip, then RandAugment, Cutout, normalise.

    (keys [B], images u8[B, H, W, 3]) -> f32[B, H, W, 3], by one of two ways; either way each image runs its own
    operations only (but for some room, see ``_group``). ``sequential``: one image after the other, for CPUs; otherwise
    those with the same operation together, for devices that are wide.
    """
    operate = one_by_one if sequential else together
    # A resized part is made in many passes, which for one image stay in a processor's cache.
    map_crops = jax.lax.map if sequential and recipe.resized else lambda crop, drawn: jax.vmap(crop)(drawn)

    def view(keys: jax.Array, images: Image) -> Image:
        drawn = jax.vmap(lambda key: draw_strong(key, images.shape[1:], recipe))(keys)
        x = map_crops(lambda pair: _cropped(pair[0], pair[1], recipe), (images, drawn.crop))
        x = operate(x, drawn.operation.T, drawn.magnitude.T)
        x = jax.vmap(lambda image, box: cutout(image, *box))(x, drawn.cutout)
        return normalise(x, recipe.mean, recipe.std)

    return view


def normalise(image: Image, mean: tuple[float, ...], std: tuple[float, ...]) -> Image:
    """(image / 255 - mean) / std of each channel, in float32."""
    per_channel = (1,) * (image.ndim - 1) + (len(mean),)
    shift = jnp.asarray(mean, jnp.float32).reshape(per_channel)
    scale = jnp.asarray(std, jnp.float32).reshape(per_channel)
    return (image.astype(jnp.float32) / 255.0 - shift) / scale


class Crop(NamedTuple):
    """What a crop draws."""

    offset: jax.Array  # i32[2], row and column of the image's corner from that of the crop, in -padding .. padding
    flip: jax.Array  # bool[]


class Part(NamedTuple):
    """What a resized crop draws."""

    corner: jax.Array  # i32[2], row and column in the image
    extent: jax.Array  # i32[2], height and width, at least 1
    flip: jax.Array  # bool[]


class Strong(NamedTuple):
    """What a strong view draws."""

    crop: Crop | Part
    operation: jax.Array  # i32[count], with replacement
    magnitude: jax.Array  # f32[count] in [0, 1), a fresh one each
    cutout: jax.Array  # f32[3]: side as a fraction of the width, in [0, 1/2), and the centre (x, y) in pixels


def draw_crop(key: jax.Array, shape: tuple[int, ...], recipe: Recipe) -> Crop:
    """Uniform over the windows of the padded image; left and right exchanged half the time, if they may be."""
    pad = jnp.array([int(side * recipe.padding) for side in shape[:2]])
    offset_key, flip_key = jax.random.split(key)
    room = jnp.array([side - (recipe.size or side) for side in shape[:2]]) + 2 * pad
    offset = jax.random.randint(offset_key, (2,), 0, room + 1) - pad
    return Crop(offset, jax.random.bernoulli(flip_key) & recipe.flip)


def draw_part(key: jax.Array, shape: tuple[int, ...], recipe: Recipe, area: tuple[float, float] = PART_AREA) -> Part:
    """A part of a share of the area and an aspect of 3/4 to 4/3, log-uniform (torchvision's RandomResizedCrop).

    Of ten draws the first that fits; the whole image if none does.
    """
    height, width = shape[:2]
    area_key, aspect_key, corner_key, flip_key = jax.random.split(key, 4)
    (smallest, largest), (narrow, wide) = area, PART_ASPECT
    pixels = height * width * jax.random.uniform(area_key, (PART_TRIES,), minval=smallest, maxval=largest)
    logs = jax.random.uniform(aspect_key, (PART_TRIES,), minval=jnp.log(narrow), maxval=jnp.log(wide))
    aspect = jnp.exp(logs)
    extents = jnp.round(jnp.stack([jnp.sqrt(pixels / aspect), jnp.sqrt(pixels * aspect)], axis=1)).astype(jnp.int32)
    whole = jnp.array([height, width])
    fits = jnp.all((extents > 0) & (extents <= whole[None]), axis=1)
    extent = jnp.where(jnp.any(fits), extents[jnp.argmax(fits)], whole)
    corner = jax.random.randint(corner_key, (2,), 0, whole - extent + 1)
    return Part(corner, extent, jax.random.bernoulli(flip_key) & recipe.flip)


def draw_strong(key: jax.Array, shape: tuple[int, ...], recipe: Recipe) -> Strong:
    """A crop, ``recipe.operations`` operations and a cutout."""
    crop_key, operations_key, cutout_key = jax.random.split(key, 3)
    which_key, magnitude_key = jax.random.split(operations_key)
    count, unit = recipe.operations, jax.random.uniform(cutout_key, (3,))
    draw = draw_part if recipe.resized else draw_crop
    return Strong(
        draw(crop_key, shape, recipe),
        jax.random.randint(which_key, (count,), 0, len(OPERATIONS)),
        jax.random.uniform(magnitude_key, (count,)),
        unit * jnp.array([0.5, recipe.size or shape[1], recipe.size or shape[0]]),
    )


def crop_flip(image: Image, drawn: Crop, size: int = 0) -> Image:
    """The drawn window of the reflected-padded image, of ``size`` or as large; one gather for both axes."""
    height, width = image.shape[:2]
    rows = _reflect(jnp.arange(size or height) + drawn.offset[0], height)
    columns = _reflect(jnp.arange(size or width) + drawn.offset[1], width)
    columns = jnp.where(drawn.flip, columns[::-1], columns)
    return image[rows[:, None], columns[None, :]]


def _cropped(image: Image, drawn: Crop | Part, recipe: Recipe) -> Image:
    crop = resize_flip if isinstance(drawn, Part) else crop_flip
    return crop(image, drawn, recipe.size)  # pyright: ignore[reportArgumentType]


def resize_flip(image: Image, drawn: Part, size: int = 0) -> Image:
    """The drawn part of the image, resized to ``size`` or the image's own: Pillow's bilinear, with antialiasing.

    Columns first, rounded to uint8, then rows; weights in its 22-bit fixed point.
    """
    height, width = image.shape[:2]
    rows, row_weights = _taps(drawn.corner[0], drawn.extent[0], height, size or height)
    columns, column_weights = _taps(drawn.corner[1], drawn.extent[1], width, size or width)
    columns = jnp.where(drawn.flip, columns[::-1], columns)
    column_weights = jnp.where(drawn.flip, column_weights[::-1], column_weights)
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
    reach = jnp.maximum(extent, size)  # of the triangle, in 1 / size of an old pixel; what follows, in half of that
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


# The fourteen operations: (u8[H, W, 3], value in the operation's own units) -> [H, W, 3] in 0..255.


def _reflect(index: jax.Array, size: int) -> jax.Array:
    """Indices past either end, mirrored about the first and last pixel (which are not repeated)."""
    index = jnp.abs(index)
    return jnp.where(index >= size, 2 * (size - 1) - index, index)
