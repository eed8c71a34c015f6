"""A stage of a run: what it depends on, whether it is done, and whether what it wrote is still there.

A stage's fingerprint is the sha256 of its settings, of the contents it reads and of its version: no paths,
devices or commits. ``STARTED.json`` is written when a stage begins, ``DONE.json``, with the hashes of its files,
when it ends.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiprune_jax.distributed import processes
from semiprune_jax.errors import ConfigError, DataError
from semiprune_jax.workdir.formats import hash_file, read_json, write_json


class Stage:
    """One stage of one work directory.

    Args:
      root: the work directory.
      name: the stage's directory inside it, "select/semi_aum_keep0.30".
      version: of its code; a higher one makes finished work stale.
      settings: the part of the config it depends on, plain values.
      inputs: what it reads: name -> digest of an earlier stage (or of the pool).
    """

    def __init__(self, root: Path, name: str, *, version: int, settings: dict[str, Any], inputs: Mapping[str, str]):
        self.root, self.name, self.directory = root, name, root / name
        # Through JSON and back, so that what is compared is what will be read.
        self._identity = json.loads(
            json.dumps({"version": version, "settings": _flatten(settings), "inputs": dict(inputs)})
        )
        self.fingerprint = _fingerprint(self._identity)

    def is_done(self) -> bool:
        """Whether the stage has finished; checks that its files are what it wrote.

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
                started.unlink(missing_ok=True)  # of a run killed between the two
            _verify(self.root, self.name, found["files"])
        return is_done

    def start(self) -> None:
        """Marks the stage as begun."""
        write_json(self.directory / "STARTED.json", {"fingerprint": self.fingerprint, "identity": self._identity})
        self._began = time.monotonic()

    def finish(self, *files: Path) -> None:
        """Marks the stage as done, with the hashes of the files that later stages read."""
        if not processes.is_lead_host():
            return
        write_json(
            self.directory / "DONE.json",
            {
                "fingerprint": self.fingerprint,
                "identity": self._identity,
                "files": {str(path.relative_to(self.root)): hash_file(path) for path in files},
                "seconds": round(time.monotonic() - self._began, 3),
            },
        )
        (self.directory / "STARTED.json").unlink()

    @property
    def digest(self) -> str:
        """What later stages depend on: the contents of the files of a finished stage."""
        files = read_json(self.directory / "DONE.json", "files")["files"]
        return hashlib.sha256(json.dumps([self.fingerprint, files], sort_keys=True).encode()).hexdigest()

    def _difference(self, before: dict[str, Any]) -> str:
        now = self._identity
        changes = [
            f"{key} was {before['settings'].get(key, 'absent')!r}, now {now['settings'].get(key, 'absent')!r}"
            for key in sorted(before["settings"].keys() | now["settings"].keys())
            if before["settings"].get(key) != now["settings"].get(key)
        ]
        changes += [
            f"what it reads from {key!r} changed"
            for key in now["inputs"]
            if before["inputs"].get(key) != now["inputs"][key]
        ]
        if before["version"] != now["version"]:
            changes.append(f"its version was {before['version']}, now {now['version']}")
        return "; ".join(changes)


def _fingerprint(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def verify(root: Path) -> None:
    """Raises DataError if a file that a finished stage of the work directory wrote is missing or altered."""
    for done in sorted(root.glob("**/DONE.json")):
        _verify(root, done.parent.relative_to(root).as_posix(), read_json(done, "files")["files"])


def _verify(root: Path, name: str, files: Mapping[str, str]) -> None:
    for file, digest in files.items():
        path = root / file
        if not path.exists():
            raise DataError(f"{path}, which stage {name!r} wrote, is gone; restore it, or use --overwrite")
        if hash_file(path) != digest:
            raise DataError(
                f"{path} is not what stage {name!r} wrote (its hash differs); restore it, or use --overwrite"
            )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
