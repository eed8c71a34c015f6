"""One training, as the loop runs it: the compiled step, what it reads, and for how long."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from semiprune_jax.train.state import TrainState


@dataclass(frozen=True)
class Training:
    """One training at its beginning."""

    name: str  # the directory of its task
    state: TrainState
    record: Any  # sharded over examples, or None
    dispatch: Callable  # compiled: (state, record, pool, feed, key) -> (state, record, metrics [K])
    pool: Any
    feed: contextlib.AbstractContextManager[Callable[[int, int], Any]]  # of (step, K) -> host arrays [K, B, ...]
    key: jax.Array
    total_steps: int
    steps_per_epoch: int  # no dispatch crosses a multiple of it
    passes: tuple[str, float]  # the unit in which a line counts passes over the pool, and the steps of one
    images_per_step: int
    evaluate: Callable[[TrainState], dict[str, float]] | None = None
    evaluate_every: int = 1  # steps
    # Given the step and the mean metrics since the last line, says what is wrong; None where nothing is.
    guard: Callable[[int, dict[str, Any]], str | None] | None = None


@dataclass(frozen=True)
class Pace:
    """How often things happen. It changes nothing in the results."""

    steps_per_dispatch: int
    log_every: int
    checkpoint_every: int  # 0: at least ``loop.CHECKPOINT_SECONDS`` apart
