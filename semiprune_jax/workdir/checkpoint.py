"""Checkpoints over Orbax (v1 API). The only module that imports orbax.

Orbax restores an altered file without an error (measured: one flipped byte gives wrong parameters). Checkpoints
therefore hold the hashes of their files, which are compared first.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from semiprune_jax.distributed import preemption, processes
from semiprune_jax.errors import DataError
from semiprune_jax.workdir.formats import hash_file, read_json, write_json

_HASHES = "hashes.json"  # the hashes of a checkpoint's other files; written last


def _v1() -> Any:  # Any: orbax's annotations demand etils' paths and reject its own policies
    from orbax.checkpoint import v1  # heavy, and not needed by --help

    return v1


class Checkpoints:
    """The newest two checkpoints of one training, numbered by step.

    Opening their directory removes the newest until one is intact; ``damaged`` has one line for each whose files were
    altered.
    """

    def __init__(self, directory: Path):
        ocp = _v1()
        self.directory = Path(directory).absolute()
        self.damaged = _drop_damaged(self.directory) if processes.is_lead_host() else []
        processes.barrier(f"{self.directory} is whole")
        self._checkpointer = ocp.training.Checkpointer(
            self.directory,
            # The training loop decides when to save.
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(2),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        with _disk_errors(self.directory):  # closing raises the error of a failed save again
            self._checkpointer.close()

    def save(self, step: int, tree: Any) -> None:
        """Saves a tree of arrays as the checkpoint of ``step``, and returns once it is on the disk."""
        with _disk_errors(self.directory):
            self._checkpointer.save_checkpointables(step, {"tree": tree}, overwrite=True)
        _note_hashes(self.directory / str(step))

    def latest(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def restore(self, like: Any) -> Any:
        """The newest checkpoint, in the structure, types and shardings of ``like``.

        Raises:
          DataError: its arrays differ from those of ``like`` in name or shape.
        """
        step = self.latest()
        # Orbax's own refusal names neither the array nor its shape, so compare first.
        saved = self._checkpointer.checkpointables_metadata(step).metadata["tree"]
        _compare(saved, like, self.directory / str(step))
        return self._checkpointer.load_checkpointables(step, {"tree": _abstract(like)})["tree"]


def save(path: Path, tree: Any) -> None:
    """Saves one tree of arrays as a directory, in place of an earlier one."""
    with preemption.deferred():  # SIGTERM must not interrupt Orbax's threads
        with _disk_errors(path):
            _v1().save(Path(path).absolute(), tree, overwrite=True)
        _note_hashes(path)
    preemption.check()


def forget(directory: Path) -> None:
    """Removes the checkpoints of a training whose results are saved."""
    if processes.is_lead_host():
        shutil.rmtree(directory, ignore_errors=True)


def restore(path: Path, like: Any) -> Any:
    """A tree saved by ``save``, in the structure of ``like``; DataError if its files have been altered."""
    if name := altered(path):
        raise DataError(f"{path} is damaged ({name} is not what was saved); restore it, or train again")
    return _v1().load(Path(path).absolute(), _abstract(like))


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Raises an OSError for a full or broken disk, and silences the stack traces of Orbax's threads."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:
        if found := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from None
        raise
    finally:
        log.setLevel(level)


def _drop_damaged(directory: Path) -> list[str]:
    """Removes the newest checkpoints until one is intact; returns one line for each altered one."""
    damaged = []
    steps = sorted((int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit()), reverse=True)
    for step in steps:
        path = directory / str(step)
        if (path / _HASHES).exists():
            name = altered(path)
            if not name:
                break
            damaged.append(f"{path} is damaged ({name} is not what was saved)")
        # A checkpoint without hashes was still being written when the run ended.
        shutil.rmtree(path)
    return damaged


def _note_hashes(directory: Path) -> None:
    if processes.is_lead_host():
        write_json(directory / _HASHES, _hash_files(directory))


def altered(directory: Path) -> str:
    """The name of a saved tree's first altered file; "" if there is none."""
    try:
        saved, found = read_json(directory / _HASHES), _hash_files(directory)
        return next((name for name in sorted(saved.keys() | found.keys()) if saved.get(name) != found.get(name)), "")
    except (AttributeError, DataError):
        return _HASHES


def _hash_files(directory: Path) -> dict[str, str]:
    """Path below the directory -> sha256, for every file except the hashes."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != _HASHES)
    return {path.relative_to(directory).as_posix(): hash_file(path) for path in files}


def _abstract(tree: Any) -> Any:
    def leaf(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) if isinstance(x, jax.Array) else x

    return jax.tree.map(leaf, tree)


def _compare(saved: Any, like: Any, path: Path) -> None:
    def shapes(tree: Any) -> dict[str, tuple]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {jax.tree_util.keystr(key, simple=True, separator="/"): tuple(x.shape) for key, x in leaves}

    got, expected = shapes(saved), shapes(like)
    if got != expected:
        name = sorted(key for key in got.keys() | expected.keys() if got.get(key) != expected.get(key))[0]
        raise DataError(
            f"checkpoint {path} holds {name} of shape {got.get(name)}, this run has {expected.get(name)}; "
            "it belongs to another run: use another --workdir, or --overwrite"
        )
