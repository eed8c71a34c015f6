"""The interface of semi-supervised learners: which target and weight each unlabelled image gets in a step. Pure."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

DECAY = 0.999  # of the moving averages that learners remember, as in USB


class Seen(NamedTuple):
    """The unlabelled rows of a batch, or one device's share of them, as a learner sees them. Carries no gradients."""

    probabilities: jax.Array  # f32[n, C], of the weak views
    id: jax.Array  # i32[n], rows in the pool
    mask: jax.Array  # f32[n], 0 for padding
    step: jax.Array  # i32, global
    total: Callable[[Any], Any]  # sums a tree over the devices of the batch
    # (r, the rows of this device's share of an array of examples; a tree of arrays [n]) -> (i32[n'], the row of each
    # example of the whole batch in that share, or r and more for examples elsewhere; the tree, of the whole batch)
    locate: Callable[[int, Any], tuple[jax.Array, Any]]


class Targets(NamedTuple):
    """The targets of the unlabelled images of a batch."""

    target: jax.Array  # i32[n], class ids; or f32[n, C], the probabilities of soft targets
    weight: jax.Array  # f32[n], of each image's cross entropy; an image of weight 0 teaches nothing


class Memory(NamedTuple):
    """The memory of a learner from step to step; either part may be None."""

    shared: Any = None  # small arrays, the same on every device
    examples: Any = None  # arrays [rows] with one number per example, sharded as the record is


class Options(NamedTuple):
    """The settings that learners are created with; each reads its own."""

    classes: int
    n: int  # examples of the pool
    steps: int  # of the training
    threshold: float = 0.95


class Learner(NamedTuple):
    """One learner.

    Attributes:
      targets: (memory, seen) -> (updated memory, targets).
      init: () -> the shared part of the memory.
      init_examples: rows -> the part of the memory that is about examples; None for a learner without one.
      aux_loss: (shared memory after ``targets``, logits f32[n, C] of the views that learn, targets, seen) -> this
        device's share of a further loss of the batch; None for a learner without one.
      threshold: the confidence that every class is held to; None for a learner that sets its own.
      views: 2: a strong view of each image learns the target that its weak view gives. 1: there is no strong view, and
        the weak view learns its own target. ``LEARNERS`` sets it.
    """

    targets: Callable[[Memory, Seen], tuple[Memory, Targets]]
    init: Callable[[], Any] = lambda: None
    init_examples: Callable[[int], Any] | None = None
    aux_loss: Callable[[Any, jax.Array, Targets, Seen], jax.Array] | None = None
    threshold: float | None = None
    views: int = 2


def average(tree: Any, seen: Seen) -> Any:
    """Means of a tree of arrays [n, ...] over the batch, padding left out."""

    def summed(x: jax.Array) -> jax.Array:
        return jnp.sum(seen.mask.reshape(-1, *[1] * (x.ndim - 1)) * x, axis=0)

    sums, count = seen.total((jax.tree.map(summed, tree), jnp.sum(seen.mask)))
    return jax.tree.map(lambda x: x / count, sums)


def normalised(values: jax.Array) -> jax.Array:
    """Values that add up to 1 along the last axis; zeros stay."""
    total = jnp.sum(values, axis=-1, keepdims=True)
    return values / jnp.where(total > 0, total, 1.0)
