"""Sources that are arrays: scikit-learn's digits and .npz files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.data.budget import draw
from semiprune_jax.data.split import Dataset, Split, check_keys
from semiprune_jax.errors import DataError

DIGITS_TEST = 360


def check_digits(options: Any) -> Iterator[tuple[str, str]]:
    """Nothing: the digits come with scikit-learn."""
    del options
    yield from ()


def check_npz(options: Any) -> Iterator[tuple[str, str]]:
    """Wrong fields of a config's ``data`` section, each with the value expected of it."""
    if not options.path:
        yield "path", f"where the data lies, for data.source = {options.source!r}"


def load_digits(options: Any, notes: Path | None) -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels: 1,437 to train on and 360 to test, stratified.

    The split is drawn by hash, so it is the same with every version of scikit-learn.
    """
    from sklearn.datasets import load_digits as load  # takes seconds to import

    del options, notes
    bunch: Any = load()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int32)
    keys = [f"digits/{i:04d}" for i in range(len(labels))]
    test = draw("per_class", labels, keys, DIGITS_TEST, seed=0)
    train = np.setdiff1d(np.arange(len(labels)), test)

    def split(rows: np.ndarray) -> Split:
        return _split(images[rows], labels[rows], [keys[i] for i in rows], "the digits")

    return Dataset(tuple(str(name) for name in bunch.target_names), split(train), split(test))


def load_npz(options: Any, notes: Path | None) -> Dataset:
    """The file of arrays ``options.path``; it may hold no Python objects, which would have to be unpickled.

    Arrays: x_train u8[N, H, W, 3] (or [N, H, W] for grey), y_train int[N] (-1: unknown), and optionally x_test,
    y_test, classes (text [C]) and keys_train, keys_test (text [N]). Without ``classes`` the classes are the numbers
    from 0 to the largest label.

    Raises:
      DataError: an array is missing, or has another shape or type.
    """
    del notes
    path = options.path
    arrays = _read(path)
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
    train = _part(arrays, "train", len(classes), path)
    # A test set of no images, of whatever shape, is none.
    tested = "x_test" in arrays and arrays["x_test"].shape[:1] != (0,)
    return Dataset(classes, train, _part(arrays, "test", len(classes), path) if tested else None)


def _read(path: str) -> dict[str, np.ndarray]:
    """The arrays of a file, among them x_train and y_train."""
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
    return arrays


def _part(arrays: dict[str, np.ndarray], part: str, classes: int, path: str) -> Split:
    """The pool ("train") or the test set ("test")."""
    x, y = arrays[f"x_{part}"], arrays.get(f"y_{part}")
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)):
        raise DataError(f"{path}: x_{part} is {x.dtype}{list(x.shape)}; expected uint8 [N, H, W, 3] or [N, H, W]")
    if y is None or y.shape != (len(x),):
        got = "absent" if y is None else f"of shape {list(y.shape)}"
        raise DataError(f"{path}: y_{part} is {got}; expected one label per image, [{len(x)}]")
    lowest = 0 if part == "test" else -1  # an example without a label cannot be tested
    if len(y) and (y.min() < lowest or y.max() >= classes):
        raise DataError(f"{path}: y_{part} spans {y.min()}..{y.max()}; expected {lowest}..{classes - 1}")
    keys = _texts(arrays, f"keys_{part}", np.array([f"{part}/{i:07d}" for i in range(len(x))]), path)
    if len(set(keys)) != len(x):
        names = f"keys_{part} gives {len(x)} examples {len(set(keys))} names"
        raise DataError(f"{path}: {names}; expected a different one for each")
    check_keys(keys, path)
    return _split(x, y.astype(np.int32), list(keys), path)


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
