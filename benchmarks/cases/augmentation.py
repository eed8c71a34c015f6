"""A1: views of a batch, made on the device from a pool that lies there, against Pillow on one core of the host."""

import random
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks import pools
from benchmarks.protocol import OURS, Case, Contender
from benchmarks.reference import augmentation, loader
from semiprune_jax.augment import randaugment, views
from semiprune_jax.data import memory
from semiprune_jax.data.memory import MemoryArrays
from semiprune_jax.randomness import example_keys, stream_key

_MEAN, _STD, _PADDING = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), 0.125
# AutoContrast may be off by a grey level where Pillow's table of doubles truncates.
_PIXELS = 0.01


class Task(NamedTuple):
    """Views of one size."""

    kind: str  # weak | strong
    batch: int
    pixels: int
    square: int  # pixels of the pool's images
    pool: int = 4096


TASKS = {
    "cpu": {
        "A1-weak": Task("weak", 448, 32, 32),
        "A1-strong": Task("strong", 448, 32, 32),
        "A1-strong-224": Task("strong", 64, 224, 256, pool=256),
    },
    "smoke": {"A1-weak": Task("weak", 8, 8, 8, pool=16), "A1-strong": Task("strong", 8, 8, 8, pool=16)},
}
TASKS["gpu"] = TASKS["cpu"]


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    return Case(
        what=f"{task.kind} views of {task.batch} images at {task.pixels} pixels",
        unit="batch",
        n=task.batch,
        dtype="uint8 to float32",
        contenders={OURS: partial(_ours, task), "R0": partial(_pillow, task)},
        prove=partial(_prove, task),
    )


def _recipe(task: Task) -> views.Recipe:
    resized = task.square > task.pixels
    padding = 0.0 if resized else _PADDING
    return views.Recipe(_MEAN, _STD, padding, flip=True, size=task.pixels if resized else 0, resized=resized)


def _ours(task: Task) -> Contender:
    recipe = _recipe(task)
    if task.kind == "weak":
        return contender(jax.vmap(views.weak_view(recipe)), task.pool, task.square, task.batch, units=50)
    strong = views.strong_views(recipe, sequential=jax.default_backend() == "cpu")
    return contender(strong, task.pool, task.square, task.batch)


def contender(view: views.View, n: int, square: int, batch: int, units: int = 5) -> Contender:
    """Views of a batch out of ``n`` squares that lie on the device, made ``units`` times in each round."""
    pool = MemoryArrays.of(pools.windows(n, square), np.zeros(n, np.int32))
    ids = jnp.asarray(np.random.default_rng(0).integers(0, n, batch), jnp.int32)
    steps = iter(range(1 << 30))

    @jax.jit
    def made(pool: MemoryArrays, ids: jax.Array, step: jax.Array) -> jax.Array:
        keys = example_keys(stream_key(0, "views"), step, jnp.arange(batch))
        return view(keys, memory.fetch(pool, ids)["image"])

    def run() -> None:
        for _ in range(units):  # each batch replaces the one before, as in a training step
            jax.block_until_ready(made(pool, ids, jnp.int32(next(steps))))

    return Contender(run, units=units, images=batch, facts=lambda: {"moved_bytes": 4 * batch})


def _pillow(task: Task) -> Contender:
    images = pools.windows(task.pool, task.square)
    views = loader.Views(
        images, np.zeros(task.pool, int), (task.kind,), (_MEAN, _STD), padding=_PADDING, size=task.pixels
    )

    def run() -> None:
        np.stack([views[random.randrange(task.pool)][2] for _ in range(task.batch)])

    return Contender(run, images=task.batch, facts=lambda: {"moved_bytes": 12 * task.batch * task.pixels**2})


def _prove(task: Task) -> dict[str, float]:
    """Checks that Pillow makes the same views from the same draws."""
    recipe, count = _recipe(task), min(task.batch, 64)
    images = pools.windows(count, task.square)
    keys = example_keys(stream_key(0, "proof"), jnp.int32(0), jnp.arange(count))
    names, box = list(randaugment.OPERATIONS), task.square > task.pixels
    if task.kind == "strong":
        drawn = jax.vmap(lambda key: views.strong_params(key, images.shape[1:], recipe))(keys)
        strong = views.strong_views(recipe, sequential=jax.default_backend() == "cpu")
        got, crop = jax.jit(strong)(keys, images), drawn.crop
    else:
        drawn = None
        crop = jax.vmap(lambda key: views.random_crop_params(key, images.shape[1:], recipe))(keys)
        got = jax.jit(jax.vmap(views.weak_view(recipe)))(keys, images)
    levels = np.round((np.asarray(got) * _STD + _MEAN) * 255)
    different = 0.0
    for i, array in enumerate(images):
        image, flip = Image.fromarray(array), bool(crop.flip[i])
        if box:
            part = (*(int(v) for v in crop.corner[i]), *(int(v) for v in crop.extent[i]))
            view = augmentation.resize_flip(image, part, flip, task.pixels)
        else:
            view = augmentation.crop_flip(image, tuple(crop.offset[i].tolist()), flip, _PADDING)
        if drawn is not None:
            draws = zip(drawn.operation[i], drawn.magnitude[i], strict=True)
            operations = [(names[int(which)], float(magnitude)) for which, magnitude in draws]
            view = augmentation.strong(view, operations, tuple(float(v) for v in drawn.cutout[i]))
        different += np.mean(levels[i] != np.asarray(view)) / count
    if different > _PIXELS:
        raise AssertionError(f"{different:.2%} of the pixels differ from Pillow's; allowed are {_PIXELS:.0%}")
    return {"pixels_that_differ": float(different)}
