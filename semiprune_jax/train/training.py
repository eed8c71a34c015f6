"""One training: the job that describes it, and how the loop runs it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from semiprune_jax.train.state import TrainState


class Job(NamedTuple):
    """A network to train from scratch."""

    name: str  # the directory of its task
    seed: int
    network: str  # see ``models.create``
    options: Any  # the section of the config that describes the training

    @property
    def stage(self) -> str:
        """The first part of the name.

        >>> Job("retrain/random_keep0.30_seed0", 0, "resnet18_cifar", None).stage
        'retrain'
        """
        return self.name.split("/", maxsplit=1)[0]


@dataclass(frozen=True)
class Training:
    """One training at its beginning, as the loop runs it."""

    name: str  # the directory of its task
    state: TrainState
    record: Any  # sharded over examples, or None
    dispatch: Callable  # compiled: (state, record, pool, feed, key) -> (state, record, metrics [K])
    pool: Any
    feed: contextlib.AbstractContextManager[Callable[[int, int], Any]]  # of (step, K) -> host arrays [K, B, ...]
    key: jax.Array
    total_steps: int
    steps_per_epoch: int  # no dispatch crosses a multiple of it
    passes: tuple[str, float]  # the unit in which metrics count passes over the pool, and the steps of one pass
    images_per_step: int
    evaluate: Callable[[TrainState], dict[str, float]] | None = None
    evaluate_every: int = 1  # steps
    # (step, mean metrics since the last line) -> the reason to stop the training, or None
    guard: Callable[[int, dict[str, Any]], str | None] | None = None


@dataclass(frozen=True)
class Pace:
    """How often things happen. It changes nothing in the results."""

    steps_per_dispatch: int
    log_every: int
    checkpoint_every: int  # steps; 0: checkpoints lie at least ``loop.CHECKPOINT_SECONDS`` apart
