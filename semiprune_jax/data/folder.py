"""Folders of images, here or in a bucket: class folders, tables of labels, or Tiny-ImageNet's annotations."""

import difflib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.data.decode import EXTENSIONS, decode
from semiprune_jax.data.split import Dataset, Split, check_keys
from semiprune_jax.data.table import Line, read_table
from semiprune_jax.errors import ConfigError, DataError

_ANNOTATIONS = "val_annotations.txt"  # of Tiny-ImageNet: lines of file, class and box, separated by tabs


def check(options: Any) -> Iterator[tuple[str, str]]:
    """Wrong fields of a config's ``data`` section, each with the value expected of it."""
    if not options.path and not options.labels:
        yield "path", f"where the data lies, for data.source = {options.source!r}"


def load(options: Any, notes: Path | None) -> Dataset:
    """Lists the images of folders and their labels; reads no pixels.

    Without a table of labels, ``options.path`` holds a folder for each class. With one, it is any folder, the table's
    paths are relative to it, and images that the table does not name have no label. Without ``options.path``, the
    table alone names the images, relative to its own folder. The test set is listed in the same way; it has the
    classes of the pool, and all its images have labels. The classes are ``options.classes``, in that order; if that is
    empty, all that occur, sorted.

    Raises:
      ConfigError: a library that reads the bucket is not installed.
      DataError: a folder or table is missing, cannot be read, or names images that are not there.
    """
    del notes
    path, labels, test_path, test_labels = options.path, options.labels, options.test_path, options.test_labels
    classes = tuple(options.classes)
    if path and test_path:
        _check_apart(path, test_path)
    for place in (path, labels, test_path, test_labels):
        if "://" in place:
            _check_bucket(place)
    train = _list(path, labels, "", classes)
    found = tuple(sorted({name for name in train.names if name is not None}))
    if len(found) < 2 and not classes:
        raise DataError(f"{labels or path} names {len(found)} classes; label examples of at least two")
    classes = classes or found
    pool, test = _split(train, classes, options), None
    if test_path or test_labels:
        tested = _list(test_path, test_labels, "test_", classes)
        if None in tested.names:
            name = tested.files[tested.names.index(None)]
            raise DataError(f"{test_labels} gives {name!r} no label; a test set needs them all")
        test = _split(tested, classes, options)
        both = set(train.files) & set(tested.files)
        if not path and not test_path and both and labels != test_labels:
            raise DataError(f"{labels} and {test_labels} both name {min(both)!r}; keep pool and test set apart")
    return Dataset(classes, pool, test)


class _Listing(NamedTuple):
    """The images of a set."""

    root: Any  # a path
    files: list[str]  # relative to the root, sorted
    names: Sequence[str | None]  # of their classes, where they are known


def _place(name: str) -> Any:
    """A path, of a bucket too; here as a plain one, which is read several times faster."""
    if "://" not in name:
        return Path(name)
    from etils import epath

    return epath.Path(name)


def _is_here(root: Any) -> bool:
    return "://" not in str(root)


def _check_apart(path: str, test_path: str) -> None:
    root, other = _place(path).resolve(), _place(test_path).resolve()
    if root == other or root in other.parents or other in root.parents:
        raise DataError(f"data.test_path = {test_path!r} and data.path = {path!r} lie in each other; keep them apart")


def _check_bucket(place: str) -> None:
    """One line where a bucket's library is missing, or may not read."""
    try:
        _place(place).exists()
    except ImportError as error:
        raise ConfigError(f"{place}: {' '.join(str(error).split())} (extra gcs)") from None
    except Exception as error:  # of a network, a login, a permission
        raise DataError(f"{place} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from None


def _list(path: str, labels: str, prefix: str, classes: tuple[str, ...]) -> _Listing:
    """A set; ``prefix`` is that of the config fields: empty or "test_"."""
    root, found = _scan(path, labels, prefix) if path else _read_pool(labels, prefix)
    files = sorted(found)
    check_keys(files, path or labels)
    if not files:
        trouble = f"data.{prefix}path = {path!r} holds no images ({', '.join(EXTENSIONS)})"
        raise DataError(f"{trouble if path else f'{labels} names no images'}; name a folder that does")
    if labels:
        named = {file: line for file, line in found.items() if line is not None and line.label}
        for line in named.values() if classes else ():
            _check_class(line.label, classes, f"{line.where}, has the label")
        return _Listing(root, files, [named[file].label if file in named else None for file in files])
    if (root / _ANNOTATIONS).exists():
        names = _annotated(root, files)
    else:
        names = [file.split("/")[0] if "/" in file else None for file in files]
    _check_folders(path, files, names, prefix)
    for name in sorted({name for name in names if name}) if classes else ():
        _check_class(name, classes, f"data.{prefix}path = {path!r} holds the folder")
    return _Listing(root, files, names)


def _read_pool(labels: str, prefix: str) -> tuple[Any, dict[str, Line | None]]:
    """The folder of a table, and the images below it that the table names."""
    lines = read_table(labels, f"data.{prefix}labels")
    for line in lines:
        if line.path.startswith("/") or ".." in line.path.split("/"):
            raise DataError(f"{line.where}: {line.path!r} leaves the table's folder; name images below it")
    return _place(labels).parent, {line.path: line for line in lines}


def _scan(path: str, labels: str, prefix: str) -> tuple[Any, dict[str, Line | None]]:
    """A folder, and the images below it with their lines in the table, if there is one."""
    root = _place(path)
    if not root.is_dir():
        content = "test set's class folders" if prefix else "images"
        raise DataError(f"data.{prefix}path = {path!r} is not a folder; name the folder that holds the {content}")
    found: dict[str, Line | None] = dict.fromkeys(_images(root))
    for line in read_table(labels, f"data.{prefix}labels") if labels else ():
        if line.path not in found:
            raise DataError(
                f"{line.where}: {line.path!r} is not an image in data.{prefix}path; paths are relative to it"
            )
        found[line.path] = line
    return root, found


def _images(root: Any) -> list[str]:
    """Paths of the images below ``root``, relative, with forward slashes. Links to folders are not followed."""
    found = []
    for directory, subdirectories, files in os.walk(root) if _is_here(root) else root.walk():
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
        at = _place(str(directory)).relative_to(root).as_posix()
        under = "" if at == "." else f"{at}/"
        found += [under + name for name in files if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    return found


def _annotated(root: Any, files: list[str]) -> list[str | None]:
    rows = [line.split("\t") for line in (root / _ANNOTATIONS).read_text().splitlines() if line]
    if any(len(row) < 2 for row in rows):
        raise DataError(f"{root / _ANNOTATIONS} is not a table of file and class, separated by tabs; restore it")
    names = {row[0]: row[1] for row in rows}
    return [names.get(file.rsplit("/", 1)[-1]) for file in files]


def _check_folders(path: str, files: list[str], names: Sequence[str | None], prefix: str) -> None:
    """DataError unless every image lies in a class folder."""
    loose = [file for file, name in zip(files, names, strict=True) if name is None]
    if prefix and loose:
        raise DataError(f"data.test_path = {path!r} holds {loose[0]!r} outside any class folder; sort it into one")
    folders = {name for name in names if name}
    if loose or (len(folders) < 2 and not prefix):
        raise DataError(
            f"data.path = {path!r} is not made of class folders ({len(folders)} folders with images, "
            f"{len(loose)} images outside any); sort the images into one folder per class, or set data.labels"
        )


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


def _split(listing: _Listing, classes: tuple[str, ...], options: Any) -> Split:
    root, files, decoder = listing.root, listing.files, options.decoder
    if _is_here(root) and not options.follow_links:
        _check_links(root, files)
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([-1 if name is None else index[name] for name in listing.names], np.int32)
    digest = hashlib.sha256(labels.tobytes())
    for file in files:
        # Sizes, not contents: hashing every file of a large pool would take longer than many runs. In a bucket, asking
        # for a size would be a request for each file, so there the names have to do.
        try:
            size = (root / file).stat().st_size if _is_here(root) else ""
        except OSError as error:
            raise DataError(f"{root / file} cannot be read: {error.strerror}; mend the table or the folder") from None
        digest.update(f"{file}\0{size}\n".encode())

    def image(row: int) -> np.ndarray:
        return decode((root / files[row]).read_bytes(), decoder)

    return Split(files, labels, digest.hexdigest(), str(root), image)
