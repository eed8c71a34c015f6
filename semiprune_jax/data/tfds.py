"""Datasets that TensorFlow Datasets has prepared as ArrayRecord; read without TensorFlow.

Preparing one needs TensorFlow itself, once (extra ``prepare``); docs/data.md has the command.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from semiprune_jax.data.decode import decode
from semiprune_jax.data.split import Dataset, Split, check_keys
from semiprune_jax.errors import DataError, DeviceError
from semiprune_jax.workdir.formats import read_table, write_table

_KEYS = ("id", "file_name", "image/filename", "filename")  # features that name an example
_CHUNK = 1024


def check(options: Any) -> Iterator[tuple[str, str]]:
    """Wrong fields of a config's ``data`` section, each with the value expected of it."""
    if not options.name:
        yield "name", f"the name of a dataset, for data.source = {options.source!r}"
    if not options.split:
        yield "split", f"the split of the pool, for data.source = {options.source!r}"


def load(options: Any, notes: Path | None) -> Dataset:
    """The prepared dataset ``options.name``; ids follow the prepared order, keys are its own or "<split>/<position>".

    Args:
      options: its ``path`` is the directory of prepared datasets; empty: TFDS's default. ``split`` and ``test_split``
        may be slices ("train[:90%]"); without a ``test_split`` there is no test set.
      notes: a directory that keeps labels and keys: to find them, every record is read.

    Raises:
      DataError: the dataset, a split or a label is missing, or it was prepared in another format.
    """
    prepared, test = _open(options.name, options.path), None
    if options.test_split:
        test = _split(prepared, options.test_split, "data.test_split", options.decoder, notes)
    return Dataset(prepared.classes, _split(prepared, options.split, "data.split", options.decoder, notes), test)


class _Prepared(NamedTuple):
    """A dataset as TFDS describes it."""

    builder: Any
    where: str  # for messages
    picture: str  # the feature that is the image
    label: str  # the feature that is the class
    key: str | None  # the feature that names an example, if there is one
    classes: tuple[str, ...]


def _open(name: str, path: str) -> _Prepared:
    import tensorflow_datasets as library  # takes seconds to import, and the other sources do not need it

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
    picture = _find_feature(features, library.features.Image, where)
    label = _find_feature(features, library.features.ClassLabel, where)
    key = next((feature for feature in _KEYS if feature in features), None)
    return _Prepared(builder, where, picture, label, key, tuple(features[label].names))


def _split(prepared: _Prepared, part: str, field: str, decoder: str, notes: Path | None) -> Split:
    """One split; ``field`` is the config field that named it."""
    import tensorflow_datasets as library
    from etils import epath

    info, where, classes = prepared.builder.info, prepared.where, prepared.classes
    decoders = {prepared.picture: library.decode.SkipDecoding()}
    try:
        source = prepared.builder.as_data_source(split=part, decoders=decoders)
    except Exception as error:
        raise DataError(f"{field} = {part!r}: {_first_line(error)}; {where} has {', '.join(info.splits)}") from None
    files = [
        (file.filename, epath.Path(file.filename).stat().length, file.skip, file.take)
        for file in info.splits[part].file_instructions
    ]
    identity = hashlib.sha256(repr((prepared.key, files)).encode()).hexdigest()[:16]
    labels, keys = _labels(source, prepared.label, prepared.key, notes and notes / f"records-{identity}.parquet")
    keys = keys or [f"{part}/{i:07d}" for i in range(len(source))]
    if len(labels) and (labels.min() < -1 or labels.max() >= len(classes)):
        raise DataError(f"{where}: labels span {labels.min()}..{labels.max()}; expected -1..{len(classes) - 1}")
    if len(set(keys)) != len(keys):
        names = f"{prepared.key!r} gives {len(keys)} examples {len(set(keys))} names"
        raise DataError(f"{where}: {names}; expected a different one for each")
    check_keys(keys, where)
    digest = hashlib.sha256(f"{info.full_name} {part}".encode() + labels.tobytes())
    digest.update("\n".join(keys).encode())

    def image(row: int) -> np.ndarray:
        return decode(source[row][prepared.picture], decoder)

    return Split(keys, labels, digest.hexdigest(), f"{info.full_name} ({part})", image)


def _labels(source: Any, label: str, key: str | None, note: Path | None) -> tuple[np.ndarray, list[str]]:
    """i32[N] labels, and keys (none if the dataset names no examples), from an earlier note or from all records."""
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


def _find_feature(features: Any, kind: type, where: str) -> str:
    names = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(names) != 1:
        raise DataError(f"{where} has {len(names)} features of type {kind.__name__}; expected one")
    return names[0]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
