"""Artifacts: the files that stages pass to each other. One declaration of each says how it is saved and loaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from semiprune_jax.workdir import checkpoint, formats

T = TypeVar("T")
Table = dict[str, np.ndarray]  # columns by name; a row is an example's id


@dataclass(frozen=True)
class Artifact(Generic[T]):
    """One file of a work directory.

    Attributes:
      path: below the work directory.
      task: the directory of the task that writes it ("label", "select/random_keep0.30").
      save: writes a value to a path, whole or not at all.
      load: reads it back.
      hashed: whether the task's record keeps its hash; a saved network keeps the hashes of its own files instead.
      cached: whether a loaded value is kept in memory for other tasks.
      derived: whether it is a view, which changes with other artifacts or settings; the fingerprint of a task that
        reads a view includes its hash.
    """

    path: str
    task: str
    save: Callable[[Path, T], None] = field(compare=False)
    load: Callable[[Path], T] = field(compare=False)
    hashed: bool = True
    cached: bool = True
    derived: bool = False


def table(path: str, task: str) -> Artifact[Table]:
    """A parquet table of equally long columns."""
    return Artifact(path, task, formats.write_table, formats.read_table)


def columns(whole: Artifact[Table], *names: str) -> Artifact[Table]:
    """The named columns of a table, where it has them; others are not read, and none stay in memory."""
    return replace(whole, load=lambda path: formats.read_table(path, *names), cached=False)


def arrays(path: str, task: str) -> Artifact[Table]:
    """Named arrays in an .npz."""
    return Artifact(path, task, formats.write_npz, formats.read_npz)


def json(path: str, task: str, *fields: str) -> Artifact[Any]:
    """A JSON value; if fields are named, an object that has at least these."""
    return Artifact(path, task, formats.write_json, lambda place: formats.read_json(place, *fields))


def lines(path: str, task: str) -> Artifact[Sequence[str]]:
    """A text file with one string per line."""
    return Artifact(path, task, formats.write_lines, formats.read_lines)


def network(task: str) -> Artifact[Any]:
    """A trained network: a tree with "params" and "batch_stats".

    Loading it returns a function, which restores it into the structure, types and shardings of a given tree.
    """
    return Artifact(
        f"{task}/model", task, checkpoint.save, lambda path: partial(checkpoint.restore, path), hashed=False
    )


class Store:
    """The artifacts of one work directory. Loaded values stay in memory, since several tasks read the same files."""

    def __init__(self, root: Path):
        self._root, self._loaded = root, {}

    def path(self, artifact: Artifact) -> Path:
        """The artifact's path in this work directory."""
        return self._root / artifact.path

    def exists(self, artifact: Artifact) -> bool:
        """Whether the artifact has been written."""
        return self.path(artifact).exists()

    def load(self, artifact: Artifact[T]) -> T:
        """The artifact's value."""
        if not artifact.cached:
            return artifact.load(self.path(artifact))
        if artifact.path not in self._loaded:
            self._loaded[artifact.path] = artifact.load(self.path(artifact))
        return self._loaded[artifact.path]

    def load_if_made(self, artifact: Artifact[T]) -> T | None:
        """The artifact's value, or None if no task has written it."""
        return self.load(artifact) if self.exists(artifact) else None

    def save(self, artifact: Artifact[T], value: T) -> None:
        """Writes the artifact."""
        artifact.save(self.path(artifact), value)
        self._loaded.pop(artifact.path, None)


class Inputs:
    """The artifacts that a task declares. It can read no others, so its fingerprint covers all that it reads."""

    def __init__(self, store: Store, declared: Sequence[Artifact]):
        self._store, self._declared = store, frozenset(artifact.path for artifact in declared)

    def __getitem__(self, artifact: Artifact[T]) -> T:
        if artifact.path not in self._declared:
            raise KeyError(f"{artifact.path} is not declared; add it to what the task reads")
        return self._store.load(artifact)

    def get(self, artifact: Artifact[T]) -> T | None:
        """The artifact's value, or None if it is not declared or has not been written."""
        if artifact not in self:
            return None
        return self[artifact]

    def __contains__(self, artifact: Artifact) -> bool:
        return artifact.path in self._declared and self._store.exists(artifact)
