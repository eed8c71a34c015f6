"""D1 and C1: dynamics from the first step to scores, against logits that are logged, pickled, loaded and scored.

The networks are left out: both sides get the same logits, made for each step. Of a step, only the time that recording
adds to it counts.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.protocol import OURS, Case, Contender
from benchmarks.reference import trajectories
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.select import scores
from semiprune_jax.train import dynamics
from semiprune_jax.train.steps import cross_entropy
from semiprune_jax.workdir import formats

_OPTIONS = {"first": 0, "last": 20, "window": 10, "horizon": 30}
_NAMES = ("aum", "forgetting", "correctness", "el2n", "dual")


class Task(NamedTuple):
    """One pool and one training."""

    n: int
    classes: int
    epochs: int
    batch: int
    rounds: int
    after: bool = False  # C1: only the work after the training


TASKS = {
    "cpu": {
        "D1-10": Task(10_000, 10, 200, 128, rounds=3),
        "D1-100": Task(50_000, 100, 200, 128, rounds=3),
        "D1-1000": Task(25_600, 1000, 30, 256, rounds=3),
        "C1": Task(50_000, 100, 200, 128, rounds=5, after=True),
    },
    "smoke": {"D1-10": Task(64, 10, 31, 16, rounds=2), "C1": Task(64, 10, 31, 16, rounds=2, after=True)},
}
TASKS["gpu"] = TASKS["cpu"]


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    what = "scores from the saved files" if task.after else "dynamics, all stages"
    return Case(
        what=f"{what}: {task.n:,} examples, {task.classes} classes, {task.epochs} epochs",
        unit="run",
        n=task.n,
        dtype="float32",
        contenders={OURS: partial(_contender, task, _Record), "R0": partial(_contender, task, _Log)},
        prove=partial(_prove, task),
        rounds=task.rounds,
        clock="wall" if task.after else "cpu",
        warm_ups=1 if task.after else 0,
    )


class _Logits:
    """Logits that favour the labels, by a factor that varies from epoch to epoch."""

    def __init__(self, task: Task):
        rng = np.random.default_rng(0)
        self.task = task
        self.label = rng.integers(0, task.classes, task.n).astype(np.int32)
        self._base = rng.standard_normal((task.n, task.classes), np.float32)
        self._base[np.arange(task.n), self.label] += 1.0
        self._order = [rng.permutation(task.n) for _ in range(4)]

    def __iter__(self) -> Iterator[tuple[int, list[np.ndarray], list[np.ndarray]]]:
        """Yields an epoch, and the ids i64[B] and logits f32[B, C] of its steps; the last batch may be short."""
        task = self.task
        cuts = range(task.batch, task.n, task.batch)
        for epoch in range(task.epochs):
            order = self._order[epoch % len(self._order)]
            scale = np.float32(0.5 + 2.0 * ((epoch * 7) % task.epochs) / task.epochs)
            yield epoch, np.split(order, cuts), np.split(self._base[order] * scale, cuts)


@cache
def _logits(task: Task) -> _Logits:
    return _Logits(task)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _epoch(records: bool, carried, epoch, steps):
    """The work of an epoch's steps on their logits, in one program: the loss's gradient, and the record if asked."""

    def step(carried, given):
        (record, gradient), (ids, logits, label) = carried, given
        gradient += jax.grad(lambda x: jnp.mean(cross_entropy(x, label)))(logits)
        if records:
            record = dynamics.update(record, ids, epoch, dynamics.observe(logits, label))
        return (record, gradient), None

    return jax.lax.scan(step, carried, steps)[0]


class _Record:
    """Ours: a record on the device, which is saved as it is."""

    file = "dynamics.npz"

    def __init__(self, task: Task):
        self._task, self._layout = task, Layout("jit", jax.devices()[:1])
        self._gradient = jnp.zeros((task.batch, task.classes))
        self._record = self._layout.create_record(partial(dynamics.init, self._layout.record_rows(task.n), task.epochs))

    def on_device(self, ids: list[np.ndarray], logits: list[np.ndarray], label: np.ndarray) -> tuple:
        """An epoch's values as its training steps have them, with the last batch padded."""
        missing = self._task.batch - len(ids[-1])
        past = self._layout.record_rows(self._task.n) + np.arange(missing)
        rows = np.stack([*ids[:-1], np.r_[ids[-1], past]]).astype(np.int32)
        values = np.stack([*logits[:-1], np.pad(logits[-1], [(0, missing), (0, 0)])])
        truth = np.append(label, 0)[np.minimum(rows, len(label))]
        return jax.block_until_ready(tuple(jnp.asarray(x) for x in (rows, values, truth)))

    def observe(self, epoch: int, values: tuple) -> float:
        """CPU seconds that recording adds to the epoch's steps, which need their logits' softmax anyway."""
        spent = {}
        for records in (False, True):
            began = time.process_time()
            carried = _epoch(records, (self._record, self._gradient), jnp.int32(epoch), values)
            self._record, self._gradient = jax.block_until_ready(carried)
            spent[records] = time.process_time() - began
        return spent[True] - spent[False]

    def save(self, path: Path) -> None:
        saved = self._layout.save_record(self._record)
        formats.write_npz(path, {k: v[: self._task.n] for k, v in vars(saved).items() if v is not None})

    @staticmethod
    def scores(path: Path, label: np.ndarray, epochs: int) -> dict[str, np.ndarray]:
        record = formats.read_npz(path)
        made = {name: scores.compute(name, record, _OPTIONS) for name in _NAMES}
        return made | {"mean_probability": scores.mean_probability(record["p_label"], _OPTIONS["horizon"])}


class _Log:
    """R0: all logits."""

    file = "dynamics.pickle"

    def __init__(self, task: Task):
        self._logger = trajectories.Logger()

    def on_device(self, ids: list[np.ndarray], logits: list[np.ndarray], label: np.ndarray) -> tuple:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return [torch.from_numpy(x) for x in ids], [torch.from_numpy(x).to(device) for x in logits]

    def observe(self, epoch: int, values: tuple) -> float:
        began = time.process_time()
        for ids, logits in zip(*values, strict=True):
            self._logger.log(epoch, ids, logits)
        return time.process_time() - began

    def save(self, path: Path) -> None:
        self._logger.save(path)

    @staticmethod
    def scores(path: Path, label: np.ndarray, epochs: int) -> dict[str, np.ndarray]:
        steps = trajectories.load(path)
        options = {"el2n_epochs": _OPTIONS["last"], "horizon": _OPTIONS["horizon"], "window": _OPTIONS["window"]}
        return trajectories.score(steps, label, epochs, **options)


def _contender(task: Task, way: Callable[[Task], Any]) -> Contender:
    directory = tempfile.TemporaryDirectory(prefix="semiprune-bench-")
    path = Path(directory.name) / way.file
    logits = _logits(task._replace(rounds=0, after=False))
    spent: dict[str, float] = {}

    def facts() -> dict[str, Any]:
        return {"stored_bytes": path.stat().st_size} | {f"{part}_cpu_s": seconds for part, seconds in spent.items()}

    def run_all() -> float:
        made, passed = way(task), dict.fromkeys(("record", "save", "score"), 0.0)
        for epoch, ids, values in logits:
            given = made.on_device(ids, values, logits.label)
            passed["record"] += made.observe(epoch, given)
        for part, work in {
            "save": lambda: made.save(path),
            "score": lambda: way.scores(path, logits.label, task.epochs),
        }.items():
            began = time.process_time()
            work()
            passed[part] += time.process_time() - began
        spent.update(passed)
        return sum(passed.values())

    if not task.after:
        return Contender(run_all, facts=facts, close=directory.cleanup)
    run_all()
    return Contender(lambda: way.scores(path, logits.label, task.epochs), facts=facts, close=directory.cleanup)


def _prove(task: Task) -> dict[str, float]:
    """Checks that both sides give the same scores from the same logits, on a part of the pool."""
    small = task._replace(n=min(task.n, 1000), epochs=max(31, min(task.epochs, 40)), rounds=0, after=False)
    logits, made = _logits(small), {}
    with tempfile.TemporaryDirectory() as directory:
        for way in (_Record, _Log):
            one = way(small)
            for epoch, ids, values in logits:
                one.observe(epoch, one.on_device(ids, values, logits.label))
            one.save(Path(directory) / way.file)
            made[way] = way.scores(Path(directory) / way.file, logits.label, small.epochs)
    ours, theirs = made[_Record], dict(made[_Log])
    theirs["dual"] = theirs["dual"] / 10 * np.sqrt(9 / 10)  # the unbiased deviation, times 10
    # Their logits are in half precision, so that a few ties may be decided the other way.
    limits = {"aum": 0.05, "forgetting": 2, "correctness": 2, "el2n": 0.05, "dual": 1e-3, "mean_probability": 1e-3}
    found = {name: float(np.abs(ours[name] - theirs[name]).max()) for name in limits}
    if any(found[name] > limit for name, limit in limits.items()):
        raise AssertionError(f"scores differ by {found}; allowed are {limits}")
    return {f"{name}_difference": value for name, value in found.items()}
