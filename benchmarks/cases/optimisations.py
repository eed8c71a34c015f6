"""O: each optimisation against the same work without it, on this platform. The README has predictions.

The first contender is the program's own way on this platform.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import alone, pools
from benchmarks.cases import augmentation, training_steps
from benchmarks.protocol import OURS, Case, Contender
from semiprune_jax.augment import views
from semiprune_jax.config.schema import base_config
from semiprune_jax.train import dynamics
from semiprune_jax.train.supervised import retrain
from semiprune_jax.train.training import Job

_RECIPE = views.Recipe((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), 0.125, flip=True)


class Task(NamedTuple):
    """An optimisation, and the size of the work that it is tried on."""

    optimisation: str
    batch: int = 448
    n: int = 4096
    step: training_steps.Task | None = None
    suite: str = ""  # a process of its own runs F1 of this suite


_STEP = training_steps.Task("wrn_28_2", 10, 32, 32, batch=1, mu=7, steps=16, pool=2048)
_LARGE = training_steps.TASKS["gpu"]["F1"]
_TINY = training_steps.TASKS["smoke"]["F1"]._replace(steps=4)
TASKS = {
    "cpu": {
        "O-gather": Task("gather"),
        "O-randaugment": Task("randaugment"),
        "O-scan": Task("scan", step=_STEP._replace(batch=1, mu=1, steps=4)),
        "O-donation": Task("donation", step=_STEP._replace(network="wrn_28_8", mu=1, steps=2)),
        "O-bfloat16": Task("bfloat16", step=_STEP._replace(steps=2)),
        "O-executable": Task("executable", n=256),
        "O-host-read": Task("host-read", step=_TINY._replace(steps=64)),
        "O-set": Task("set", batch=256, n=1_281_167),
        "O-environment": Task("environment", step=training_steps.TASKS["cpu"]["F1"], suite="cpu"),
    },
    "gpu": {
        "O-gather": Task("gather", n=51200),
        "O-randaugment": Task("randaugment", n=51200),
        "O-scan": Task("scan", step=training_steps.TASKS["gpu"]["S1-32"]),
        "O-donation": Task("donation", step=_LARGE),
        "O-bfloat16": Task("bfloat16", step=_LARGE),
        "O-executable": Task("executable", n=2048),
        "O-host-read": Task("host-read", step=training_steps.TASKS["gpu"]["S1-32"]),
        "O-set": Task("set", batch=256, n=1_281_167),
    },
    "smoke": {
        "O-gather": Task("gather", batch=8, n=16),
        "O-randaugment": Task("randaugment", batch=8, n=16),
        "O-scan": Task("scan", step=_TINY),
        "O-donation": Task("donation", step=_TINY),
        "O-bfloat16": Task("bfloat16", step=_TINY),
        "O-executable": Task("executable", n=32),
        "O-host-read": Task("host-read", step=_TINY),
        "O-set": Task("set", batch=8, n=64),
        "O-environment": Task("environment", step=training_steps.TASKS["smoke"]["F1"], suite="smoke"),
    },
}


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    what, unit, contenders = _OPTIMISATIONS[task.optimisation](task)
    return Case(
        what=what,
        unit=unit,
        n=task.step.images if task.step else task.batch,
        dtype="float32",
        contenders=contenders,
        rounds=5 if task.optimisation in ("executable", "environment") else 100,
        alone=False,
    )


Contenders = tuple[str, str, dict[str, Callable[[], Contender]]]


def _gather(task: Task) -> Contenders:
    def plainly(key: jax.Array, image: jax.Array) -> jax.Array:
        drawn, pad = views.random_crop_params(key, image.shape, _RECIPE), int(image.shape[0] * _RECIPE.padding)
        padded = jnp.pad(image, [(pad, pad), (pad, pad), (0, 0)], mode="reflect")
        corner = drawn.offset + pad
        window = jax.lax.dynamic_slice(padded, (corner[0], corner[1], 0), image.shape)
        return views.normalise(jnp.where(drawn.flip, window[:, ::-1], window), _RECIPE.mean, _RECIPE.std)

    return (
        "weak views: crop, reflection and flip in one gather, or one after the other",
        "batch",
        {
            OURS: partial(_view, task, jax.vmap(views.weak_view(_RECIPE))),
            "pad, slice, select": partial(_view, task, jax.vmap(plainly)),
        },
    )


def _randaugment(task: Task) -> Contenders:
    ways = {
        "one image after the other": views.strong_views(_RECIPE, sequential=True),
        "grouped by operation": views.strong_views(_RECIPE, sequential=False),
    }
    ours = "one image after the other" if jax.default_backend() == "cpu" else "grouped by operation"
    contenders = {OURS: partial(_view, task, ways.pop(ours))}
    contenders |= {name: partial(_view, task, view) for name, view in ways.items()}
    one = views.strong_views(_RECIPE, sequential=True)
    # Under vmap a choice becomes a selection between the results of all branches.
    mapped = jax.vmap(lambda key, image: one(key[None], image[None])[0])
    contenders["all operations on all images"] = partial(_view, task, mapped)
    return f"strong views: {ours}", "batch", contenders


def _view(task: Task, view: views.View) -> Contender:
    return augmentation.contender(view, task.n, 32, task.batch)


def _scan(task: Task) -> Contenders:
    contenders = {"one dispatch a step": partial(_steps, task, 1), "all steps in one scan": partial(_steps, task, 0)}
    ours = list(contenders)[0 if jax.default_backend() == "cpu" else 1]
    return f"training step: {ours}", "step", {OURS: contenders.pop(ours)} | contenders


def _donation(task: Task) -> Contenders:
    return (
        "training step: state and record given to the program to write over, or kept",
        "step",
        {
            OURS: partial(_steps, task, 1),
            "not donated": partial(_steps, task, 1, donated=False),
        },
    )


def _bfloat16(task: Task) -> Contenders:
    contenders = {name: partial(_steps, task, 1, dtype=name) for name in ("float32", "bfloat16")}
    ours = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return f"training step in {ours}", "step", {OURS: contenders.pop(ours)} | contenders


def _host_read(task: Task) -> Contenders:
    return (
        "training step: metrics read one dispatch behind, or each at once",
        "step",
        {
            OURS: partial(_steps, task, 1),
            "read at once": partial(_steps, task, 1, behind=0),
        },
    )


def _steps(task: Task, together: int, *, donated: bool = True, dtype: str = "auto", behind: int = 1) -> Contender:
    assert task.step is not None
    made, begun = training_steps.prepare(task.step, dtype)
    together = together or task.step.steps
    if not donated:
        begun = dataclasses.replace(begun, dispatch=jax.jit(begun.dispatch.__wrapped__))
    with begun.feed as read:
        feed = made.layout.put_feed(read(0, together))
    program = begun.dispatch.lower(begun.state, begun.record, begun.pool, feed, begun.key).compile()
    memory = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    facts = {"held_bytes": held, "temporary_bytes": memory.temp_size_in_bytes}
    run = training_steps.rounds(made, begun, task.step.steps, together, behind)
    return Contender(run, units=task.step.steps, images=task.step.images, facts=lambda: facts)


def _executable(task: Task) -> Contenders:
    images, labels = pools.windows(task.n, 32), pools.labels(task.n, 10)
    config = base_config()
    config.model.retrain, config.data.image_size, config.retrain.save_model = "resnet8", 32, False
    config.retrain.epochs = config.retrain.eval_every_epochs = 1
    sizes = [task.n * share // 8 for share in (8, 6, 4, 2)]

    def run(shared: bool) -> None:
        # Programs that were compiled before must not help either side.
        jax.clear_caches()
        with _nothing_kept(), tempfile.TemporaryDirectory(prefix="semiprune-bench-") as directory:
            made = pools.trainer(config, images, labels, Path(directory), classes=10)
            for number, size in enumerate(sizes):
                if not shared and number:
                    jax.clear_caches()
                    made = pools.trainer(config, images, labels, Path(directory), classes=10)
                job = Job(f"retrain/{number}", number, config.model.retrain, config.retrain)
                retrain(made, job, labels, np.arange(size), 16)
            made.metrics.close()

    return (
        f"{len(sizes)} retrainings of an epoch: one executable, or one each",
        "run of all",
        {
            OURS: lambda: Contender(lambda: run(True)),
            "compiled for each": lambda: Contender(lambda: run(False)),
        },
    )


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """Keeps programs out of the cache on disk."""
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
    try:
        yield
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


def _set(task: Task) -> Contenders:
    def contender(write: Callable) -> Contender:
        record, rng = dynamics.init(task.n, 1), np.random.default_rng(0)
        ids = [jnp.asarray(rng.permutation(task.n)[: task.batch], jnp.int32) for _ in range(4)]
        logits = jnp.asarray(rng.standard_normal((task.batch, 1000), np.float32))
        label = jnp.asarray(rng.integers(0, 1000, task.batch), jnp.int32)

        @partial(jax.jit, donate_argnums=0)
        def update(record, ids, logits, label):
            return write(record, ids, dynamics.observe(logits, label))

        def run() -> None:
            nonlocal record
            for step in range(32):
                record = update(record, ids[step % 4], logits, label)
            jax.block_until_ready(record)

        return Contender(run, units=32, images=task.batch)

    def added(record, ids, seen):
        kept = {name: seen[name] for name in ("p_label", "p_other", "el2n")}
        new = {name: getattr(record, name).at[ids, 0].add(values) for name, values in kept.items()}
        return record.replace(**new, correct=record.correct.at[ids, 0].set(seen["correct"]))

    return (
        f"record of {task.n:,} examples: set at unique rows, or added to",
        "step",
        {
            OURS: lambda: contender(lambda record, ids, seen: dynamics.update(record, ids, jnp.int32(0), seen)),
            "scatter-add": lambda: contender(added),
        },
    )


def _environment(task: Task) -> Contenders:
    """Variables that are read when a process starts.

    Some make the C library keep large buffers, which it would otherwise map and unmap in each step. Another makes one
    device for each core, so that the parts of a batch need not wait for each other at every operation.
    """

    def contender(**environment: str) -> Contender:
        programs = tempfile.TemporaryDirectory(prefix="semiprune-bench-")

        def run() -> float:
            return alone.measure(task.suite, "F1", OURS, programs.name, **environment)["second_s"]

        assert task.step is not None
        return Contender(run, units=task.step.steps, images=task.step.images, close=programs.cleanup)

    return (
        "training step: variables of the environment",
        "step",
        {
            OURS: contender,
            "huge pages": partial(contender, GLIBC_TUNABLES="glibc.malloc.hugetlb=1"),
            "never given back": partial(
                contender, MALLOC_ARENA_MAX="1", MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(1 << 40)
            ),
            "a device for each core": partial(contender, JAX_NUM_CPU_DEVICES=str(os.cpu_count())),
        },
    )


_OPTIMISATIONS: dict[str, Callable[[Task], Contenders]] = {
    "gather": _gather,
    "randaugment": _randaugment,
    "scan": _scan,
    "donation": _donation,
    "bfloat16": _bfloat16,
    "executable": _executable,
    "host-read": _host_read,
    "set": _set,
    "environment": _environment,
}
