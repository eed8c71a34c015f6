"""What a semi-supervised learner is: as what, and how much, each unlabelled image counts in a step. Pure."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Seen(NamedTuple):
    """What a learner may look at: the unlabelled rows of a batch, or one device's share of them. Without gradients."""

    probabilities: jax.Array  # f32[n, C], of the weak views
    id: jax.Array  # i32[n], rows in the pool
    mask: jax.Array  # f32[n], 0 for padding
    step: jax.Array  # i32, global
    total: Callable[[Any], Any]  # sums a tree over the devices of the batch
    # (rows r of a device's share of an array of examples, tree of [n]) -> (where each example of the whole batch lies
    # in that share, i32[n'], r and more if elsewhere; the tree, of the whole batch)
    locate: Callable[[int, Any], tuple[jax.Array, Any]]


class Targets(NamedTuple):
    """What the unlabelled images are taken for."""

    label: jax.Array  # i32[n]
    weight: jax.Array  # f32[n], of each one's cross entropy; 0: it teaches nothing


class Memory(NamedTuple):
    """What a learner remembers from step to step; None where it remembers nothing."""

    shared: Any = None  # small arrays, the same on every device
    examples: Any = None  # arrays [rows], a number an example, sharded as the record is


class Options(NamedTuple):
    """What learners are made with; each uses its own."""

    classes: int
    n: int  # examples of the pool
    steps: int  # of the training
    threshold: float = 0.95


class Learner(NamedTuple):
    """One learner.

    Attributes:
      targets: (memory, seen) -> (memory, targets); the memory comes back updated.
      init: () -> the shared part of the memory.
      init_examples: rows -> the part that is of examples, or None if there is none.
      aux_loss: a loss besides, of (shared memory after ``targets``, strong logits f32[n, C], targets, seen); summed
        over the devices of the batch it is the batch's.
      threshold: the confidence that counts, where it is one for all; None: it is the learner's own affair.
      student: "strong", whose views learn from the targets of the weak ones; "weak": they learn from themselves.
    """

    targets: Callable[[Memory, Seen], tuple[Memory, Targets]]
    init: Callable[[], Any] = lambda: None
    init_examples: Callable[[int], Any] | None = None
    aux_loss: Callable[[Any, jax.Array, Targets, Seen], jax.Array] | None = None
    threshold: float | None = None
    student: str = "strong"


def average(tree: Any, seen: Seen) -> Any:
    """Means of a tree of arrays [n, ...] over the batch, padding left out."""

    def summed(x: jax.Array) -> jax.Array:
        return jnp.sum(seen.mask.reshape(-1, *[1] * (x.ndim - 1)) * x, axis=0)

    sums, count = seen.total((jax.tree.map(summed, tree), jnp.sum(seen.mask)))
    return jax.tree.map(lambda x: x / count, sums)


def ema_update(average: Any, now: Any, decay: float = 0.999) -> Any:
    """The moving average after one more batch."""
    return jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, average, now)


def normalised(values: jax.Array) -> jax.Array:
    """Values that add up to 1 along the last axis; zeros stay."""
    total = jnp.sum(values, axis=-1, keepdims=True)
    return values / jnp.where(total > 0, total, 1.0)
