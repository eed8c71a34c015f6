"""The work directory of a run: making it, and describing the run in it."""

import json
import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

from semiprune_jax import __version__
from semiprune_jax.distributed import processes
from semiprune_jax.errors import ConfigError
from semiprune_jax.workdir.formats import read_json, write_json

# A run writes these at the top of its work directory, beside the directories of its tasks.
_OWNED = (
    *("config.json", "manifest.json", "metrics.jsonl", "metrics.csv", "tb", "wandb", "wandb.json"),
    *("examples.parquet", "oracle.parquet", "report"),
)


def open_workdir(path: Path, *, overwrite: bool) -> None:
    """Makes the work directory, or checks that a run made it; ``overwrite`` removes the files of earlier runs.

    Raises:
      ConfigError: it holds something else, or cannot be written.
    """
    if not processes.is_lead_host():
        return processes.barrier("the work directory is open")
    try:
        path.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
        if entries and "manifest.json" not in entries:
            raise ConfigError(
                f"--workdir={path} holds {sorted(entries)[0]!r} and no manifest.json, so it is not a work directory; "
                "name a new or an empty one"
            )
        if overwrite:
            # The manifest stays, since it marks the directory as ours and lists the starts.
            for target in (path / name for name in entries - {"manifest.json"} if _is_ours(path / name)):
                shutil.rmtree(target) if target.is_dir() else target.unlink()
        if not (path / "manifest.json").exists():  # written first: it marks the directory as ours
            write_json(path / "manifest.json", {"semiprune_jax": __version__, "starts": []})
        probe = path / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--workdir={path} cannot be used: {error.strerror}; name one that can be written") from None
    return processes.barrier("the work directory is open")


def _is_ours(path: Path) -> bool:
    """Whether a run has written this entry: its name is one of ours, or a task was begun in it."""
    return path.name in _OWNED or any(path.rglob("STARTED.json")) or any(path.rglob("DONE.json"))


def record_start(workdir: Path, config: str, *, oracle: bool) -> None:
    """Adds this start to manifest.json: its time, command and versions."""
    path = workdir / "manifest.json"
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow", "scikit-learn")
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "python": sys.version.split()[0],
        "versions": {name: metadata.version(name) for name in packages},
    }
    starts = [*read_json(path, "starts")["starts"], start]
    write_json(path, {"semiprune_jax": __version__, "oracle": oracle, "starts": starts})
    if not (workdir / "config.json").exists():
        record_config(workdir, config)


def record_config(workdir: Path, config: str) -> None:
    """Writes config.json: at the first start, and later whenever a run reaches its report."""
    write_json(workdir / "config.json", json.loads(config))
