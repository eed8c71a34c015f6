"""How things are timed: side by side, in turns, in one process; ratios of medians with a bootstrap interval.

Machines are shared and noisy: a time by itself says little, a ratio of times measured in turns says more. Memory and
compilation are measured apart, each contender alone in a fresh process (``benchmarks.alone``).
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
      run: does one round and returns when all of it is done; if a float, the seconds that count, where not all do.
      units: of the case's unit that a round is: steps, epochs, runs.
      images: that a network sees in one unit.
      flops: of one unit, by formula.
      facts: what else a line should tell, once it has run: bytes moved and stored, and the like.
      awake: a context in which its helpers, such as data loading workers, run; elsewhere they are stopped.
      close: ends them, and removes its files; after ``facts``.
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
      what: in a line.
      unit: what the times are of.
      n: its size: images of a batch, or examples.
      dtype: that ours computes in.
      contenders: name -> what makes it; ours first.
      prove: shows that they do the same; returns by how much they differ, and raises where that is too much.
      rounds: how often each is timed, at most.
      clock: "wall", or "cpu" where it is the work of all threads that counts.
      warm_ups: rounds before those that are timed.
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
    """Seconds of one unit, a number a round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def by(self, clock: str) -> np.ndarray:
        """f64[rounds]."""
        return np.array(self.wall if clock == "wall" else self.cpu)


def take_turns(contenders: dict[str, Contender], rounds: int, warm_ups: int = 1) -> dict[str, Times]:
    """Times all contenders: A B C, A B C, ...; the first rounds are thrown away."""
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
    """How many times as long theirs take: ratio of medians, its 95% bootstrap interval, and ratio of minima.

    Rounds are drawn with replacement, the same for both, since what disturbs one round disturbs all in it.
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
    """Bytes that this process holds."""
    return _status("VmRSS")


def peak_memory() -> dict[str, int]:
    """Bytes at most so far: of this process, and of its accelerator as its library counted them."""
    # Not getrusage's: that begins with what the process held which started this one.
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
    """Of this process, all its threads, and its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
