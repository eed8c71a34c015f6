"""Folders of images: class folders, or any folders together with a CSV of paths and labels."""

import csv
import difflib
import hashlib
import io
import os
from pathlib import Path

import numpy as np

from semiprune_jax.datasets.decode import EXTENSIONS
from semiprune_jax.datasets.encoded import encoded_split
from semiprune_jax.datasets.split import Dataset, Split, check_keys
from semiprune_jax.errors import DataError


def scan(
    path: str, test_path: str, labels_csv: str, image_size: int, decoder: str, classes: tuple[str, ...] = ()
) -> Dataset:
    """Lists the images and their labels; reads no pixels.

    Args:
      path: with ``labels_csv``, any folder of images; without, a folder of class folders.
      test_path: class folders of the test set, with the same classes; or empty.
      labels_csv: a table with the columns ``path`` (relative to ``path``) and ``label``; a blank label is unknown, and
        so is an image that the table does not name.
      classes: their names, in order; labels and folders of other names are errors. Empty: those that occur, sorted.
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
        names = _read_labels(Path(labels_csv), set(files), classes)
        classes = classes or tuple(sorted(set(names.values())))
        if len(classes) < 2:
            raise DataError(f"{labels_csv} names {len(classes)} classes; label examples of at least two")
        train = _split(root, files, [names.get(file) for file in files], classes, image_size, decoder)
    else:
        found = sorted({file.split("/")[0] for file in files if "/" in file})
        loose = [file for file in files if "/" not in file]
        if loose or len(found) < 2:
            raise DataError(
                f"data.path = {path!r} is not made of class folders ({len(found)} folders with images, "
                f"{len(loose)} images outside any); sort the images into one folder a class, or set data.labels_csv"
            )
        for name in found if classes else ():
            _check_class(name, classes, f"data.path = {path!r} holds the folder")
        classes = classes or tuple(found)
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
    if not files:
        raise DataError(f"data.test_path = '{root}' holds no images; expected folders named as the classes are")
    for name in sorted({file.split("/")[0] for file in files}):
        _check_class(name, classes, f"data.test_path = '{root}' holds the folder")
    return _split(root, files, [file.split("/")[0] for file in files], classes, image_size, decoder)


def _images(root: Path) -> list[str]:
    """Paths of the images below ``root``, relative, with forward slashes, sorted. Links to folders are not followed."""
    found = []
    for directory, subdirectories, files in os.walk(root):
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
        at = Path(directory).relative_to(root)
        found += [(at / name).as_posix() for name in files if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    return sorted(found)


def _check_class(name: str, classes: tuple[str, ...], where: str) -> None:
    if name not in classes:
        known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        close = difflib.get_close_matches(name, classes, 1)
        hint = f"did you mean {close[0]!r}?" if close else "rename it"
        raise DataError(f"{where} {name!r}, which is no class; expected {known}; {hint}")


def _read_labels(path: Path, files: set[str], classes: tuple[str, ...]) -> dict[str, str]:
    """path -> label of the table's labelled rows."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"data.labels_csv = '{path}' cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}, is not UTF-8 ({error.reason}); save the table as UTF-8") from None
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows, columns = [(reader.line_num, row) for row in reader], reader.fieldnames or []
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); save the table as CSV with commas") from None
    if "path" not in columns or "label" not in columns:
        separators = [name for name in (";", "\t", "|") if len(columns) == 1 and name in columns[0]]
        hint = f", separated by commas, not by {separators[0]!r}" if separators else ""
        raise DataError(f"{path} has the columns {', '.join(columns) or 'none'}; expected path,label{hint}")
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
            if classes:
                _check_class(label, classes, f"{path}, line {number}, has the label")
            labels[name] = label
    return labels


def _split(root: Path, files: list[str], names: list[str | None], classes, image_size: int, decoder: str) -> Split:
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([-1 if name is None else index[name] for name in names], np.int32)
    digest = hashlib.sha256(labels.tobytes())
    for file in files:
        # Sizes, not contents: hashing every file of a large pool would take longer than many a run.
        digest.update(f"{file}\0{(root / file).stat().st_size}\n".encode())

    return encoded_split(
        files, labels, digest.hexdigest(), lambda row: (root / files[row]).read_bytes(),
        where=str(root), image_size=image_size, decoder=decoder,
    )  # fmt: skip
