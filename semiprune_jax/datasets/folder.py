"""Folders of images: class folders, or any folders together with a CSV of paths and labels."""

import csv
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from semiprune_jax.datasets.decode import EXTENSIONS, decode
from semiprune_jax.datasets.split import Dataset, Split, check_keys
from semiprune_jax.errors import ConfigError, DataError

_CHUNK = 1024  # images decoded between two progress reports


def scan(path: str, test_path: str, labels_csv: str, image_size: int, decoder: str) -> Dataset:
    """Lists the images and their labels; reads no pixels.

    Args:
      path: with ``labels_csv``, any folder of images; without, a folder of class folders.
      test_path: class folders of the test set, with the same classes; or empty.
      labels_csv: a table with the columns ``path`` (relative to ``path``) and ``label``; a blank label is unknown, and
        so is an image that the table does not name. The classes are the labels that occur, sorted.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"data.path = {path!r} is not a folder; name the folder that holds the images")
    files = _images(root)
    check_keys(files, path)
    if test_path and (
        root.resolve() in [Path(test_path).resolve(), *Path(test_path).resolve().parents]
        or Path(test_path).resolve() in root.resolve().parents
    ):
        raise DataError(f"data.test_path = {test_path!r} and data.path = {path!r} lie in each other; keep them apart")
    if not files:
        raise DataError(f"data.path = {path!r} holds no images ({', '.join(EXTENSIONS)}); name a folder that does")
    if labels_csv:
        names = _read_labels(Path(labels_csv), set(files))
        classes = tuple(sorted(set(names.values())))
        if len(classes) < 2:
            raise DataError(f"{labels_csv} names {len(classes)} classes; label examples of at least two")
        train = _split(root, files, [names.get(file) for file in files], classes, image_size, decoder)
    else:
        classes = tuple(sorted({file.split("/")[0] for file in files if "/" in file}))
        loose = [file for file in files if "/" not in file]
        if loose or len(classes) < 2:
            raise DataError(
                f"data.path = {path!r} is not made of class folders ({len(classes)} folders with images, "
                f"{len(loose)} images outside any); sort the images into one folder a class, or set data.labels_csv"
            )
        train = _split(root, files, [file.split("/")[0] for file in files], classes, image_size, decoder)
    test = _scan_test(Path(test_path), classes, image_size, decoder) if test_path else None
    return Dataset(classes, train, test, image_size)


def _scan_test(root: Path, classes: tuple[str, ...], image_size: int, decoder: str) -> Split:
    if not root.is_dir():
        raise DataError(f"data.test_path = '{root}' is not a folder; name the folder of the test set's class folders")
    files = _images(root)
    check_keys(files, str(root))
    if loose := [file for file in files if "/" not in file]:
        raise DataError(f"data.test_path = '{root}' holds {loose[0]!r} outside any class folder; sort it into one")
    found = {file.split("/")[0] for file in files}
    if not files or found - set(classes):
        unknown = ", ".join(sorted(found - set(classes))) or "no images"
        raise DataError(f"data.test_path = '{root}' holds {unknown}; expected folders named as the classes are")
    return _split(root, files, [file.split("/")[0] for file in files], classes, image_size, decoder)


def _images(root: Path) -> list[str]:
    """Paths of the images below ``root``, relative, with forward slashes, sorted. Links to folders are not followed."""
    found = []
    for directory, subdirectories, files in os.walk(root):
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
        at = Path(directory).relative_to(root)
        found += [(at / name).as_posix() for name in files if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    return sorted(found)


def _read_labels(path: Path, files: set[str]) -> dict[str, str]:
    """path -> label of the table's labelled rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = [(reader.line_num, row) for row in reader], reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.labels_csv = '{path}' cannot be read as UTF-8 CSV: {error}") from None
    if "path" not in columns or "label" not in columns:
        raise DataError(f"{path} has the columns {', '.join(columns) or 'none'}; expected path,label")
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for number, row in rows:
        name = Path(row["path"] or "").as_posix()
        if name not in files:
            raise DataError(f"{path}, line {number}: {name!r} is not an image in data.path; paths are relative to it")
        if name in seen:
            raise DataError(f"{path}, line {number}: {name!r} stands there twice; keep one line an image")
        seen.add(name)
        if label := (row["label"] or "").strip():
            labels[name] = label
    return labels


def _split(root: Path, files: list[str], names: list[str | None], classes, image_size: int, decoder: str) -> Split:
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([-1 if name is None else index[name] for name in names], np.int32)
    digest = hashlib.sha256(labels.tobytes())
    for file in files:
        # Sizes, not contents: hashing every file of a large pool would take longer than many a run.
        digest.update(f"{file}\0{(root / file).stat().st_size}\n".encode())

    def read(ids: np.ndarray, progress: Callable[[int], None] | None = None) -> np.ndarray:
        images = np.empty((len(ids), image_size, image_size, 3), np.uint8)
        broken: list[str] = []

        def one(row: int) -> None:
            file = files[ids[row]]
            try:
                images[row] = decode((root / file).read_bytes(), image_size, decoder)
            except ImportError as error:
                raise ConfigError(f"data.decoder='fast' needs the extra fast-decode ({error}); install it") from None
            except Exception as error:  # a decoder may raise anything on a broken file
                broken.append(f"{file} ({type(error).__name__}: {error})")

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for first in range(0, len(ids), _CHUNK):
                list(threads.map(one, range(first, min(first + _CHUNK, len(ids)))))
                if progress:
                    progress(min(first + _CHUNK, len(ids)))
        if broken:
            some = "; ".join(sorted(broken)[:10]) + ("; ..." if len(broken) > 10 else "")
            raise DataError(
                f"{len(broken)} of {len(ids)} images in {root} cannot be decoded: {some}; repair or remove them"
            )
        return images

    return Split(files, labels, digest.hexdigest(), read)
