"""Views of images: weak, strong (RandAugment, then Cutout) and evaluation. Pure functions, run on the device.

A view takes one image, uint8 [H, W, 3], and gives float32 [H, W, 3], normalised; everything random comes from one key.
Over a batch views are mapped, and strong ones are written for a batch: a ``vmap`` of ``switch`` would run all fourteen
operations on every image.

The parameters of a strong view are drawn apart (``strong_params``), so that another implementation can be given the
same ones. The strong view is USB's (``semilearn/datasets/augmentation/randaugment.py``): operations drawn with
replacement, each with a fresh magnitude, and always Cutout after them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiprune_jax.augment.crops import (
    RandomCropParams,
    ResizedCropParams,
    random_crop,
    random_crop_params,
    resized_crop,
    resized_crop_params,
)
from semiprune_jax.augment.randaugment import OPERATIONS, Image, cutout, one_by_one, together
from semiprune_jax.augment.recipe import Recipe

View = Callable[[jax.Array, Image], Image]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def evaluation_view(recipe: Recipe) -> View:
    """The image as it is, normalised. The key is not used."""
    return lambda key, image: normalise(image, recipe.mean, recipe.std)


def enlarged_view(side: int) -> View:
    """The image resized to ``side`` pixels, bicubic, normalised by ImageNet's statistics: for pretrained networks."""

    def view(key: jax.Array, image: Image) -> Image:
        del key
        shape = (side, side, image.shape[-1])
        resized = jax.image.resize(image.astype(jnp.float32), shape, "cubic") if image.shape != shape else image
        return normalise(jnp.clip(jnp.round(resized), 0, 255), IMAGENET_MEAN, IMAGENET_STD)

    return view


def weak_view(recipe: Recipe) -> View:
    """Reflect-pad, random crop to size, horizontal flip with probability 1/2 if allowed, normalise."""

    def view(key: jax.Array, image: Image) -> Image:
        params = random_crop_params(key, image.shape, recipe)
        return normalise(random_crop(image, params, recipe.size), recipe.mean, recipe.std)

    return view


def resized_crop_view(recipe: Recipe) -> View:
    """A random resized crop, flipped as a weak view, normalised: the training view of ImageNet."""

    def view(key: jax.Array, image: Image) -> Image:
        params = resized_crop_params(key, image.shape, recipe)
        return normalise(resized_crop(image, params, recipe.size), recipe.mean, recipe.std)

    return view


def strong_views(recipe: Recipe, *, sequential: bool) -> View:
    """Of each image a crop and flip of its own, then RandAugment, Cutout, normalise.

    (keys [B], images u8[B, H, W, 3]) -> f32[B, H, W, 3], in one of two ways. In both, each image runs its own
    operations only (but for some room, see ``randaugment``). ``sequential``: one image after the other, for CPUs;
    otherwise images with the same operation together, for devices that are wide.
    """
    operate = one_by_one if sequential else together
    # A resized crop is made in many passes, which stay in a processor's cache if they are over one image.
    map_crops = jax.lax.map if sequential and recipe.resized else lambda crop, batch: jax.vmap(crop)(batch)

    def view(keys: jax.Array, images: Image) -> Image:
        params = jax.vmap(lambda key: strong_params(key, images.shape[1:], recipe))(keys)
        x = map_crops(lambda pair: _crop(pair[0], pair[1], recipe), (images, params.crop))
        x = operate(x, params.operation.T, params.magnitude.T)
        x = jax.vmap(lambda image, box: cutout(image, *box))(x, params.cutout)
        return normalise(x, recipe.mean, recipe.std)

    return view


def normalise(image: Image, mean: tuple[float, ...], std: tuple[float, ...]) -> Image:
    """(image / 255 - mean) / std of each channel, in float32."""
    per_channel = (1,) * (image.ndim - 1) + (len(mean),)
    shift = jnp.asarray(mean, jnp.float32).reshape(per_channel)
    scale = jnp.asarray(std, jnp.float32).reshape(per_channel)
    return (image.astype(jnp.float32) / 255.0 - shift) / scale


class StrongParams(NamedTuple):
    """The parameters of a strong view."""

    crop: RandomCropParams | ResizedCropParams
    operation: jax.Array  # i32[count], drawn with replacement
    magnitude: jax.Array  # f32[count] in [0, 1), a fresh one each
    cutout: jax.Array  # f32[3]: side as a fraction of the width, in [0, 1/2), and the centre (x, y) in (1, side] pixels


def strong_params(key: jax.Array, shape: tuple[int, ...], recipe: Recipe) -> StrongParams:
    """A crop, ``recipe.operations`` operations and a cutout."""
    crop_key, operations_key, cutout_key = jax.random.split(key, 3)
    which_key, magnitude_key = jax.random.split(operations_key)
    count, unit = recipe.operations, jax.random.uniform(cutout_key, (3,))
    crop_params = resized_crop_params if recipe.resized else random_crop_params
    sides = jnp.array([recipe.size or shape[1], recipe.size or shape[0]], jnp.float32)
    centre = sides - (sides - 1.0) * unit[1:]  # in (1, side], as USB's np.random.uniform(side) draws it
    return StrongParams(
        crop_params(crop_key, shape, recipe),
        jax.random.randint(which_key, (count,), 0, len(OPERATIONS)),
        jax.random.uniform(magnitude_key, (count,)),
        jnp.concatenate([0.5 * unit[:1], centre]),
    )


def _crop(image: Image, params: RandomCropParams | ResizedCropParams, recipe: Recipe) -> Image:
    if isinstance(params, ResizedCropParams):
        return resized_crop(image, params, recipe.size)
    return random_crop(image, params, recipe.size)
