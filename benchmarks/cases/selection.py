"""C2: coresets from scores, by double-end cutoff and by Beta sampling; ours alone for a hundred million scores."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from benchmarks.protocol import OURS, Case, Contender
from benchmarks.reference import selection as reference
from semiprune_jax.select import selectors

_KEEP, _CUTOFF, _C_D = 0.3, 0.1, 4.0


class Task(NamedTuple):
    """A selector, and its number of scores."""

    selector: str  # cutoff | beta
    n: int
    alone: bool = False  # nothing to compare with: the reference would take minutes
    rounds: int = 100


TASKS = {
    "cpu": {
        "C2-cutoff-50k": Task("cutoff", 50_000),
        "C2-beta-50k": Task("beta", 50_000),
        "C2-cutoff": Task("cutoff", 1_281_167),
        "C2-beta": Task("beta", 1_281_167),
        "C2-cutoff-1e8": Task("cutoff", 100_000_000, alone=True, rounds=3),
        "C2-beta-1e8": Task("beta", 100_000_000, alone=True, rounds=3),
    },
    "smoke": {"C2-cutoff": Task("cutoff", 2_000), "C2-beta": Task("beta", 2_000, alone=True)},
}
TASKS["gpu"] = {}  # selections run on the CPU there, too


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    contenders: dict[str, Callable[[], Contender]] = {OURS: partial(_ours, task)}
    if not task.alone:
        contenders["R0"] = partial(_reference, task)
    return Case(
        what=f"select by {task.selector}: keep {_KEEP} of {task.n:,}",
        unit="selection",
        n=task.n,
        dtype="float32",
        contenders=contenders,
        prove=dict if task.alone else partial(_prove, task),
        rounds=task.rounds,
    )


@cache
def _scores(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores f32[N] and mean probabilities f32[N] like those of a trained proxy: most examples are easy."""
    rng = np.random.default_rng(0)
    q = np.empty(n, np.float32)
    for first in range(0, n, 1 << 20):
        q[first : first + (1 << 20)] = rng.beta(2.0, 0.7, len(q[first : first + (1 << 20)]))
    spread = rng.random(n, np.float32)
    return q * (1 - q) * spread + np.float32(1e-6), q


def _ours(task: Task) -> Contender:
    score, q = _scores(task.n)
    if task.selector == "cutoff":
        return Contender(lambda: selectors.double_end(score, _KEEP, _CUTOFF))
    return Contender(lambda: selectors.beta(score, q, _KEEP, _C_D, seed=0))


def _reference(task: Task) -> Contender:
    score, q = _scores(task.n)
    if task.selector == "cutoff":
        return Contender(lambda: reference.cutoff(score, _KEEP, _CUTOFF))
    rng = np.random.default_rng(0)
    return Contender(lambda: reference.beta(score, q, _KEEP, _C_D, rng))


def _prove(task: Task) -> dict[str, float]:
    """Checks that both cutoffs keep the same ids, and that both Beta samplers draw as many, by the same chances."""
    score, q = _scores(task.n)
    if task.selector == "cutoff":
        ours = selectors.double_end(score, _KEEP, _CUTOFF)
        theirs = reference.cutoff(score, _KEEP, _CUTOFF)
        # Which of several equal scores falls at a cut is undefined where the sort is not stable.
        apart = np.sort(score[ours]) != np.sort(score[theirs])
        if apart.any():
            raise AssertionError(f"{int(apart.sum())} of {len(ours)} chosen scores differ")
        return {"scores_that_differ": 0.0}
    ours = np.zeros(task.n)
    theirs, rng = np.zeros(task.n), np.random.default_rng(1)
    draws = 10
    for seed in range(draws):
        ours[selectors.beta(score, q, _KEEP, _C_D, seed=seed)] += 1 / draws
        theirs[reference.beta(score, q, _KEEP, _C_D, rng)[0]] += 1 / draws
    # Shares of the drawn examples, by bands of mean probability that hold a tenth of the pool each.
    band = np.argsort(np.argsort(q)) * 10 // task.n
    shares = [np.bincount(band, weights=drawn, minlength=10) / drawn.sum() for drawn in (ours, theirs)]
    worst = float(np.abs(shares[0] - shares[1]).max())
    if worst > 0.02:
        raise AssertionError(f"shares of the coreset by band of mean probability differ by {worst}")
    return {"share_difference": worst}
