"""The meter of a training: its metrics, its speed and its progress."""

import shutil
import sys
import time
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from semiprune_jax.distributed import processes
from semiprune_jax.errors import TrainingError
from semiprune_jax.train.training import Training

TELL_SECONDS = 60.0  # at least, between two progress lines where stderr is not a terminal


class Meter:
    """Collects the metrics of the steps since the last line, measures images/s, and shows progress.

    Progress is a bar on a terminal, and elsewhere a line every minute. The first dispatch compiles and is not timed.
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
        """Waits for a dispatch, given as its first step and its metrics; checks the metrics and keeps them."""
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
            # The first dispatch compiled, so neither the rate nor the time left may include it.
            self._since = time.monotonic()
            self._began = step + count, self._since
            self._bar.initial = self._bar.n = step + count
            self._bar.unpause()
            self._bar.set_description(self._training.name)
        else:
            self._timed += count
            self._bar.update(count)

    def line(self, step: int) -> dict[str, Any]:
        """The mean of each metric since the last line: a number, or an array if the metric is one."""
        values: dict[str, Any] = {
            name: np.concatenate(value).mean(axis=0, dtype=np.float64) for name, value in self._values.items()
        }
        if self._timed and self._since is not None:
            seconds = max(time.monotonic() - self._since, 1e-9)
            values["images_per_second"] = self._timed * self._training.images_per_step / seconds
        shown = {"loss": f"{values['loss']:.3f}"}
        if "images_per_second" in values:
            shown["images/s"] = f"{values['images_per_second']:,.0f}"
        self._bar.set_postfix(shown, refresh=False)
        if self._bar.disable and processes.is_lead_host() and time.monotonic() - self._told >= TELL_SECONDS:
            self._tell(step, shown)
        self._values = {}
        return values

    def _tell(self, step: int, shown: dict[str, str]) -> None:
        """Prints a line for the log of a batch job: progress, loss, speed and the time left."""
        total, (first, began) = self._training.total_steps, self._began
        self._told = time.monotonic()
        left = (total - step) * (self._told - began) / max(step - first, 1)
        parts = [f"step {step:,} of {total:,}", *(f"{name} {text}" for name, text in shown.items())]
        print(f"{self._training.name}: {', '.join(parts)}, {tqdm.format_interval(left)} left", file=sys.stderr)

    def restart(self) -> None:
        """Restarts the clock after an evaluation or a checkpoint."""
        self._since, self._timed = time.monotonic(), 0

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()
