"""W: several ways to the weight gradient of a 3x3 convolution, which takes half of a training step on a CPU.

Ours is XLA's; the others were tried in its place. The order may change with another version of XLA.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.protocol import OURS, Case, Contender

_SHAPE = ("NHWC", "HWIO", "NHWC")
_REPEATS = 5


class Task(NamedTuple):
    """A layer of WRN-28-2 on a batch."""

    batch: int
    side: int
    channels: int


TASKS = {
    "cpu": {"W-32": Task(60, 32, 32), "W-64": Task(60, 16, 64), "W-128": Task(60, 8, 128)},
    "smoke": {"W-32": Task(4, 8, 8)},
}
TASKS["gpu"] = {}  # cuDNN computes it there


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    ours: dict[str, Callable[[], Contender]] = {OURS: partial(_contender, task, _whole)}
    others = {
        "batch in two": partial(_in_parts, 2),
        "batch in four": partial(_in_parts, 4),
        "row by row": _row_by_row,
        "nine products": _nine_products,
        "operands exchanged": _exchanged,
    }
    return Case(
        what=f"weight gradient: {task.batch} images of {task.side}x{task.side}, {task.channels} channels",
        unit="gradient",
        n=task.batch,
        dtype="float32",
        contenders=ours
        | {name: partial(_contender, task, way) for name, way in others.items()}
        | {"PyTorch": partial(_pytorch, task)},
        prove=partial(_prove, task, list(others.values())),
        alone=False,
    )


def _inputs(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Activations, and the gradient of the convolution's output, both f32[B, H, W, C]."""
    shape, rng = (task.batch, task.side, task.side, task.channels), np.random.default_rng(0)
    return rng.standard_normal(shape, np.float32), rng.standard_normal(shape, np.float32)


def _contender(task: Task, way: Callable[[jax.Array, jax.Array], jax.Array]) -> Contender:
    x, g = (jnp.asarray(array) for array in _inputs(task))
    gradient = jax.jit(way)

    def run() -> None:
        for _ in range(_REPEATS):
            jax.block_until_ready(gradient(x, g))

    return Contender(run, units=_REPEATS, flops=_flops(task))


def _flops(task: Task) -> float:
    return 2.0 * task.batch * task.side**2 * task.channels**2 * 9


def _prove(task: Task, ways: list[Callable]) -> dict[str, float]:
    x, g = (jnp.asarray(array) for array in _inputs(task))
    expected = _whole(x, g)
    worst = max(float(jnp.abs(jax.jit(way)(x, g) - expected).max() / jnp.abs(expected).max()) for way in ways)
    if worst > 1e-4:
        raise AssertionError(f"the ways differ by {worst} of the largest gradient; allowed are 1e-4")
    return {"difference": worst}


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_SHAPE)


def _whole(x: jax.Array, g: jax.Array) -> jax.Array:
    """The gradient f32[3, 3, C, C] of autodiff and XLA."""
    kernel = jnp.zeros((3, 3, x.shape[-1], g.shape[-1]))
    return jax.vjp(lambda kernel: _convolve(x, kernel), kernel)[1](g)[0]


def _in_parts(parts: int, x: jax.Array, g: jax.Array) -> jax.Array:
    pairs = zip(jnp.split(x, parts), jnp.split(g, parts), strict=True)
    return sum((_whole(a, b) for a, b in pairs), start=jnp.zeros(()))


def _row_by_row(x: jax.Array, g: jax.Array) -> jax.Array:
    """Three gradients of one-dimensional convolutions."""
    batch, height, width, channels = x.shape
    padded, rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0))), g.reshape(batch * height, width, -1)

    def gradient(i: int) -> jax.Array:
        line = padded[:, i : i + height].reshape(batch * height, width, channels)

        def along(kernel: jax.Array) -> jax.Array:
            shape = ("NWC", "WIO", "NWC")
            return jax.lax.conv_general_dilated(line, kernel, (1,), ((1, 1),), dimension_numbers=shape)

        return jax.vjp(along, jnp.zeros((3, channels, rows.shape[-1])))[1](rows)[0]

    return jnp.stack([gradient(i) for i in range(3)])


def _nine_products(x: jax.Array, g: jax.Array) -> jax.Array:
    """One product of matrices for each place in the window."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = [[padded[:, i : i + height, j : j + width] for j in range(3)] for i in range(3)]
    return jnp.stack([jnp.stack([jnp.einsum("bhwc,bhwd->cd", part, g) for part in row]) for row in places])


def _exchanged(x: jax.Array, g: jax.Array) -> jax.Array:
    """A convolution of the gradient, with the activations as the kernel."""
    made = _convolve(g.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3))
    return made[:, ::-1, ::-1].transpose(1, 2, 3, 0)


def _pytorch(task: Task) -> Contender:
    x, g = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in _inputs(task))  # channels last
    shape = (task.channels, task.channels, 3, 3)

    def run() -> None:
        for _ in range(_REPEATS):
            torch.nn.grad.conv2d_weight(x, shape, g, padding=1)

    return Contender(run, units=_REPEATS, flops=_flops(task))
