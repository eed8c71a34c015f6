"""Work around the training step: start-up, checkpoints, evaluation, and a whole run on the digits."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import torch

from benchmarks import pools
from benchmarks.protocol import OURS, Case, Contender
from benchmarks.reference import networks, training
from semiprune_jax.config.schema import base_config
from semiprune_jax.train.fixmatch import fixmatch_training
from semiprune_jax.train.supervised import supervised_training
from semiprune_jax.train.training import Job
from semiprune_jax.workdir.checkpoint import Checkpoints

_ROOT = Path(__file__).parent.parent.parent


class Task(NamedTuple):
    """A piece of this work, with its ``network`` and ``count`` if it has them."""

    piece: str
    network: str = ""
    count: int = 0
    rounds: int = 100


TASKS = {
    "cpu": {
        "start-up": Task("start"),
        "checkpoint": Task("checkpoint", "wrn_28_8"),
        "evaluation": Task("evaluation", "resnet18_cifar", 512),
        "digits": Task("digits", rounds=1),
    },
    "gpu": {
        "start-up": Task("start"),
        "checkpoint": Task("checkpoint", "wrn_28_8"),
        "evaluation": Task("evaluation", "resnet18_cifar", 10_000),
        "digits": Task("digits", rounds=1),
    },
    "smoke": {"checkpoint": Task("checkpoint", "wrn_10_1"), "evaluation": Task("evaluation", "resnet8", 24)},
}


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    what, contenders = _PIECES[task.piece](task)
    return Case(
        what=what,
        unit="time",
        n=task.count,
        dtype="float32",
        contenders=contenders,
        rounds=task.rounds,
        warm_ups=0 if task.piece == "digits" else 1,
        alone=task.piece in ("checkpoint", "evaluation"),
    )


def _start(task: Task) -> tuple[str, dict[str, Callable[[], Contender]]]:
    def program(code: str) -> Callable[[], Contender]:
        return lambda: Contender(lambda: subprocess.run([sys.executable, "-c", code], check=True, cwd=_ROOT))

    return "start a process and import everything that a training needs", {
        OURS: program("import semiprune_jax.main, semiprune_jax.pipeline, jax; jax.devices()"),
        "ours, --help": program("import semiprune_jax.main"),
        "R0": program("import torch, torch.utils.data, PIL.Image, numpy; torch.cuda.is_available()"),
    }


def _checkpoint(task: Task) -> tuple[str, dict[str, Callable[[], Contender]]]:
    return f"save a checkpoint of {task.network} in FixMatch and read it back", {
        OURS: partial(_ours_checkpoint, task),
        "R0": partial(_their_checkpoint, task),
    }


def _ours_checkpoint(task: Task) -> Contender:
    config = base_config()
    config.model.ssl, config.data.image_size = task.network, 32
    directory = tempfile.TemporaryDirectory(prefix="semiprune-bench-")
    made = pools.trainer(config, pools.windows(512, 32), pools.labels(512, 100), Path(directory.name), classes=100)
    labels = pools.labels(512, 100)
    begun = fixmatch_training(made, Job("pseudolabel", 0, task.network, config.ssl), labels)
    path, steps = Path(directory.name) / "checkpoints", iter(range(1, 1 << 30))

    def run() -> None:
        with Checkpoints(path) as checkpoints:
            checkpoints.save(next(steps), (begun.state, None))
        with Checkpoints(path) as checkpoints:
            jax.block_until_ready(checkpoints.restore((begun.state, None)))

    def facts() -> dict[str, int]:
        latest = max(path.iterdir(), key=lambda entry: int(entry.name) if entry.name.isdigit() else -1)
        return {"stored_bytes": sum(file.stat().st_size for file in latest.rglob("*") if file.is_file())}

    return Contender(run, facts=facts, close=directory.cleanup)


def _their_checkpoint(task: Task) -> Contender:
    model = networks.create(task.network, 100)
    optimizer = training.sgd(
        model, learning_rate=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4, matrices_only=True
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    average = training.EmaModel(model, 0.999)
    directory = tempfile.TemporaryDirectory(prefix="semiprune-bench-")
    path = Path(directory.name) / "latest.pth"

    def run() -> None:
        saved = {
            "model": model.state_dict(),
            "ema_model": average.model.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        torch.save(saved, path)
        model.load_state_dict(torch.load(path)["model"])

    return Contender(run, facts=lambda: {"stored_bytes": path.stat().st_size}, close=directory.cleanup)


def _evaluation(task: Task) -> tuple[str, dict[str, Callable[[], Contender]]]:
    return f"test {task.network} on {task.count:,} images", {
        OURS: partial(_our_evaluation, task),
        "R0": partial(_their_evaluation, task),
    }


def _our_evaluation(task: Task) -> Contender:
    config = base_config()
    config.model.retrain, config.data.image_size = task.network, 32
    images, labels = pools.windows(task.count, 32), pools.labels(task.count, 10)
    made = pools.trainer(config, images, labels, Path(tempfile.gettempdir()), classes=10, test=task.count)
    job = Job("retrain/all", 0, task.network, config.retrain)
    begun = supervised_training(made, job, labels, np.arange(task.count), 128, steps=1)
    evaluate = begun.evaluate
    assert evaluate is not None
    return Contender(lambda: evaluate(begun.state), images=task.count)


def _their_evaluation(task: Task) -> Contender:
    config, images = base_config(), pools.windows(task.count, 32)
    model = networks.create(task.network, 10).to("cuda" if torch.cuda.is_available() else "cpu")
    statistics = (tuple(config.data.mean), tuple(config.data.std))
    return Contender(lambda: training.predict(model, images, statistics, 256), images=task.count)


def _digits(task: Task) -> tuple[str, dict[str, Callable[[], Contender]]]:
    def run(programs: str) -> None:
        with tempfile.TemporaryDirectory() as workdir:
            command = ["semiprune_jax.main", "--config=configs/digits.py", f"--workdir={workdir}/digits"]
            subprocess.run(
                [sys.executable, "-m", *command],
                check=True,
                cwd=_ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"JAX_COMPILATION_CACHE_DIR": programs},
            )

    def cold() -> None:
        with tempfile.TemporaryDirectory() as programs:
            run(programs)

    kept = tempfile.TemporaryDirectory(prefix="semiprune-bench-")

    def warm() -> Contender:
        run(kept.name)
        return Contender(lambda: run(kept.name), close=kept.cleanup)

    return "the README's first command: every stage on the digits", {
        OURS: warm,
        "ours, nothing compiled before": lambda: Contender(cold),
    }


_PIECES: dict[str, Callable[[Task], tuple[str, dict[str, Callable[[], Contender]]]]] = {
    "start": _start,
    "checkpoint": _checkpoint,
    "evaluation": _evaluation,
    "digits": _digits,
}
