"""The one training loop: dispatch, bounded run-ahead, metrics, progress, evaluation, checkpoints.

The loop owns the effects; the steps that it runs are pure. A killed run goes on from its last checkpoint and reaches
the same bits, because order and random draws are functions of the step.
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.distributed import preemption, processes
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import PreemptedError, TrainingError
from semiprune_jax.train.meter import Meter
from semiprune_jax.train.state import TrainState
from semiprune_jax.train.training import Pace, Training
from semiprune_jax.workdir.checkpoint import Checkpoints
from semiprune_jax.workdir.metrics import Metrics

CHECKPOINT_SECONDS = 15.0  # at least, between two checkpoints, unless a number of steps is given


def run(training: Training, *, layout: Layout, metrics: Metrics, pace: Pace, directory: Path) -> tuple[TrainState, Any]:
    """Trains to the end, from the checkpoint in ``directory`` if there is one.

    Returns:
      The final state and record, on the devices.

    Raises:
      TrainingError: a loss is not finite, or the guard stops the training; the message names the step.
      PreemptedError: the process was told to stop; a checkpoint of the last step is saved.
    """
    with preemption.deferred(), Checkpoints(directory) as checkpoints:
        state, record, step = _restore(training, layout, checkpoints)
        metrics.rewind(training.name, step)
        saver, pending = _Saver(pace, step), None
        with contextlib.closing(Meter(training, step)) as meter, training.feed as read:
            while step < training.total_steps:
                count = _count(step, training, pace)
                feed = layout.put_feed(read(step, count))
                state, record, new = training.dispatch(state, record, training.pool, feed, training.key)
                # This waits only for the dispatch before the new one, so the device stays busy. The host is never more
                # than one dispatch ahead, which would deadlock the collectives of virtual CPU devices.
                meter.collect(pending)
                pending = (step, new)
                step += count
                evaluates = bool(training.evaluate) and _is_due(step, training.evaluate_every, training.total_steps)
                stops = preemption.should_stop()
                saves = saver.is_due(step) or stops
                # Every checkpoint comes with a line, so that a kill loses no step's metrics.
                if not (saves or evaluates or _is_due(step, pace.log_every, training.total_steps)):
                    continue
                meter.collect(pending)
                pending = None
                _write_line(training, step, state, meter, metrics, evaluates=evaluates)
                if saves:
                    checkpoints.save(step, (state, layout.save_record(record)))
                if stops:
                    raise PreemptedError(
                        f"{training.name}: preempted, and saved at step {step} of {training.total_steps}; "
                        "run the same command again to go on"
                    )
                meter.restart()
    processes.barrier(f"{training.name} is trained")
    return state, record


def _restore(training: Training, layout: Layout, checkpoints: Checkpoints) -> tuple[TrainState, Any, int]:
    """State, record and step of the newest intact checkpoint, or of the beginning."""
    latest = checkpoints.latest()
    for damage in checkpoints.damaged:
        after = "the training begins again" if latest is None else f"going on from the one of step {latest}"
        print(f"semiprune: {damage}; {after}", file=sys.stderr)
    if latest is None:
        return training.state, training.record, 0
    # The record goes through the host, so that it can come back on another number of devices.
    state, saved = checkpoints.restore((training.state, layout.save_record(training.record)))
    return state, layout.restore_record(saved), latest


def _write_line(
    training: Training, step: int, state: TrainState, meter: Meter, metrics: Metrics, *, evaluates: bool
) -> None:
    """Writes the mean metrics since the last line, once the guard has passed them, and the metrics of an evaluation."""
    means = meter.line(step)
    if training.guard and (trouble := training.guard(step, means)):
        raise TrainingError(f"{training.name}: at step {step} of {training.total_steps}, {trouble}")
    values = {name: value for name, value in means.items() if np.ndim(value) == 0}
    if evaluates and training.evaluate:
        values |= training.evaluate(state)
    unit, length = training.passes
    metrics.write(training.name, step, values | {unit: step / length})


def _is_due(step: int, every: int, total: int) -> bool:
    return step % every == 0 or step == total


def _count(step: int, training: Training, pace: Pace) -> int:
    """Steps of the next dispatch: a full one, or single steps up to the next epoch, line, evaluation or end."""
    stops = [training.steps_per_epoch, pace.log_every, *([pace.checkpoint_every] if pace.checkpoint_every else [])]
    if training.evaluate:
        stops.append(training.evaluate_every)
    room = min([training.total_steps - step, *(every - step % every for every in stops)])
    return pace.steps_per_dispatch if room >= pace.steps_per_dispatch else 1


class _Saver:
    """Decides when to checkpoint: at multiples of a number of steps, which is given or chosen once by the clock."""

    def __init__(self, pace: Pace, step: int):
        self._every = pace.checkpoint_every
        self._last, self._began = step, 0.0

    def is_due(self, step: int) -> bool:
        if not self._every:
            now = time.monotonic()
            if not self._began:  # the first dispatch compiles: count from its end
                self._last, self._began = step, now
            # All processes go by the clock of process 0.
            if not processes.broadcast(now - self._began >= CHECKPOINT_SECONDS):
                return False
            self._every = step - self._last
        if step // self._every == self._last // self._every:
            return False
        self._last = step
        return True
