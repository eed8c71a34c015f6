"""Sources that are arrays: scikit-learn's digits and .npz files."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.data.budget import draw
from semiprune_jax.data.split import Dataset, Split, check_keys
from semiprune_jax.errors import DataError

DIGITS_TEST = 360


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels: 1,437 to train on and 360 to test, stratified.

    The split is drawn by hash, so it is the same with every version of scikit-learn.
    """
    from sklearn.datasets import load_digits  # seconds to import

    bunch: Any = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int32)
    keys = [f"digits/{i:04d}" for i in range(len(labels))]
    test = draw("per_class", labels, keys, DIGITS_TEST, seed=0)
    train = np.setdiff1d(np.arange(len(labels)), test)

    def split(rows: np.ndarray) -> Split:
        return _split(images[rows], labels[rows], [keys[i] for i in rows], "the digits")

    return Dataset(tuple(str(name) for name in bunch.target_names), split(train), split(test))


def npz(path: str) -> Dataset:
    """A file of arrays, never pickled ones.

    Arrays: x_train u8[N, H, W, 3] (or [N, H, W] for grey), y_train int[N] (-1: unknown), and optionally x_test,
    y_test, classes (text [C]) and keys_train, keys_test (text [N]). Without ``classes`` the labels name them.

    Raises:
      DataError: something is missing or has another shape or type.
    """
    if not Path(path).is_file():
        raise DataError(f"data.path = {path!r} is not a file; expected an .npz with x_train and y_train")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:  # numpy leaves a broken one open
            arrays = dict(held)
    except Exception as error:  # numpy raises a different type for each way a file can be broken
        reason = "Python objects, or no .npz at all" if "pickle" in str(error) else error
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: {reason}") from None
    for name in ("x_train", "y_train"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}, only {', '.join(sorted(arrays)) or 'nothing'}")
    for name in ("y_train", "y_test"):
        if name in arrays and arrays[name].dtype.kind not in "iu":
            raise DataError(f"{path}: {name} is {arrays[name].dtype}; expected whole numbers, -1 where unknown")
    given = np.concatenate([arrays[name].astype(np.int64).ravel() for name in ("y_train", "y_test") if name in arrays])
    largest = int(given.max(initial=-1))
    if "classes" not in arrays and largest >= len(given):
        raise DataError(f"{path}: {len(given)} labels go up to {largest}; number the classes from 0, or name them all")
    classes = _texts(arrays, "classes", np.arange(largest + 1), path)
    if len(classes) < 2:
        raise DataError(f"{path} has labels of {len(classes)} classes; label examples of at least two")

    def split(part: str) -> Split | None:
        if f"x_{part}" not in arrays or (part == "test" and arrays["x_test"].shape[:1] == (0,)):
            return None
        x, y = arrays[f"x_{part}"], arrays.get(f"y_{part}")
        if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)):
            raise DataError(f"{path}: x_{part} is {x.dtype}{list(x.shape)}; expected uint8 [N, H, W, 3] or [N, H, W]")
        if y is None or y.shape != (len(x),):
            got = "absent" if y is None else f"of shape {list(y.shape)}"
            raise DataError(f"{path}: y_{part} is {got}; expected one label an image, [{len(x)}]")
        lowest = 0 if part == "test" else -1  # a test label that is not known cannot be tested
        if len(y) and (y.min() < lowest or y.max() >= len(classes)):
            raise DataError(f"{path}: y_{part} spans {y.min()}..{y.max()}; expected {lowest}..{len(classes) - 1}")
        keys = _texts(arrays, f"keys_{part}", np.array([f"{part}/{i:07d}" for i in range(len(x))]), path)
        if len(set(keys)) != len(x):
            raise DataError(f"{path}: keys_{part} names {len(set(keys))} examples; expected {len(x)}, no two alike")
        check_keys(keys, path)
        return _split(x, y.astype(np.int32), list(keys), path)

    train = split("train")
    assert train is not None
    return Dataset(classes, train, split("test"))


def _texts(arrays: dict[str, np.ndarray], name: str, default: np.ndarray, path: str) -> tuple[str, ...]:
    """An array of names, each as a str."""
    array = arrays.get(name, default)
    if array.ndim != 1:
        raise DataError(f"{path}: {name} is of shape {list(array.shape)}; expected one list of names")
    try:
        return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in array.tolist())
    except UnicodeDecodeError:
        raise DataError(f"{path}: {name} holds bytes that are not UTF-8; save them as text") from None


def _split(images: np.ndarray, labels: np.ndarray, keys: list[str], where: str) -> Split:
    if images.ndim == 3:
        images = images[..., None]

    def image(row: int) -> np.ndarray:
        return np.broadcast_to(images[row], (*images.shape[1:3], 3))

    content = hashlib.sha256(images.tobytes() + labels.tobytes() + "\n".join(keys).encode()).hexdigest()
    return Split(keys, labels, content, where, image)
