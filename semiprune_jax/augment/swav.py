"""SwAV's views: random resized crops of an image at one or two sizes, their colours changed. Pure; run on the device.

They follow the PyTorch recipe (facebookresearch/swav): crop and flip, colour jitter of 0.8, 0.8, 0.8 and 0.2 with
probability 0.8, grey with 0.2, blur with 0.5. Two things differ: the four jitters come in one order, where torchvision
shuffles them, and the blur is a Gaussian, where Pillow runs a few box blurs.
"""

import jax
import jax.numpy as jnp

from semiprune_jax.augment.crops import resized_crop, resized_crop_params
from semiprune_jax.augment.randaugment import Image
from semiprune_jax.augment.recipe import Recipe
from semiprune_jax.augment.views import View, normalise

BRIGHTNESS = CONTRAST = SATURATION = 0.8
HUE = 0.2
JITTERED, GREY, BLURRED = 0.8, 0.2, 0.5  # probabilities
_SIGMA = (0.1, 2.0)
_REACH = 6  # pixels of the blur's kernel to each side: three of the largest sigma
_GREY = (0.299, 0.587, 0.114)


def crop_view(recipe: Recipe, size: int, area: tuple[float, float]) -> View:
    """A random resized crop of ``size`` pixels, its area a share of the image in that range; recoloured, normalised."""

    def view(key: jax.Array, image: Image) -> Image:
        crop_key, colour_key = jax.random.split(key)
        crop = resized_crop(image, resized_crop_params(crop_key, image.shape, recipe, area), size)
        return normalise(255.0 * recolour(colour_key, crop.astype(jnp.float32) / 255.0), recipe.mean, recipe.std)

    return view


def recolour(key: jax.Array, x: Image) -> Image:
    """An image f32[H, W, 3] in [0, 1], jittered, turned grey or blurred, each with its probability."""
    jitter_key, chance_key, blur_key = jax.random.split(key, 3)
    chance = jax.random.uniform(chance_key, (3,))
    x = jnp.where(chance[0] < JITTERED, jitter(x, jax.random.uniform(jitter_key, (4,))), x)
    x = jnp.where(chance[1] < GREY, jnp.broadcast_to(grey(x), x.shape), x)
    low, high = _SIGMA
    return jnp.where(chance[2] < BLURRED, blur(x, jax.random.uniform(blur_key, minval=low, maxval=high)), x)


def jitter(x: Image, unit: jax.Array) -> Image:
    """Changes brightness, contrast, saturation and hue by ``unit`` f32[4] in [0, 1), which spans the range of each."""

    def blend(other: Image, x: Image, strength: float, unit: jax.Array) -> Image:
        factor = 1.0 + strength * (2.0 * unit - 1.0)
        return jnp.clip(other + factor * (x - other), 0.0, 1.0)

    x = blend(jnp.zeros_like(x), x, BRIGHTNESS, unit[0])
    x = blend(jnp.full_like(x, jnp.mean(grey(x))), x, CONTRAST, unit[1])
    x = blend(jnp.broadcast_to(grey(x), x.shape), x, SATURATION, unit[2])
    return turn_hue(x, HUE * (2.0 * unit[3] - 1.0))


def grey(x: Image) -> Image:
    """Luma f32[H, W, 1]."""
    return jnp.sum(x * jnp.array(_GREY)[None, None], axis=-1, keepdims=True)


def turn_hue(x: Image, turn: jax.Array) -> Image:
    """The hue turned by ``turn`` of the whole circle; saturation and value (HSV) stay."""
    high, low = jnp.max(x, axis=-1), jnp.min(x, axis=-1)
    spread = high - low
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    safe = jnp.where(spread > 0, spread, 1.0)
    sector = jnp.where(high == r, (g - b) / safe, jnp.where(high == g, 2.0 + (b - r) / safe, 4.0 + (r - g) / safe))
    hue = sector / 6.0 + turn
    # Each channel is the highest value, less the spread times the distance of the hue from that channel's own third.
    away = (jnp.array([5.0, 3.0, 1.0])[None, None] + 6.0 * hue[..., None]) % 6.0
    return high[..., None] - spread[..., None] * jnp.clip(jnp.minimum(away, 4.0 - away), 0.0, 1.0)


def blur(x: Image, sigma: jax.Array) -> Image:
    """A Gaussian of ``sigma`` pixels; borders repeated."""
    offsets = jnp.arange(-_REACH, _REACH + 1)
    weights = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / jnp.sum(weights)
    for axis in (0, 1):
        at = jnp.clip(jnp.arange(x.shape[axis])[:, None] + offsets[None], 0, x.shape[axis] - 1)
        taps = jnp.take(x, at, axis=axis)  # the axis becomes two: positions and taps
        x = jnp.tensordot(taps, weights, axes=((axis + 1,), (0,)))
    return x
