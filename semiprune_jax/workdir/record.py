"""The record of a task in its directory: what it depends on, whether it is done, and whether its files are intact.

A task's fingerprint is the sha256 of its settings and of the contents that it reads; paths, devices and commits do not
enter it. A task writes ``STARTED.json`` when it begins, and ``DONE.json`` with the hashes of its files when it ends.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semiprune_jax.distributed import processes
from semiprune_jax.errors import ConfigError, DataError
from semiprune_jax.workdir.formats import hash_file, read_json, write_json


class Record:
    """The record of one task in one work directory.

    Args:
      root: the work directory.
      name: the task's directory inside it, "select/semi_aum_keep0.30".
      settings: the part of the config that it depends on, as plain values.
      inputs: name -> digest of each earlier task that it reads from, or of data from outside.
    """

    def __init__(self, root: Path, name: str, *, settings: Mapping[str, Any], inputs: Mapping[str, str]):
        self.root, self.name, self.directory = root, name, root / name
        # Through JSON and back, so that it can be compared with the identity that a file holds.
        identity = {"version": 1, "settings": _flatten(settings), "inputs": dict(inputs)}
        self._identity = json.loads(json.dumps(identity))
        self.fingerprint = _fingerprint(self._identity)

    def is_done(self) -> bool:
        """Whether the task has finished; if so, checks that its files are intact.

        Raises:
          ConfigError: it was begun with other settings or inputs.
          DataError: one of its files is missing or altered.
        """
        done, started = self.directory / "DONE.json", self.directory / "STARTED.json"
        is_done = done.exists()
        if not is_done and not started.exists():
            return False
        path = done if is_done else started
        found = read_json(path, "fingerprint", "identity", *(["files"] if is_done else []))
        if found["fingerprint"] != _fingerprint(found["identity"]):
            raise DataError(f"{path} is not what was written (its hash differs); restore it, or use --overwrite")
        if found["fingerprint"] != self.fingerprint:
            raise ConfigError(
                f"{self.directory} was made with other settings: {self._difference(found['identity'])}; "
                "go back to those, use another --workdir, or start afresh with --overwrite"
            )
        if is_done:
            if processes.is_lead_host():
                started.unlink(missing_ok=True)  # if a run was killed before it did this
            _verify(self.root, self.name, found)
        return is_done

    def start(self) -> None:
        """Marks the task as begun."""
        write_json(self.directory / "STARTED.json", {"fingerprint": self.fingerprint, "identity": self._identity})
        self._began = time.monotonic()

    def finish(self, files: Sequence[Path]) -> None:
        """Marks the task as done, with the hashes of the files that later tasks read."""
        if not processes.is_lead_host():
            return
        write_json(
            self.directory / "DONE.json",
            {
                "fingerprint": self.fingerprint,
                "identity": self._identity,
                "files": {path.relative_to(self.root).as_posix(): hash_file(path) for path in files},
                "seconds": round(time.monotonic() - self._began, 3),
            },
        )
        (self.directory / "STARTED.json").unlink()

    def view(self, path: Path) -> str | None:
        """The digest of the sources that the derived file at ``path`` was last made from; None if it has to be made."""
        found = self._done().get("views", {}).get(path.relative_to(self.root).as_posix())
        return found and found["sources"]

    def forget_view(self, path: Path) -> None:
        """Forgets a derived file that is about to change, so that it is made again if the run is killed meanwhile."""
        done, name = self._done(), path.relative_to(self.root).as_posix()
        done["files"].pop(name, None)  # where earlier versions listed it
        done.get("views", {}).pop(name, None)
        write_json(self.directory / "DONE.json", done)

    def note_view(self, path: Path, sources: str) -> None:
        """Notes the hash of a derived file, and the digest of its sources."""
        if processes.is_lead_host():
            done, name = self._done(), path.relative_to(self.root).as_posix()
            done["views"] = done.get("views", {}) | {name: {"sources": sources, "hash": hash_file(path)}}
            write_json(self.directory / "DONE.json", done)

    def _done(self) -> dict[str, Any]:
        return read_json(self.directory / "DONE.json", "fingerprint", "files")

    def _difference(self, before: dict[str, Any]) -> str:
        now = self._identity
        changes = [
            f"{key} was {before['settings'].get(key, 'absent')!r}, now {now['settings'].get(key, 'absent')!r}"
            for key in sorted(before["settings"].keys() | now["settings"].keys())
            if before["settings"].get(key) != now["settings"].get(key)
        ]
        changes += [
            f"what it reads from {key!r} changed"
            for key in sorted(before["inputs"].keys() | now["inputs"].keys())
            if before["inputs"].get(key) != now["inputs"].get(key)
        ]
        return "; ".join(changes)


def digest(root: Path, task: str) -> str:
    """The digest of a finished task's fingerprint and file hashes, on which later tasks depend."""
    done = read_json(root / task / "DONE.json", "fingerprint", "files")
    return hashlib.sha256(json.dumps([done["fingerprint"], done["files"]], sort_keys=True).encode()).hexdigest()


def file_hash(root: Path, task: str, path: str) -> str:
    """The hash of one file of a finished task, from its record; "" if it is not there."""
    done = read_json(root / task / "DONE.json", "files")
    derived = {name: view["hash"] for name, view in done.get("views", {}).items()}
    return (done["files"] | derived).get(path, "")


def verify(root: Path) -> None:
    """Raises DataError if a file that a finished task of the work directory wrote is missing or altered."""
    for done in sorted(root.glob("**/DONE.json")):
        _verify(root, done.parent.relative_to(root).as_posix(), read_json(done, "files"))


def _verify(root: Path, name: str, done: Mapping[str, Any]) -> None:
    hashes = done["files"] | {path: view["hash"] for path, view in done.get("views", {}).items()}
    for file, expected in hashes.items():
        path = root / file
        if not path.exists():
            raise DataError(f"{path}, which stage {name!r} wrote, is gone; restore it, or use --overwrite")
        if hash_file(path) != expected:
            raise DataError(
                f"{path} is not what stage {name!r} wrote (its hash differs); restore it, or use --overwrite"
            )


def _fingerprint(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
