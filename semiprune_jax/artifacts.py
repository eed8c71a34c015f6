"""What stages hand on: files written whole or not at all, and stages that know whether they are done.

A stage's fingerprint is the sha256 of its settings, of the contents it reads and of its version: no paths,
devices or commits. ``STARTED.json`` is written when a stage begins, ``DONE.json``, with the hashes of its files,
when it ends. Nothing is ever unpickled.
"""

import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax import __version__
from semiprune_jax.config import flatten
from semiprune_jax.errors import ConfigError, DataError


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name, flushes it to the disk, and renames it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads JSON; DataError if the file is broken."""
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable JSON ({error}); restore it, or start again with --overwrite") from None


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]  (numpy's stub types every keyword as a bool)
    write_atomically(path, buffer.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads named arrays; objects are refused."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Writes a parquet file of equally long columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), sink, compression="zstd")
    write_atomically(path, sink.getvalue())


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Reads a parquet file as numpy columns; text is an object array of str."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}


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
            json.dumps({"version": version, "settings": flatten(settings), "inputs": dict(inputs)})
        )
        self.fingerprint = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()

    def is_done(self) -> bool:
        """Whether the stage has finished; checks that its files are what it wrote.

        Raises:
          ConfigError: it was begun with other settings or inputs.
          DataError: one of its files is missing or altered.
        """
        for file in ("DONE.json", "STARTED.json"):
            path = self.directory / file
            if not path.exists():
                continue
            found = read_json(path)
            if found["fingerprint"] != self.fingerprint:
                raise ConfigError(
                    f"{self.directory} was made with other settings: {self._difference(found['identity'])}; "
                    "go back to those, use another --workdir, or start afresh with --overwrite"
                )
            if file == "DONE.json":
                for name, digest in found["files"].items():
                    self._verify(self.root / name, digest)
            return file == "DONE.json"
        return False

    def start(self) -> None:
        """Marks the stage as begun."""
        write_json(self.directory / "STARTED.json", {"fingerprint": self.fingerprint, "identity": self._identity})
        self._began = time.time()

    def finish(self, *files: Path) -> None:
        """Marks the stage as done, with the hashes of the files it wrote."""
        write_json(
            self.directory / "DONE.json",
            {
                "fingerprint": self.fingerprint,
                "identity": self._identity,
                "files": {str(path.relative_to(self.root)): hash_file(path) for path in files},
                "seconds": round(time.time() - self._began, 3),
            },
        )
        (self.directory / "STARTED.json").unlink()

    @property
    def digest(self) -> str:
        """What later stages depend on: the contents of the files of a finished stage."""
        files = read_json(self.directory / "DONE.json")["files"]
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

    def _verify(self, path: Path, digest: str) -> None:
        if not path.exists():
            raise DataError(f"{path}, which stage {self.name!r} wrote, is gone; restore it, or use --overwrite")
        if hash_file(path) != digest:
            raise DataError(
                f"{path} is not what stage {self.name!r} wrote (its hash differs); restore it, or use --overwrite"
            )


def hash_file(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Everything a run may put at the top of its work directory.
OWNED = (
    *("config.json", "manifest.json", "metrics.jsonl", "metrics.csv", "tb", "examples.parquet", "oracle.parquet"),
    *("label", "pseudolabel", "score", "select", "retrain", "report"),
)


def open_workdir(path: Path, *, overwrite: bool) -> None:
    """Makes the work directory, or checks that it is one of ours; ``overwrite`` empties it of what is ours.

    Raises:
      ConfigError: it holds something else, or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
        if entries and "manifest.json" not in entries:
            raise ConfigError(
                f"--workdir={path} holds {sorted(entries)[0]!r} and no manifest.json, so it is not a work directory; "
                "name a new or an empty one"
            )
        if overwrite:
            # The manifest stays: it says that the directory is ours, and what was started in it.
            for name in entries & set(OWNED) - {"manifest.json"}:
                target = path / name
                shutil.rmtree(target) if target.is_dir() else target.unlink()
        probe = path / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--workdir={path} cannot be used: {error.strerror}; name one that can be written") from None


def write_manifest(workdir: Path, config: str, command: list[str], *, oracle: bool) -> None:
    """config.json (of the latest start), and manifest.json: every start, what ran and with which versions."""
    path = workdir / "manifest.json"
    starts = read_json(path)["starts"] if path.exists() else []
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow", "scikit-learn")
    starts.append(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": command,
            "python": sys.version.split()[0],
            "versions": {name: metadata.version(name) for name in packages},
        }
    )
    write_json(workdir / "config.json", json.loads(config))
    write_json(path, {"semiprune_jax": __version__, "oracle": oracle, "starts": starts})
