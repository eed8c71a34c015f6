"""Folders of images, here or in a bucket: class folders, tables of labels, or Tiny-ImageNet's annotations."""

import difflib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from semiprune_jax.data.decode import EXTENSIONS, decode
from semiprune_jax.data.split import Dataset, Split, check_keys
from semiprune_jax.data.table import read_table
from semiprune_jax.errors import ConfigError, DataError

_ANNOTATIONS = "val_annotations.txt"  # of Tiny-ImageNet: lines of file, class and box, separated by tabs


def scan(
    path: str,
    labels: str = "",
    test_path: str = "",
    test_labels: str = "",
    decoder: str = "pillow",
    classes: tuple[str, ...] = (),
    follow_links: bool = False,
) -> Dataset:
    """Lists the images and their labels; reads no pixels.

    Args:
      path: with ``labels``, any folder of images; without, a folder of class folders. A bucket's too ("gs://...").
        Empty: the images are those that ``labels`` names, relative to its own folder.
      labels: a table with the columns ``path`` (relative to ``path``) and ``label``; a blank label is unknown, and so
        is an image that the table does not name.
      test_path, test_labels: those of the test set, of the same classes and all labelled; both empty: none.
      classes: their names, in order; labels and folders of other names are errors. Empty: those that occur, sorted.
      follow_links: whether images may be links that leave their folder.
    """
    if path and test_path:
        root, other = _place(path).resolve(), _place(test_path).resolve()
        if root == other or root in other.parents or other in root.parents:
            raise DataError(
                f"data.test_path = {test_path!r} and data.path = {path!r} lie in each other; keep them apart"
            )
    for place in (path, labels, test_path, test_labels):
        if "://" in place:
            _check_bucket(place)
    root, files, names = _listing(path, labels, "", classes)
    found = tuple(sorted({name for name in names if name is not None}))
    if len(found) < 2 and not classes:
        raise DataError(f"{labels or path} names {len(found)} classes; label examples of at least two")
    classes = classes or found
    train = _split(root, files, names, classes, decoder, follow_links)
    test = None
    if test_path or test_labels:
        root, test_files, test_names = _listing(test_path, test_labels, "test_", classes)
        if None in test_names:
            i = test_names.index(None)
            raise DataError(f"{test_labels} gives {test_files[i]!r} no label; a test set needs them all")
        test = _split(root, test_files, test_names, classes, decoder, follow_links)
        if not path and not test_path and (both := set(files) & set(test_files)) and labels != test_labels:
            raise DataError(f"{labels} and {test_labels} both name {min(both)!r}; keep pool and test set apart")
    return Dataset(classes, train, test)


def _place(name: str) -> Any:
    """A path, of a bucket too; here as a plain one, which is read several times faster."""
    return epath.Path(name) if "://" in name else Path(name)


def _check_bucket(place: str) -> None:
    """One line for what a bucket's library says when it is missing, or may not read."""
    try:
        epath.Path(place).exists()
    except ImportError as error:
        raise ConfigError(f"{place}: {' '.join(str(error).split())} (extra gcs)") from None
    except Exception as error:  # of a network, a login, a permission
        raise DataError(f"{place} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from None


def _is_here(root: Any) -> bool:
    return "://" not in str(root)


def _listing(path: str, labels: str, prefix: str, classes: tuple[str, ...]) -> tuple[Any, list[str], list[str | None]]:
    """The root of a set, its images relative to that, and their classes where they are known.

    ``prefix`` is that of the config fields: empty or "test_".
    """
    if not path:
        lines = read_table(labels, f"data.{prefix}labels")
        root = _place(labels).parent
        for line in lines:
            if line.path.startswith("/") or ".." in line.path.split("/"):
                raise DataError(f"{line.where}: {line.path!r} leaves the table's folder; name images below it")
        found = {line.path: line for line in lines}
    else:
        root = _place(path)
        if not root.is_dir():
            what = "test set's class folders" if prefix else "images"
            raise DataError(f"data.{prefix}path = {path!r} is not a folder; name the folder that holds the {what}")
        found = dict.fromkeys(_images(root))
        for line in read_table(labels, f"data.{prefix}labels") if labels else ():
            if line.path not in found:
                raise DataError(
                    f"{line.where}: {line.path!r} is not an image in data.{prefix}path; paths are relative to it"
                )
            found[line.path] = line
    files = sorted(found)
    check_keys(files, path or labels)
    if not files:
        what = f"data.{prefix}path = {path!r} holds no images ({', '.join(EXTENSIONS)})"
        raise DataError(f"{what if path else f'{labels} names no images'}; name a folder that does")
    if labels:
        named = {file: line for file, line in found.items() if line is not None and line.label}
        for line in named.values() if classes else ():
            _check_class(line.label, classes, f"{line.where}, has the label")
        return root, files, [named[file].label if file in named else None for file in files]
    if (root / _ANNOTATIONS).exists():
        names = _annotated(root, files)
    else:
        names = [file.split("/")[0] if "/" in file else None for file in files]
    loose = [file for file, name in zip(files, names, strict=True) if name is None]
    folders = {name for name in names if name}
    if prefix and loose:
        raise DataError(f"data.test_path = {path!r} holds {loose[0]!r} outside any class folder; sort it into one")
    if loose or (len(folders) < 2 and not prefix):
        raise DataError(
            f"data.path = {path!r} is not made of class folders ({len(folders)} folders with images, "
            f"{len(loose)} images outside any); sort the images into one folder a class, or set data.labels"
        )
    for name in sorted(folders) if classes else ():
        _check_class(name, classes, f"data.{prefix}path = {path!r} holds the folder")
    return root, files, names


def _annotated(root: Any, files: list[str]) -> list[str | None]:
    rows = [line.split("\t") for line in (root / _ANNOTATIONS).read_text().splitlines() if line]
    if any(len(row) < 2 for row in rows):
        raise DataError(f"{root / _ANNOTATIONS} is not a table of file and class, separated by tabs; restore it")
    names = {row[0]: row[1] for row in rows}
    return [names.get(file.rsplit("/", 1)[-1]) for file in files]


def _images(root: Any) -> list[str]:
    """Paths of the images below ``root``, relative, with forward slashes. Links to folders are not followed."""
    found = []
    for directory, subdirectories, files in os.walk(root) if _is_here(root) else root.walk():
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
        at = _place(str(directory)).relative_to(root).as_posix()
        under = "" if at == "." else f"{at}/"
        found += [under + name for name in files if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    return found


def _check_class(name: str, classes: tuple[str, ...], where: str) -> None:
    if name not in classes:
        known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        close = difflib.get_close_matches(name, classes, 1)
        hint = f"did you mean {close[0]!r}?" if close else "rename it"
        raise DataError(f"{where} {name!r}, which is no class; expected {known}; {hint}")


def _check_links(root: Path, files: list[str]) -> None:
    """DataError if an image, or a folder on the way to it, is a link that leaves the folder of the set."""
    real = os.path.realpath(root)
    parents = {file.rpartition("/")[0] for file in files}
    links = [file for file in files if os.path.islink(f"{root}/{file}")]
    for name in (*sorted(parents), *links):
        target = os.path.realpath(f"{root}/{name}")
        if target != real and not target.startswith(real.rstrip("/") + "/"):
            raise DataError(
                f"{root}: {name!r} is a link that leaves the folder, to {target}; copy what it leads to, "
                "or allow such links: --config.data.follow_links=True"
            )


def _split(
    root: Any, files: list[str], names: Sequence[str | None], classes: tuple[str, ...], decoder: str, follow_links: bool
) -> Split:
    if _is_here(root) and not follow_links:
        _check_links(root, files)
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([-1 if name is None else index[name] for name in names], np.int32)
    digest = hashlib.sha256(labels.tobytes())
    for file in files:
        # Sizes, not contents: hashing every file of a large pool would take longer than many a run. In a bucket every
        # size would be a request: there the names must do.
        try:
            size = (root / file).stat().st_size if _is_here(root) else ""
        except OSError as error:
            raise DataError(f"{root / file} cannot be read: {error.strerror}; mend the table or the folder") from None
        digest.update(f"{file}\0{size}\n".encode())

    def image(row: int) -> np.ndarray:
        return decode((root / files[row]).read_bytes(), decoder)

    return Split(files, labels, digest.hexdigest(), str(root), image)
