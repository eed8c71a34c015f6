"""Datasets that TensorFlow Datasets has prepared as ArrayRecord; read without TensorFlow.

Preparing one needs TensorFlow itself, once (extra ``prepare``); the README has the command.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from tqdm import tqdm

from semiprune_jax.data.decode import decode
from semiprune_jax.data.split import Dataset, Split, check_keys
from semiprune_jax.errors import DataError, DeviceError
from semiprune_jax.workdir.formats import read_table, write_table

_KEYS = ("id", "file_name", "image/filename", "filename")  # features that name an example
_CHUNK = 1024


def tfds(name: str, path: str, split: str, test_split: str, decoder: str, notes: Path | None = None) -> Dataset:
    """A prepared dataset; ids follow the prepared order, keys are the dataset's own or "<split>/<position>".

    Args:
      name: "cifar10", or "cifar10:3.0.2" for one version.
      path: the directory of prepared datasets, gs:// too; empty: TFDS' own default.
      split, test_split: of TFDS, slices ("train[:90%]") too; an empty ``test_split`` is none.
      notes: a directory to keep labels and keys in: to find them, every record is read.

    Raises:
      DataError: the dataset, a split or a label is missing, or it was prepared in another format.
    """
    import tensorflow_datasets as library  # seconds, and not needed by the other sources

    where = f"data.name = {name!r} in {path or 'the default directory'}"
    try:
        builder: Any = library.builder(name, data_dir=path or None)
    except Exception as error:  # of a registry, a parser and a file system
        raise DataError(
            f"{where} is not a prepared dataset ({_first_line(error)}); check both, or prepare it once"
        ) from None
    if not builder.info.splits:
        raise DataError(f"{where} has not been prepared; do so once, as ArrayRecord, with the extra prepare")
    if builder.info.file_format.value != "array_record":
        raise DataError(
            f"{where} was prepared as {builder.info.file_format.value}; prepare it with file_format='array_record'"
        )
    features = builder.info.features
    picture = _one(features, library.features.Image, where)
    label = _one(features, library.features.ClassLabel, where)
    key = next((feature for feature in _KEYS if feature in features), None)
    classes = tuple(features[label].names)

    def load(part: str, field: str) -> Split:
        try:
            source = builder.as_data_source(split=part, decoders={picture: library.decode.SkipDecoding()})
        except Exception as error:
            raise DataError(
                f"{field} = {part!r}: {_first_line(error)}; {where} has {', '.join(builder.info.splits)}"
            ) from None
        files = [
            (file.filename, epath.Path(file.filename).stat().length, file.skip, file.take)
            for file in builder.info.splits[part].file_instructions
        ]
        note = notes and notes / f"records-{hashlib.sha256(repr((key, files)).encode()).hexdigest()[:16]}.parquet"
        labels, keys = _labels(source, label, key, note)
        keys = keys or [f"{part}/{i:07d}" for i in range(len(source))]
        if len(labels) and (labels.min() < -1 or labels.max() >= len(classes)):
            raise DataError(f"{where}: labels span {labels.min()}..{labels.max()}; expected -1..{len(classes) - 1}")
        if len(set(keys)) != len(keys):
            raise DataError(f"{where}: {key!r} names {len(set(keys))} of {len(keys)} examples; expected no two alike")
        check_keys(keys, where)
        digest = hashlib.sha256(f"{builder.info.full_name} {part}".encode() + labels.tobytes())
        digest.update("\n".join(keys).encode())

        def image(row: int) -> np.ndarray:
            return decode(source[row][picture], decoder)

        return Split(keys, labels, digest.hexdigest(), f"{builder.info.full_name} ({part})", image)

    test = load(test_split, "data.test_split") if test_split else None
    return Dataset(classes, load(split, "data.split"), test)


def _labels(source: Any, label: str, key: str | None, note: Path | None) -> tuple[np.ndarray, list[str]]:
    """i32[N] labels, and keys (none if the dataset names no examples): as noted before, or read from all records."""
    if note and note.exists():
        table = read_table(note)
        return table["label"].astype(np.int32), table["key"].tolist() if key else []
    labels, keys = np.empty(len(source), np.int32), []
    with tqdm(total=len(source), desc="reading labels", unit="img", leave=False, disable=None) as bar:
        for first in range(0, len(source), _CHUNK):
            records = source.__getitems__(list(range(first, min(first + _CHUNK, len(source)))))
            labels[first : first + len(records)] = [int(record[label]) for record in records]
            keys += [_text(record[key]) for record in records] if key else []
            bar.update(len(records))
    if note:
        try:
            write_table(note, {"label": labels, "key": keys or [""] * len(labels)})
        except OSError as error:
            raise DeviceError(
                f"{note.parent} cannot be written ({error.strerror}); name another directory as data.cache, or none"
            ) from None
    return labels, keys


def _one(features: Any, kind: type, where: str) -> str:
    names = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(names) != 1:
        raise DataError(f"{where} has {len(names)} features of type {kind.__name__}; expected one")
    return names[0]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
