"""The protocol: contenders are timed in turns in one process; ratios of medians have a bootstrap interval.

Machines are shared and noisy: a single time says little, and a ratio of times measured in turns says more. Memory and
compilation are measured apart, for each contender alone in a fresh process (``benchmarks.alone``).
"""

import contextlib
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OURS = "ours"


@dataclass(frozen=True)
class Contender:
    """One way of doing a case's work.

    Attributes:
      run: does one round and returns when it is done; returns the seconds that count if not all of them do.
      units: number of the case's units (steps, epochs, runs) in a round.
      images: number of images that a network sees in one unit.
      flops: FLOPs of one unit, by formula.
      facts: called after the rounds; further facts for the JSON line, such as bytes moved and stored.
      awake: a context in which its helpers, such as data loading workers, run; elsewhere they are stopped.
      close: ends the helpers and removes the contender's files; called after ``facts``.
    """

    run: Callable[[], object]
    units: int = 1
    images: int = 0
    flops: float = 0.0
    facts: Callable[[], dict[str, Any]] = dict
    awake: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    close: Callable[[], None] = lambda: None


class Case(NamedTuple):
    """A piece of work that is done in several ways.

    Attributes:
      what: its description in one line.
      unit: the unit of the times, such as a step.
      n: its size: images of a batch, or examples.
      dtype: the type that ours computes in.
      contenders: name -> function that makes the contender; ours first.
      prove: checks that all do the same; returns their differences, and raises an error if these are too large.
      rounds: the largest number of timed rounds.
      clock: "wall", or "cpu" if the work of all threads counts.
      warm_ups: number of rounds before the timed ones.
      alone: whether each contender is also run once in a process of its own, for its memory and first round.
    """

    what: str
    unit: str
    n: int
    dtype: str
    contenders: dict[str, Callable[[], Contender]]
    prove: Callable[[], dict[str, float]] = dict
    rounds: int = 100
    clock: str = "wall"
    warm_ups: int = 1
    alone: bool = True


@dataclass
class Times:
    """Seconds of one unit, one number per round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def by(self, clock: str) -> np.ndarray:
        """The times f64[rounds] by one clock, "wall" or "cpu"."""
        return np.array(self.wall if clock == "wall" else self.cpu)


def take_turns(contenders: dict[str, Contender], rounds: int, warm_ups: int = 1) -> dict[str, Times]:
    """Times all contenders in turns, A B C, A B C, ...; the warm-up rounds are left out."""
    times = {name: Times() for name in contenders}
    for number in range(-warm_ups, rounds):
        for name, contender in contenders.items():
            with contender.awake():
                cpu, wall = _cpu_seconds(), time.perf_counter()
                counted = contender.run()
                wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
            if isinstance(counted, float):
                wall = cpu = counted
            if number >= 0:
                times[name].wall.append(wall / contender.units)
                times[name].cpu.append(cpu / contender.units)
    return times


def summary(seconds: np.ndarray) -> dict[str, float]:
    """Median, minimum and spread (between the quartiles) of times."""
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return {"median_s": float(middle), "minimum_s": float(seconds.min()), "spread_s": float(high - low)}


def ratio(theirs: np.ndarray, ours: np.ndarray, draws: int = 4000) -> dict[str, float]:
    """Theirs divided by ours: the ratio of medians, its 95% bootstrap interval, and the ratio of minima.

    Both sides get the same rounds, drawn with replacement, since a disturbance affects all contenders of its round.
    """
    rng = np.random.default_rng(0)
    rounds = rng.integers(0, len(ours), (draws, len(ours)))
    drawn = np.median(theirs[rounds], axis=1) / np.median(ours[rounds], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "ratio": float(np.median(theirs) / np.median(ours)),
        "ratio_low": float(low),
        "ratio_high": float(high),
        "ratio_of_minima": float(theirs.min() / ours.min()),
    }


def resident_memory() -> int:
    """Bytes of memory that this process holds."""
    return _status("VmRSS")


def peak_memory() -> dict[str, int]:
    """The largest number of bytes so far, of this process and, by the library's count, of its accelerator."""
    # getrusage's peak would include the memory of the process that started this one.
    peaks = {"peak_memory": _status("VmHWM")}
    with contextlib.suppress(ImportError):
        import jax

        if stats := jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None:
            peaks["peak_device_memory"] = stats["peak_bytes_in_use"]
    with contextlib.suppress(ImportError):
        import torch

        if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
            peaks["peak_device_memory"] = torch.cuda.max_memory_allocated()
    return peaks


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _cpu_seconds() -> float:
    """CPU seconds of all threads of this process, and of its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
