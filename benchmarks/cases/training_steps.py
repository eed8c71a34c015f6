"""F1 to F3, S1 and S2: a whole training step, with its views and record, against PyTorch's.

Ours makes its views inside the step. R0 takes them from Pillow in worker processes. The views of R1 and R2 are made
before the clock starts, which favours these two.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import pools
from benchmarks.protocol import OURS, Case, Contender
from benchmarks.reference import loader, naming, networks, training
from benchmarks.reference.trajectories import Logger
from semiprune_jax.config.schema import Config, base_config
from semiprune_jax.randomness import example_keys
from semiprune_jax.train.context import TrainContext
from semiprune_jax.train.fixmatch import fixmatch_training
from semiprune_jax.train.supervised import proxy_training, retrain_steps, supervised_training
from semiprune_jax.train.training import Job, Training

_LEARNING_RATE, _EPOCHS = 0.03, 30
_RELEASED_STEPS = 8  # the most of R0's steps in a round: on a GPU one takes as long as a dozen of the others'
# _LOSS bounds the relative difference of the losses. _UPDATE bounds the difference between our update of all weights
# and PyTorch's in double precision, relative to its length; or _TIMES the error of PyTorch's own update in single
# precision, if that is more. Rounding decides on which side of 0 some inputs of ReLUs fall, and so changes gradients
# of single weights. Over seven seeds of F1 the error of ours was 0.00005 to 0.003, and of PyTorch's 0.0003 to 0.005.
_LOSS, _UPDATE, _TIMES = 1e-4, 5e-3, 3.0


class Task(NamedTuple):
    """One case at one size."""

    network: str
    classes: int
    pixels: int
    square: int  # pixels of the pool's images; equal to ``pixels``, or larger if views are parts of the images
    batch: int  # labelled examples in a FixMatch step, or examples in a supervised one
    mu: int  # unlabelled examples for each labelled one; 0: a supervised step
    steps: int  # in a round
    pool: int  # number of examples

    @property
    def images(self) -> int:
        """Number of images that the network sees in a step."""
        return self.batch * (1 + 2 * self.mu)


TASKS = {
    "cpu": {
        "F1": Task("wrn_28_2", 10, 32, 32, batch=4, mu=7, steps=3, pool=2048),
        "F2": Task("wrn_28_8", 100, 32, 32, batch=1, mu=7, steps=3, pool=2048),
        "F3": Task("resnet50", 1000, 224, 256, batch=2, mu=1, steps=3, pool=128),
        "S1": Task("resnet18_cifar", 10, 32, 32, batch=32, mu=0, steps=3, pool=2048),
        "S2": Task("resnet34", 1000, 224, 256, batch=8, mu=0, steps=3, pool=128),
    },
    "gpu": {
        "F1": Task("wrn_28_2", 10, 32, 32, batch=64, mu=7, steps=32, pool=51200),
        "F2": Task("wrn_28_8", 100, 32, 32, batch=64, mu=7, steps=16, pool=51200),
        "F3": Task("resnet50", 1000, 224, 256, batch=64, mu=1, steps=16, pool=4096),
        "S1": Task("resnet18_cifar", 10, 32, 32, batch=128, mu=0, steps=64, pool=51200),
        "S1-64": Task("resnet18_cifar", 10, 32, 32, batch=64, mu=0, steps=64, pool=51200),
        "S1-32": Task("resnet18_cifar", 10, 32, 32, batch=32, mu=0, steps=64, pool=51200),
        "S2": Task("resnet34", 1000, 224, 256, batch=256, mu=0, steps=16, pool=4096),
    },
    "smoke": {
        "F1": Task("wrn_10_1", 3, 8, 8, batch=4, mu=2, steps=2, pool=64),
        "F3": Task("wrn_10_1", 3, 8, 10, batch=2, mu=1, steps=2, pool=32),
        "S1": Task("resnet8", 3, 8, 8, batch=8, mu=0, steps=2, pool=64),
        "S2": Task("resnet8", 3, 8, 10, batch=8, mu=0, steps=2, pool=32),
    },
}


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    kind = "FixMatch" if task.mu else "supervised"
    views = f"{task.batch} x (1 + 2 x {task.mu})" if task.mu else str(task.batch)
    makers: dict[str, Callable[[], Contender]] = {OURS: partial(_ours, task)}
    if not task.mu:
        makers["ours, no record"] = partial(_ours, task, record=False)
    makers |= {"R0": partial(_released, task), "R1": partial(_tuned, task)}
    if suite != "smoke":  # its compilation takes half a minute
        makers["R2"] = partial(_tuned, task, "default")
    if torch.cuda.is_available():
        makers["R2, graphs"] = partial(_tuned, task, "reduce-overhead")
    return Case(
        what=f"{kind} step, {task.network} at {task.pixels} pixels, {views} images",
        unit="step",
        n=task.images,
        dtype="float32" if jax.default_backend() == "cpu" else "bfloat16",
        contenders=makers,
        prove=partial(_prove, task),
    )


# Ours.


def _config(task: Task, dtype: str = "auto") -> Config:
    config = base_config()
    config.data.image_size = task.pixels
    if task.square > task.pixels:
        config.data.crops, config.data.square_size, config.data.supervised_crops = "resized", task.square, "cached"
    config.model.ssl = config.model.proxy = config.model.retrain = task.network
    config.ssl.batch_size, config.ssl.mu = task.batch, max(task.mu, 1)
    config.ssl.learning_rate = config.proxy.learning_rate = config.retrain.learning_rate = _LEARNING_RATE
    config.proxy.batch_size, config.proxy.epochs = task.batch, _EPOCHS
    config.runtime.compute_dtype = dtype
    return config


@cache
def _data(task: Task) -> tuple[np.ndarray, np.ndarray]:
    return pools.windows(task.pool, task.square), pools.labels(task.pool, task.classes)


def prepare(task: Task, dtype: str = "auto", record: bool = True) -> tuple[TrainContext, Training]:
    """The context of trainings on the case's pool, and the training of the case at its beginning."""
    config, truth = _config(task, dtype), _data(task)[1]
    made = pools.trainer(config, *_data(task), Path(tempfile.gettempdir()), classes=task.classes)
    if task.mu:
        return made, fixmatch_training(made, Job("pseudolabel", 0, config.model.ssl, config.ssl), truth)
    if record:
        return made, proxy_training(made, Job("score", 0, config.model.proxy, config.proxy), truth)
    job = Job("retrain/all", 0, config.model.retrain, config.retrain)
    steps = retrain_steps(job.options, task.pool, task.batch)
    return made, supervised_training(made, job, truth, np.arange(task.pool), task.batch, steps=steps)


def _ours(task: Task, record: bool = True) -> Contender:
    made, begun = prepare(task, record=record)
    run = rounds(made, begun, task.steps, made.pace(begun).steps_per_dispatch)
    # Ids go to the device, and the metrics of a step come back.
    ids = task.batch * (1 + task.mu)
    return _contender(task, run, moved=4 * (ids + (4 + task.classes if task.mu else 2)))


def rounds(made: TrainContext, begun: Training, steps: int, together: int, behind: int = 1) -> Callable[[], None]:
    """A function that goes on training for ``steps`` steps at each call.

    Args:
      together: number of steps in a dispatch.
      behind: number of later dispatches after which metrics are read; 1 in the loop.
    """
    state, record, step = begun.state, begun.record, 0

    def run() -> None:
        nonlocal state, record, step
        waiting: list[Any] = []
        with begun.feed as read:
            for _ in range(steps // together):
                feed = made.layout.put_feed(read(step, together))
                state, record, metrics = begun.dispatch(state, record, begun.pool, feed, begun.key)
                waiting.append(metrics)
                if len(waiting) > behind:
                    jax.device_get(waiting.pop(0))
                step += together
        jax.block_until_ready((state, record))

    return run


def _contender(task: Task, run: Callable[[], None], *, moved: float, **options: Any) -> Contender:
    return Contender(
        run,
        units=task.steps,
        images=task.images,
        flops=3 * task.images * _forward_flops(task),
        facts=lambda: {"moved_bytes": moved},
        **options,
    )


@cache
def _forward_flops(task: Task) -> float:
    return networks.forward_flops(networks.create(task.network, task.classes), task.pixels)


# PyTorch's.


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _set_cudnn(*, deterministic: bool) -> None:
    """Sets cuDNN as the released scripts do (``deterministic``), or for speed."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, deterministic


def _model(task: Task, config: Config) -> torch.nn.Module:
    model = networks.create(task.network, task.classes)
    momentum = config.ssl.bn_momentum if task.mu else config.proxy.bn_momentum
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1 - momentum
    return model.to(_device())


def _optimizer(task: Task, config: Config, model: torch.nn.Module, *, fused: bool):
    options = config.ssl if task.mu else config.proxy
    optimizer = training.sgd(
        model,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
        matrices_only=task.mu > 0,
        fused=fused or None,
    )
    if task.mu:
        return optimizer, training.fixmatch_schedule(optimizer, options.steps)
    total = options.epochs * -(-task.pool // task.batch)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, options.final_learning_rate)


def _released(task: Task) -> Contender:
    """R0: Pillow in worker processes, float32, and the host reads and copies at every step."""
    task = task._replace(steps=min(task.steps, _RELEASED_STEPS))
    config, (images, truth) = _config(task), _data(task)
    model = _model(task, config)
    optimizer, schedule = _optimizer(task, config, model, fused=False)
    views = partial(
        loader.Views,
        images,
        truth,
        statistics=(tuple(config.data.mean), tuple(config.data.std)),
        padding=config.data.padding,
        size=task.pixels,
    )
    everything, share = np.arange(task.pool), 4 * 3 * task.pixels**2
    options = config.ssl
    if task.mu:
        average = training.EmaModel(model, options.ema_decay)
        streams = [
            loader.endless(views(kinds=("weak",)), everything, task.batch, workers=1),
            loader.endless(views(kinds=("weak", "strong")), everything, task.batch * task.mu, workers=2),
        ]

        def run() -> None:
            _set_cudnn(deterministic=True)
            for _ in range(task.steps):
                _, label, x = next(streams[0])
                _, _, weak, strong = next(streams[1])
                batch = {"labelled": x, "label": label, "weak": weak, "strong": strong}
                on_device = {key: value.to(_device()) for key, value in batch.items()}
                training.fixmatch_step(
                    model,
                    optimizer,
                    schedule,
                    average,
                    on_device,
                    threshold=options.threshold,
                    weight=options.unsupervised_weight,
                )

        return _contender(task, run, moved=task.images * share, awake=_workers, close=partial(_end, streams))
    weak = "resized" if task.square > task.pixels else "weak"
    streams, logger = [loader.endless(views(kinds=(weak,)), everything, task.batch, workers=2)], Logger()

    def run_supervised() -> None:
        _set_cudnn(deterministic=True)
        for _ in range(task.steps):
            ids, label, x = next(streams[0])
            _, logits, _ = training.supervised_step(model, optimizer, schedule, x.to(_device()), label.to(_device()))
            logger.log(0, ids, logits)
        logger.steps.clear()  # keeps the host's memory small; it is not timed here

    moved = task.images * (share + 4 * task.classes)
    return _contender(task, run_supervised, moved=moved, awake=_workers, close=partial(_end, streams))


def _tuned(task: Task, compiled: str = "") -> Contender:
    """R1 and R2: everything lies on the device, and the views are made before."""
    config, device = _config(task), _device()
    model = _model(task, config).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    tuned = _steps(task, config, model, compiled)
    rng = np.random.default_rng(0)

    def view(count: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal((count, 3, task.pixels, task.pixels), np.float32)).to(device)

    label = torch.from_numpy(_data(task)[1][: task.batch]).long().to(device)
    many = task.batch * max(task.mu, 1)
    inputs = [{"labelled": view(task.batch), "label": label} for _ in range(2)]
    if task.mu:
        inputs = [batch | {"weak": view(many), "strong": view(many)} for batch in inputs]
    ids = [torch.randperm(task.pool, device=device)[: task.batch] for _ in inputs]
    record = _record(task)
    turns = itertools.cycle(range(len(inputs)))

    def run() -> None:
        _set_cudnn(deterministic=False)
        for turn in itertools.islice(turns, task.steps):
            batch = inputs[turn]
            if task.mu:
                tuned.fixmatch_step(batch)
            else:
                tuned.supervised_step(batch["labelled"], batch["label"], ids[turn], record, turn)
        if device == "cuda":
            torch.cuda.synchronize()

    return _contender(task, run, moved=0)


def _record(task: Task) -> dict[str, torch.Tensor]:
    shape, device = (task.pool, _EPOCHS), _device()
    made = {name: torch.zeros(shape, device=device) for name in ("p_label", "p_other", "el2n")}
    return made | {"correct": torch.zeros(shape, dtype=torch.bool, device=device)}


def _steps(task: Task, config: Config, model: torch.nn.Module, compiled: str = "", half: bool = True) -> training.Tuned:
    optimizer, schedule = _optimizer(task, config, model, fused=True)
    options = config.ssl
    return training.Tuned(
        model,
        optimizer,
        schedule,
        ema_decay=options.ema_decay if task.mu else 0.0,
        threshold=options.threshold,
        weight=options.unsupervised_weight,
        compiled=compiled,
        half=half,
    )


@contextlib.contextmanager
def _workers() -> Iterator[None]:
    """Data loading workers run only in this context: elsewhere they would fetch ahead and slow the others."""
    _signal_workers(signal.SIGCONT)
    try:
        yield
    finally:
        _signal_workers(signal.SIGSTOP)


def _end(streams: list[Iterator]) -> None:
    _signal_workers(signal.SIGCONT)  # a stopped worker would never end
    streams.clear()


def _signal_workers(number: int) -> None:
    for child in multiprocessing.active_children():
        if child.pid:
            os.kill(child.pid, number)


# Proof.


def _prove(task: Task) -> dict[str, float]:
    """Compares one step of ours, as timed but in float32, with theirs, from the same weights on the same views.

    On a GPU it also compares bfloat16, as timed: without a bound, but the errors of ours and R1's are recorded.
    """
    with jax.default_matmul_precision("highest"):
        made, begun = prepare(task, "float32")
        before = _named(begun.state.params, begun.state.batch_stats)
        batch = _views(task, made, begun)
        loss, after = _ours_once(made, begun)
    config = _config(task, "float32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def theirs(step: Callable, dtype: torch.dtype) -> tuple[float, dict[str, np.ndarray]]:
        model = _model(task, config)
        naming.load(model, before)
        given = {key: x.to(dtype) if x.is_floating_point() else x for key, x in batch.items()}
        return step(task, config, model.to(dtype), given), naming.dump(model)

    def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
        return float(np.sqrt(sum(np.sum((one[path] - other[path]) ** 2, dtype=np.float64) for path in after)))

    _, exact = theirs(_released_once, torch.float64)
    length = apart(exact, before)
    found = {"loss_difference": 0.0, "update_error": apart(after, exact) / length, "update_error_pytorch": 0.0}
    for step in (_released_once, _tuned_once):
        value, weights = theirs(step, torch.float32)
        found["loss_difference"] = max(found["loss_difference"], abs(value - loss) / abs(loss))
        found["update_error_pytorch"] = max(found["update_error_pytorch"], apart(weights, exact) / length)
    if torch.cuda.is_available():
        half = _ours_once(*prepare(task))[1], theirs(partial(_tuned_once, half=True), torch.float32)[1]
        found["update_error_bfloat16"], found["update_error_autocast"] = (apart(x, exact) / length for x in half)
    allowed = max(_UPDATE, _TIMES * found["update_error_pytorch"])
    if found["loss_difference"] > _LOSS or found["update_error"] > allowed or found["update_error_pytorch"] > 0.5:
        raise AssertionError(f"ours and PyTorch's are not the same step: {found}; allowed are {_LOSS} and {allowed}")
    return found


def _ours_once(made: TrainContext, begun: Training) -> tuple[float, dict[str, np.ndarray]]:
    """The loss of the first step, and the weights after it."""
    with begun.feed as read:
        feed = made.layout.put_feed(read(0, 1))
    state, _, metrics = begun.dispatch(begun.state, begun.record, begun.pool, feed, begun.key)
    return float(metrics["loss"][0]), _named(state.params)


def _named(*trees: Any) -> dict[str, np.ndarray]:
    leaves = [leaf for tree in trees for leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf) for path, leaf in leaves}


def _views(task: Task, made: TrainContext, begun: Training) -> dict[str, torch.Tensor]:
    """The views of the first step, as our step draws them."""
    (images, truth), size, mu = _data(task), task.batch, task.mu
    with begun.feed as read:
        feed = jax.tree.map(lambda x: x[0], read(0, 1))
    keys = example_keys(begun.key, jnp.int32(0), jnp.arange(size * (1 + 2 * mu))).reshape(size, -1)
    ids = feed["labelled"] if mu else feed
    weak = made.weak if mu else made.supervised_view
    seen = {"labelled": jax.jit(weak)(keys[:, 0], images[ids])}
    if mu:
        many = images[feed["unlabelled"]]
        seen["weak"] = jax.jit(made.weak)(keys[:, 1 : 1 + mu].reshape(-1), many)
        seen["strong"] = jax.jit(made.strong)(keys[:, 1 + mu :].reshape(-1), many)
    tensors = {key: torch.from_numpy(np.array(x).transpose(0, 3, 1, 2).copy()) for key, x in seen.items()}
    tensors["label"] = torch.from_numpy(truth[ids]).long()
    return {key: value.to(_device()) for key, value in tensors.items()}


def _released_once(task: Task, config: Config, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    optimizer, schedule = _optimizer(task, config, model, fused=False)
    if not task.mu:
        return training.supervised_step(model, optimizer, schedule, batch["labelled"], batch["label"])[0]
    options = config.ssl
    average = training.EmaModel(model, options.ema_decay)
    return training.fixmatch_step(
        model, optimizer, schedule, average, batch, threshold=options.threshold, weight=options.unsupervised_weight
    )["loss"]


def _tuned_once(
    task: Task, config: Config, model: torch.nn.Module, batch: dict[str, torch.Tensor], half: bool = False
) -> float:
    tuned = _steps(task, config, model, half=half)
    if task.mu:
        return tuned.fixmatch_step(batch)["loss"].item()
    ids = torch.arange(task.batch, device=_device())
    return tuned.supervised_step(batch["labelled"], batch["label"], ids, _record(task), 0).item()
