"""Pools of images for the cases, and the contexts of the package's trainings on them."""

from pathlib import Path

import jax
import numpy as np

from semiprune_jax.config.schema import Config
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.sources import Dataset, Split
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.stages import images
from semiprune_jax.stages.context import train_context
from semiprune_jax.train.context import TrainContext
from semiprune_jax.workdir.metrics import Metrics


def windows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """u8[count, size, size, 3]: windows of scikit-learn's two photographs, at random places."""
    from sklearn.datasets import load_sample_image

    photos, rng = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")], np.random.default_rng(seed)
    made = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        photo = photos[i % 2]
        y, x = (int(rng.integers(0, side - size)) for side in photo.shape[:2])
        made[i] = photo[y : y + size, x : x + size]
    return made


def labels(count: int, classes: int) -> np.ndarray:
    """i32[count], every class equally often."""
    return np.random.default_rng(0).permutation(np.arange(count, dtype=np.int32) % classes)


def trainer(
    config: Config, pool: np.ndarray, truth: np.ndarray, directory: Path, *, classes: int, test: int = 0
) -> TrainContext:
    """The context of trainings on a pool of squares in memory, of which the first ``test`` are the test set.

    It has one accelerator, or all devices of a CPU: one device unless JAX_NUM_CPU_DEVICES sets another number.

    Args:
      pool: u8[N, S, S, 3].
      truth: i32[N].
    """
    names = tuple(f"class{i}" for i in range(classes))
    train = Split([f"{i:07d}" for i in range(len(pool))], truth, "windows", "windows", pool.__getitem__)
    tests = Split(train.keys[:test], truth[:test], "windows", "windows", pool.__getitem__) if test else None
    devices = jax.devices() if jax.default_backend() == "cpu" else jax.devices()[:1]
    pools = Pools(
        Dataset(names, train, tests),
        images.sizes(config),
        Layout("jit", devices),
        placement="memory",
        memory_share=1.0,
        cache=None,
        decoder="pillow",
        workers=0,
    )
    return train_context(config, pools, Metrics(directory), directory)
