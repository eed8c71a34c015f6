"""Results of PyTorch and Pillow on given weights, batches and draws; ``python -m tests.goldens`` makes the files.

This module is shared by the maker, which needs PyTorch, and by tests/models/test_parity.py, which does not. Both draw
every weight from its name and shape, so that the files hold only a few numbers of each tensor.
"""

import zlib
from pathlib import Path

import numpy as np

DIRECTORY = Path(__file__).parent
MEAN, STD = (0.45, 0.5, 0.4), (0.2, 0.25, 0.3)

# name -> (classes, pixels along a side)
NETWORKS = {
    "wrn_28_2": (10, 16),
    "wrn_28_8": (100, 8),
    "resnet18_cifar": (10, 8),
    "resnet18": (10, 32),
    "resnet34": (10, 32),
    "resnet50": (10, 32),
}
STEP = {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
EMA_DECAY, BN_MOMENTUM = 0.9, 0.9  # lower than usual, so that a wrong update shows

FIXMATCH = {"pool": 20, "steps": 5, "batch": 4, "mu": 2, "classes": 3, "threshold": 0.6, "weight": 0.7, "pixels": 16}
PROXY = {"pool": 18, "steps": 5, "batch": 4, "classes": 3, "pixels": 16}  # the fifth batch has two examples
PADDING = 0.125


def generator(name: str) -> np.random.Generator:
    """A generator that gives the same numbers for the same name on every machine."""
    return np.random.default_rng(zlib.crc32(name.encode()))


# Arguments of models.networks.vit for small networks, and sides of images; the first side is that of the grid.
VITS = {"vit_s16": (16, 24, 2, 3, 3, False), "vit_s14": (14, 24, 2, 3, 3, True)}
VIT_PIXELS = {"vit_s16": (48, 80), "vit_s14": (42, 70)}


def named_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of one tensor by its name in PyTorch, f32, in PyTorch's layout."""
    draw = generator(name).standard_normal(shape)
    if name.endswith(("running_var", "gamma")) or (len(shape) == 1 and name.endswith("weight")):
        return np.exp(0.2 * draw).astype(np.float32)
    if len(shape) in (2, 4):
        return (draw * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    return (0.1 * draw).astype(np.float32)


def weight(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of one tensor, f64, in Flax's layout: He-like kernels, norms and statistics away from 1 and 0."""
    draw, leaf = generator(path).standard_normal(shape), path.rpartition("/")[2]
    if leaf == "kernel":
        return draw * np.sqrt(2 / np.prod(shape[:-1]))
    if leaf in ("scale", "var"):
        return np.exp(0.2 * draw)
    return 0.1 * draw


def sample(path: str, array: np.ndarray) -> np.ndarray:
    """f64[10] of a tensor in Flax's layout: root mean square, mean, and eight of its values."""
    array = np.asarray(array, np.float64)
    places = generator(path).integers(0, array.size, 8)
    return np.r_[np.sqrt(np.mean(array**2)), np.mean(array), array.ravel()[places]]


def samples(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors' names, sorted, and f32[tensors, 10] of their samples."""
    paths = sorted(arrays)
    rows = np.stack([sample(path, arrays[path]) for path in paths]).astype(np.float32)
    return {f"{prefix}/path": np.array(paths), prefix: rows}


def natural_images(count: int, size: int) -> np.ndarray:
    """u8[count, size, size, 3] windows of scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_image

    photos, rng = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")], np.random.default_rng(0)
    images = []
    for i in range(count):
        photo = photos[i % 2]
        y, x = (int(rng.integers(0, side - 4 * size)) for side in photo.shape[:2])
        images.append(photo[y : y + 4 * size : 4, x : x + 4 * size : 4])
    return np.stack(images)


def fixmatch_feed(step: int) -> dict[str, np.ndarray]:
    """Ids of one FixMatch batch."""
    rng = generator(f"fixmatch/{step}")
    labelled = rng.permutation(9)[: FIXMATCH["batch"]]  # nine of the pool are labelled
    return {"labelled": labelled, "unlabelled": rng.permutation(FIXMATCH["pool"])[: FIXMATCH["batch"] * FIXMATCH["mu"]]}


def proxy_feed(step: int) -> np.ndarray:
    """Ids of one proxy batch of an epoch over the pool; the last batch is short."""
    first = step * PROXY["batch"]
    return generator("proxy").permutation(PROXY["pool"])[first : first + PROXY["batch"]]


def labels(pool: int, classes: int) -> np.ndarray:
    """i32[pool]."""
    return np.arange(pool, dtype=np.int32) % classes
