"""P1: the 37 retrainings of a cutoff search, one epoch each, in one process (ours) and in one process each (theirs).

``python -m benchmarks.cases.search POOL.npz NETWORK EPOCHS RUNS`` runs ours.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.protocol import OURS, Case, Contender

# (kept fraction, cutoffs tried): those of 30, 50, 70, 80 and 90% pruned.
_GRID = ((0.7, 4), (0.5, 6), (0.3, 8), (0.2, 9), (0.1, 10))
_EPOCHS = 1


class Task(NamedTuple):
    """A search over a small pool, so that the costs around the trainings show."""

    network: str
    pool: int
    pixels: int
    runs: int


TASKS = {
    "cpu": {"P1": Task("resnet8", 1024, 32, 37)},
    "gpu": {"P1": Task("resnet18_cifar", 2048, 32, 37)},
    "smoke": {"P1": Task("resnet8", 64, 8, 2)},
}


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    return Case(
        what=f"{task.runs} retrainings of {task.network}, {_EPOCHS} epoch of up to {task.pool:,} images each",
        unit="search",
        n=task.runs,
        dtype="float32" if suite != "gpu" else "bfloat16",
        contenders={OURS: partial(_ours, task), "R0": partial(_one_by_one, task)},
        rounds=2,
        warm_ups=0,
        alone=False,
    )


def batches(runs: int) -> list[tuple[float, int]]:
    """Kept fraction and batch size of each retraining."""
    sizes = {0.2: 64, 0.1: 32}
    return [(keep, sizes.get(keep, 128)) for keep, count in _GRID for _ in range(count)][-runs:]


def _pool(task: Task, directory: str) -> Path:
    from benchmarks import pools

    images, labels, path = pools.windows(task.pool, task.pixels), pools.labels(task.pool, 10), Path(directory, "pool")
    np.savez(path, x_train=images, y_train=labels, x_test=images[:64], y_test=labels[:64])
    return path.with_suffix(".npz")


def _ours(task: Task) -> Contender:
    directory = tempfile.TemporaryDirectory(prefix="semiprune-bench-")
    path = _pool(task, directory.name)

    def run() -> None:
        with tempfile.TemporaryDirectory() as programs:  # an empty cache for each round
            arguments = [str(path), task.network, str(_EPOCHS), str(task.runs)]
            _start("benchmarks.cases.search", arguments, JAX_COMPILATION_CACHE_DIR=programs)

    return Contender(run, facts=lambda: {"processes": 1}, close=directory.cleanup)


def _one_by_one(task: Task) -> Contender:
    directory = tempfile.TemporaryDirectory(prefix="semiprune-bench-")
    path = _pool(task, directory.name)

    def run() -> None:
        for keep, batch_size in batches(task.runs):
            arguments = [str(path), task.network, str(batch_size), str(_EPOCHS), str(keep)]
            _start("benchmarks.reference.retrain", arguments)

    return Contender(run, facts=lambda: {"processes": task.runs}, close=directory.cleanup)


def _start(module: str, arguments: list[str], **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | environment,
    )


def main(path: str, network: str, epochs: str, runs: str) -> None:
    """Makes all retrainings by the package."""
    from benchmarks import pools
    from semiprune_jax.config.schema import base_config
    from semiprune_jax.train.supervised import retrain
    from semiprune_jax.train.training import Job

    with np.load(path) as pool:
        images, labels = pool["x_train"], pool["y_train"].astype(np.int32)
    config = base_config()
    config.data.image_size, config.model.retrain = images.shape[1], network
    config.retrain.epochs, config.retrain.eval_every_epochs, config.retrain.save_model = int(epochs), int(epochs), False
    with tempfile.TemporaryDirectory() as directory:
        made = pools.trainer(config, images, labels, Path(directory), classes=10, test=64)
        order = np.random.default_rng(0).permutation(len(images))
        for number, (keep, batch_size) in enumerate(batches(int(runs))):
            kept = np.sort(order[: int(len(images) * keep)])
            retrain(made, Job(f"retrain/{number}", 0, network, config.retrain), labels, kept, batch_size)
        made.metrics.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
