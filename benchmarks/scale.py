"""``python -m benchmarks.scale``: how work on embeddings grows with the pool, and how long 1.28 M x 768 would take.

Prints seconds at several sizes, the slope between a size and the one before it (1: linear, 2: quadratic), and the time
at ImageNet's size, extrapolated by the last slope. Embeddings are random; each size is timed once, after a warm-up.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from semiprune_jax.features import kmeans, neighbours, zcore

_IMAGENET = 1_281_167
WIDTH, CLASSES = 768, 100


def main(arguments: list[str]) -> int:
    """Prints one line for each piece of work and each size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--work", default=",".join(WORK), help=f"some of {', '.join(WORK)}")
    parser.add_argument("--largest", type=int, default=1 << 30, help="leave out larger pools")
    options = parser.parse_args(arguments)
    print(f"{'work':<12}{'N':>12}{'s':>10}{'slope':>8}")
    for name in options.work.split(","):
        work = WORK[name]
        sizes = [n for n in work.sizes if n <= options.largest]
        seconds: list[float] = []
        for n in sizes:
            features = np.random.default_rng(0).normal(size=(n, work.width)).astype(np.float32)
            seconds.append(_time(work.function, features))
            slope = _slope(sizes[len(seconds) - 2 :], seconds[-2:]) if len(seconds) > 1 else math.nan
            print(f"{name:<12}{n:12,}{seconds[-1]:10.2f}{slope:8.2f}", flush=True)
        if len(seconds) > 1:
            grown = (_IMAGENET / sizes[-1]) ** _slope(sizes[-2:], seconds[-2:])
            print(f"{name:<12}{_IMAGENET:12,}{seconds[-1] * grown * work.times:10,.0f}  extrapolated: {work.whole}")
    return 0


def _slope(sizes: list[int], seconds: list[float]) -> float:
    return math.log(seconds[1] / seconds[0]) / math.log(sizes[1] / sizes[0])


def _time(function: Callable[[np.ndarray], object], features: np.ndarray) -> float:
    function(features)
    began = time.perf_counter()
    jax.block_until_ready(function(features))
    return time.perf_counter() - began


def _nearest(features: np.ndarray) -> object:
    return neighbours.nearest(features, 50, "cosine")


def _kmeans(features: np.ndarray) -> object:
    """One start of ten iterations; a fit makes ten starts of up to three hundred iterations."""
    kmeans.STARTS, kmeans.ITERATIONS, kmeans.TOLERANCE = 1, 10, 0.0
    return kmeans.fit(features, CLASSES)


def _zcore(features: np.ndarray) -> object:
    """A thousand of ZCore's million samples."""
    return zcore.zcore(features, samples=1000)


class Work(NamedTuple):
    """Something that is timed."""

    sizes: list[int]
    width: int  # of the embeddings; smaller than WIDTH if the largest pool would not fit otherwise
    function: Callable[[np.ndarray], object]
    times: float  # ratio of the whole work, on embeddings of WIDTH numbers, to the timed part
    whole: str


WORK = {
    "neighbours": Work([5_000, 10_000, 20_000, 40_000], WIDTH, _nearest, 1, "50 neighbours, 768 numbers"),
    "kmeans": Work([10_000, 100_000, 1_000_000], 64, _kmeans, WIDTH / 64, "one start, ten iterations, 768 numbers"),
    "zcore": Work([10_000, 100_000], 64, _zcore, 1000, "a million samples, of any width"),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
