"""The work directory of a run: making it, describing it, and reading what its stages wrote."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax import __version__
from semiprune_jax.distributed import processes
from semiprune_jax.errors import ConfigError
from semiprune_jax.workdir.formats import read_json, read_npz, read_table, write_json

Table = dict[str, np.ndarray]

# Everything a run may put at the top of its work directory.
OWNED = (
    *("config.json", "manifest.json", "metrics.jsonl", "metrics.csv", "tb", "wandb", "wandb.json"),
    *("examples.parquet", "oracle.parquet"),
    *("label", "pseudolabel", "score", "embed", "search", "select", "retrain", "report"),
)


def open_workdir(path: Path, *, overwrite: bool) -> None:
    """Makes the work directory, or checks that it is one of ours; ``overwrite`` empties it of what is ours.

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
            # The manifest stays: it says that the directory is ours, and what was started in it.
            for name in entries & set(OWNED) - {"manifest.json"}:
                target = path / name
                shutil.rmtree(target) if target.is_dir() else target.unlink()
        if not (path / "manifest.json").exists():  # first of all: it says that the directory is ours
            write_json(path / "manifest.json", {"semiprune_jax": __version__, "starts": []})
        probe = path / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--workdir={path} cannot be used: {error.strerror}; name one that can be written") from None
    return processes.barrier("the work directory is open")


def record_start(workdir: Path, config: str, *, oracle: bool) -> None:
    """Adds a start that the work directory accepted to manifest.json: what ran and with which versions."""
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
    """Writes config.json: of the first start at once, after that of every run that came to its report."""
    write_json(workdir / "config.json", json.loads(config))


class Handover:
    """What finished stages handed on, each read once, when first needed. Rows of all tables are ids."""

    def __init__(self, workdir: Path, *, oracle: bool):
        self.workdir, self._oracle = workdir, oracle

    @cached_property
    def examples(self) -> Table:
        """id, key, label (-1 outside the budget)."""
        return read_table(self.workdir / "examples.parquet")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(read_json(self.workdir / "label" / "classes.json"))

    @cached_property
    def truth(self) -> np.ndarray | None:
        """i32[N], every true label; None without the oracle."""
        return read_table(self.workdir / "oracle.parquet")["label"] if self._oracle else None

    @cached_property
    def pseudolabels(self) -> Table | None:
        """id, key, pseudo_label, label_source, prediction, confidence; None if the run needed none."""
        path = self.workdir / "pseudolabel" / "pseudolabels.parquet"
        return read_table(path) if path.exists() else None

    @cached_property
    def dynamics(self) -> dict[str, np.ndarray]:
        """The fields of ``Dynamics``, [N, T] each; empty if the run needed none."""
        path = self.workdir / "score" / "dynamics.npz"
        return read_npz(path) if path.exists() else {}

    @cached_property
    def embeddings(self) -> dict[str, np.ndarray]:
        """features f32[N, D], and probabilities f32[N, C] where they are a network's."""
        return read_npz(self.workdir / "embed" / "embeddings.npz")

    @cached_property
    def scores(self) -> Table:
        """id, key, and every score by name; empty if the run needed none."""
        path = self.workdir / "score" / "scores.parquet"
        return read_table(path) if path.exists() else {}

    @property
    def quality(self) -> dict[str, dict[str, float]] | None:
        """Of the pseudo-labels, by part of the pool; None without the oracle."""
        path = self.workdir / "pseudolabel" / "quality.json"
        return read_json(path) if path.exists() else None

    @property
    def search(self) -> dict[str, Any] | None:
        """What was chosen, by selection, and what all searches cost; None if the run had none.

        {"chosen": {name: {"cutoff": {keep: cutoff}, "horizon", "c_d"}}, "trials", "steps", "seconds"}
        """
        fields = ("name", "cutoff", "horizon", "c_d", "trials", "steps", "seconds")
        done = self.workdir.glob("search/*/DONE.json")
        parts = [read_json(path.with_name("chosen.json"), *fields) for path in done]
        parts.sort(key=lambda part: (part["name"], [-float(keep) for keep in part["cutoff"]]))
        chosen: dict[str, dict[str, Any]] = {}
        for part in parts:
            one = chosen.setdefault(part["name"], {"cutoff": {}, "horizon": part["horizon"], "c_d": part["c_d"]})
            one["cutoff"] |= part["cutoff"]
        costs = {key: sum(part[key] for part in parts) for key in ("trials", "steps", "seconds")}
        return {"chosen": chosen} | costs if parts else None

    def coresets(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Every finished coreset by directory name: {"spec": ..., "table": ...}; those of ``names`` first.

        Tables hold kept, bool[N], and score, f32[N], where the selection goes by one.
        """

        def read(path: Path) -> dict[str, Any]:
            # Of a million images, keys and scores of fifteen coresets would be gigabytes.
            table = read_table(path / "coreset.parquet", "kept", "score")
            return {"spec": read_json(path / "spec.json"), "table": table}

        return _finished(self.workdir / "select", names, read)

    def results(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Every finished retraining's result by directory name, "full" first, then those of ``names``."""
        return _finished(self.workdir / "retrain", ("full", *names), lambda path: read_json(path / "result.json"))


def _finished(directory: Path, names: Sequence[str], read: Callable[[Path], Any]) -> dict[str, Any]:
    """What was read of each finished part, by name as in ``names``, largest kept fraction first."""

    def rank(entry: tuple[str, Any]) -> tuple[int, str, float, int]:
        spec = entry[1].get("spec", entry[1])
        place = list(names).index(spec["name"]) if spec["name"] in names else len(names)
        return (place, spec["name"], -spec["keep"], spec.get("seed", 0))

    found = {done.parent.name: read(done.parent) for done in directory.glob("*/DONE.json")}
    return dict(sorted(found.items(), key=rank))
