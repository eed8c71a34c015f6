"""Embeddings from a file of the user, which has a row for each image of the pool, by id or by key."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from semiprune_jax.errors import DataError

KINDS = (".npy", ".npz", ".safetensors", ".parquet")


def existing(path: str, source: str, network: str) -> Path:
    """The path of embeddings (``source`` "file") or of weights of ``network`` ("weights").

    Raises:
      DataError: there is no such file.
    """
    if not Path(path).is_file():
        held = "the pool's embeddings" if source == "file" else f"the weights of {network}"
        raise DataError(f"embed.path = {path!r} is not a file; name one that holds {held}")
    return Path(path)


def read(path: Path, keys: Sequence[str]) -> np.ndarray:
    """The embeddings f32[N, D] in the order of ``keys``.

    A .npy holds the array itself, in the order of ids. An .npz or .safetensors holds the array "features", and "ids" if
    rows are in another order (an .npz may have "keys" instead). A parquet table has the columns "features" (lists) and
    "id" or "key".

    Raises:
      DataError: the file cannot be read, has the wrong length, names an image twice or one that is not in the pool, or
        holds a value that is not finite.
    """
    if path.suffix not in KINDS:
        raise DataError(f"embed.path = {str(path)!r}: expected a file that ends in {', '.join(KINDS)}")
    try:
        arrays = _arrays(path)
    except OSError as error:
        raise DataError(f"embed.path = {str(path)!r} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # there is a type for each way in which a file can be broken
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); write it again") from None
    if "features" not in arrays:
        raise DataError(f"{path} has no 'features', only {', '.join(sorted(arrays)) or 'nothing'}")
    features = arrays["features"]
    if features.ndim != 2 or features.dtype.kind not in "fiu" or features.shape[1] == 0:
        raise DataError(f"{path}: features are {features.dtype}{list(features.shape)}; expected numbers [N, D]")
    if len(features) != len(keys):
        raise DataError(
            f"{path} has {len(features)} embeddings; the pool has {len(keys)} images: one is needed for each"
        )
    rows = _rows(path, arrays, keys)
    ordered = np.empty(features.shape, np.float32)
    ordered[rows] = features
    bad = np.flatnonzero(~np.isfinite(ordered).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: {len(bad)} embeddings are not finite, first that of {keys[bad[0]]!r}; compute them again"
        )
    return ordered


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npy":
        return {"features": np.load(path, allow_pickle=False)}
    if path.suffix == ".npz":
        with (
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):  # numpy would leave a broken file open
            return dict(arrays)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    arrays = {name: table.column(name).to_numpy() for name in table.column_names if name != "features"}
    if "features" in table.column_names:
        arrays["features"] = np.array(table.column("features").to_pylist())
    return arrays


def _rows(path: Path, arrays: Mapping[str, np.ndarray], keys: Sequence[str]) -> np.ndarray:
    """The row of the pool of each embedding."""
    names = arrays.get("keys", arrays.get("key"))
    if names is not None:
        if names.shape != (len(keys),):
            raise DataError(f"{path}: keys are {list(names.shape)}; expected [{len(keys)}], one per embedding")
        names = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names.tolist()]
        known = {key: row for row, key in enumerate(keys)}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise DataError(f"{path} names {len(unknown)} images that are not in the pool, first {str(unknown[0])!r}")
        rows = np.array([known[name] for name in names], np.int64)
    else:
        rows = np.asarray(arrays.get("ids", arrays.get("id", np.arange(len(keys)))))
        if rows.shape != (len(keys),) or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(keys):
            raise DataError(f"{path}: ids are not whole numbers of 0 .. {len(keys) - 1}, one per embedding")
    if len(np.unique(rows)) != len(rows):
        twice = keys[int(np.argmax(np.bincount(rows)))]
        raise DataError(f"{path} has more than one embedding of {twice!r}; one is needed for each image")
    return rows
