"""The one training loop: dispatch, bounded run-ahead, metrics, progress, evaluation, checkpoints.

It owns the effects; the steps it runs are pure. A run that is killed goes on from its last checkpoint and ends in
the same bits, because order and draws are functions of the step.
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from semiprune_jax.distributed import preemption, processes
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import PreemptedError, TrainingError
from semiprune_jax.train.state import TrainState
from semiprune_jax.workdir.checkpoint import Checkpoints
from semiprune_jax.workdir.metrics import Metrics

TELL_SECONDS = 60.0  # between two lines of a log that is no terminal, at least
CHECKPOINT_SECONDS = 15.0  # between two checkpoints, at least, where no number of steps is given


@dataclass(frozen=True)
class Training:
    """One training: what to run, on what, for how long."""

    name: str  # its stage's directory
    state: TrainState
    record: Any  # sharded over examples, or None
    dispatch: Callable  # compiled: (state, record, pool, feed, key) -> (state, record, metrics [K])
    pool: Any
    feed: contextlib.AbstractContextManager[Callable[[int, int], Any]]  # of (step, K) -> host arrays [K, B, ...]
    key: jax.Array
    total_steps: int
    steps_per_epoch: int  # no dispatch crosses a multiple of it
    passes: tuple[str, float]  # what a line counts passes over the pool in: its name, and steps of one
    images_per_step: int
    evaluate: Callable[[TrainState], dict[str, float]] | None
    evaluate_every: int  # steps
    # What is wrong with the steps since the last line, given the step and their mean metrics; None where nothing is.
    guard: Callable[[int, dict[str, Any]], str | None] | None = None


@dataclass(frozen=True)
class Pace:
    """How often things happen; changes nothing in the results."""

    steps_per_dispatch: int
    log_every: int
    checkpoint_every: int  # 0: at least CHECKPOINT_SECONDS apart


def run(training: Training, *, layout: Layout, metrics: Metrics, pace: Pace, directory: Path) -> tuple[TrainState, Any]:
    """Trains to the end, from the checkpoint in ``directory`` if there is one.

    Returns:
      The final state and record, on the devices.

    Raises:
      TrainingError: a loss is not finite, or the guard stops the training; says at which step.
      PreemptedError: told to stop; a checkpoint of the last step is saved.
    """
    state, record = training.state, training.record
    with preemption.deferred(), Checkpoints(directory) as checkpoints:
        step = 0
        for damage in checkpoints.damaged:
            before = checkpoints.latest()
            after = "the training begins again" if before is None else f"going on from the one of step {before}"
            print(f"semiprune: {damage}; {after}", file=sys.stderr)
        if checkpoints.latest() is not None:
            # The record goes through the host, so that it may come back on another number of devices.
            saved = checkpoints.restore((state, layout.save_record(record)))
            state, record, step = saved[0], layout.restore_record(saved[1]), checkpoints.latest() or 0
        metrics.rewind(training.name, step)
        saver = _Saver(pace, step)
        pending = None
        with contextlib.closing(_Meter(training, step)) as meter, training.feed as read:
            while step < training.total_steps:
                count = _count(step, training, pace)
                feed = layout.put_feed(read(step, count))
                state, record, new = training.dispatch(state, record, training.pool, feed, training.key)
                # Waits for the dispatch before this one only: the device stays busy, and the host never runs more than
                # one ahead, which would deadlock the collectives of virtual CPU devices.
                meter.collect(pending)
                pending = (step, new)
                step += count
                evaluates = training.evaluate and _due(step, training.evaluate_every, training.total_steps)
                stops = preemption.should_stop()
                saves = saver.due(step) or stops
                # A checkpoint comes with a line, so that no step's metrics fall between a kill and the resumption.
                if saves or evaluates or _due(step, pace.log_every, training.total_steps):
                    meter.collect(pending)
                    pending = None
                    means = meter.line(step)
                    if training.guard and (trouble := training.guard(step, means)):
                        raise TrainingError(f"{training.name}: at step {step} of {training.total_steps}, {trouble}")
                    values = {name: value for name, value in means.items() if np.ndim(value) == 0}
                    if evaluates and training.evaluate:
                        values |= training.evaluate(state)
                    unit, length = training.passes
                    metrics.write(training.name, step, values | {unit: step / length})
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


def forget(directory: Path) -> None:
    """Removes the checkpoints of a training whose results are saved."""
    if processes.is_lead_host():
        shutil.rmtree(directory, ignore_errors=True)


def _due(step: int, every: int, total: int) -> bool:
    return step % every == 0 or step == total


def _count(step: int, training: Training, pace: Pace) -> int:
    """Steps of the next dispatch: a full one, or single steps up to the next epoch, line, evaluation or end."""
    stops = [training.steps_per_epoch, pace.log_every, *([pace.checkpoint_every] if pace.checkpoint_every else [])]
    if training.evaluate:
        stops.append(training.evaluate_every)
    room = min([training.total_steps - step, *(every - step % every for every in stops)])
    return pace.steps_per_dispatch if room >= pace.steps_per_dispatch else 1


class _Saver:
    """Says when to checkpoint: at multiples of the given number of steps, or of one chosen once by the clock."""

    def __init__(self, pace: Pace, step: int):
        self._every = pace.checkpoint_every
        self._last, self._began = step, 0.0

    def due(self, step: int) -> bool:
        if not self._every:
            now = time.monotonic()
            if not self._began:  # the first dispatch compiled: count from its end
                self._last, self._began = step, now
            # One clock for all processes.
            if not processes.broadcast(now - self._began >= CHECKPOINT_SECONDS):
                return False
            self._every = step - self._last
        if step // self._every == self._last // self._every:
            return False
        self._last = step
        return True


class _Meter:
    """Metrics of the steps since the last line, images/s, and progress: a bar on a terminal, now and then a line else.

    The first dispatch, which compiles, is not counted.
    """

    def __init__(self, training: Training, step: int):
        self._training = training
        self._values: dict[str, list[np.ndarray]] = {}
        self._since: float | None = None
        self._timed = 0  # steps since then
        self._began, self._told = (step, time.monotonic()), time.monotonic()
        self._bar = tqdm(
            total=training.total_steps,
            initial=step,
            desc=f"{training.name} (compiling)",
            unit="step",
            leave=False,
            disable=not (sys.stderr.isatty() and processes.is_lead_host()),
            ncols=shutil.get_terminal_size().columns,  # 80 where a terminal claims to have none
        )

    def collect(self, pending: tuple[int, Any] | None) -> None:
        """Waits for a dispatch, checks and keeps its metrics."""
        if pending is None:
            return
        step, values = pending
        host = jax.device_get(values)
        count = len(host["loss"])
        if not np.all(np.isfinite(host["loss"])):
            at = step + int(np.argmin(np.isfinite(host["loss"])))
            raise TrainingError(
                f"{self._training.name}: the loss at step {at} is {host['loss'][at - step]}; "
                "lower the learning rate, or check data.mean and data.std"
            )
        for name, value in host.items():
            self._values.setdefault(name, []).append(value)
        if self._since is None:
            # The first dispatch compiled: neither the rate nor the time left may count it.
            self._since = time.monotonic()
            self._began = step + count, self._since
            self._bar.initial = self._bar.n = step + count
            self._bar.unpause()
            self._bar.set_description(self._training.name)
        else:
            self._timed += count
            self._bar.update(count)

    def line(self, step: int) -> dict[str, Any]:
        """Means since the last line: a number a metric, or an array where the metric is one."""
        values: dict[str, Any] = {
            name: np.concatenate(value).mean(axis=0, dtype=np.float64) for name, value in self._values.items()
        }
        if self._timed and self._since is not None:
            values["images_per_second"] = (
                self._timed * self._training.images_per_step / max(time.monotonic() - self._since, 1e-9)
            )
        shown = {"loss": f"{values['loss']:.3f}"}
        if "images_per_second" in values:
            shown["images/s"] = f"{values['images_per_second']:,.0f}"
        self._bar.set_postfix(shown, refresh=False)
        if self._bar.disable and processes.is_lead_host() and time.monotonic() - self._told >= TELL_SECONDS:
            self._tell(step, shown)
        self._values = {}
        return values

    def _tell(self, step: int, shown: dict[str, str]) -> None:
        """A line for the log of a batch job: how far, how well, how fast, how long."""
        total, (first, began) = self._training.total_steps, self._began
        self._told = time.monotonic()
        left = (total - step) * (self._told - began) / max(step - first, 1)
        parts = [f"step {step:,} of {total:,}", *(f"{name} {text}" for name, text in shown.items())]
        print(f"{self._training.name}: {', '.join(parts)}, {tqdm.format_interval(left)} left", file=sys.stderr)

    def restart(self) -> None:
        """Starts the clock anew after an evaluation or a checkpoint."""
        self._since, self._timed = time.monotonic(), 0

    def close(self) -> None:
        self._bar.close()
