"""Selectors that cut a score at one end, or at both."""

from collections.abc import Iterator, Sequence

import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.field import AT_LEAST_ONE, Field, is_open
from semiprune_jax.select.selectors.ranks import (
    checked_score,
    checked_tiebreak,
    class_numbers,
    coreset_size,
    cutoff_size,
    smallest,
    smallest_of_each_class,
    uniform_noise,
)
from semiprune_jax.select.selectors.selector import Search, Selector, Spec, Sweep, at_keep


def top(score: np.ndarray, keep: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """The ids with the largest scores, score [N].

    >>> top(np.array([0.1, 0.9, 0.5, 0.7]), keep=0.5)
    array([1, 3])
    """
    score = checked_score(score)
    return np.flatnonzero(smallest(-score, coreset_size(len(score), keep), checked_tiebreak(tiebreak, score)))


def balanced_top(score: np.ndarray, classes: np.ndarray, keep: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """The largest scores of each class, in proportion to its size; score [N] and classes i64[N].

    The share of a class in the coreset is its share of the pool, rounded by largest remainders. (This is CCS's
    ``monotonic`` with balance. CCS's released code uses the last class's count for all classes; D2's does not.)

    >>> balanced_top(np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1]), np.array([0, 0, 0, 0, 1, 1]), keep=0.5)
    array([0, 1, 4])
    """
    score, classes = checked_score(score), class_numbers(classes)
    if score.shape != classes.shape:
        raise ArgumentError(f"score has shape {score.shape} but classes {classes.shape}; both must be [N]")
    return smallest_of_each_class(-score, classes, keep, checked_tiebreak(tiebreak, score))


def double_end(score: np.ndarray, keep: float, cutoff: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """Drops the ``cutoff`` fraction of lowest scores, keeps the next ``keep``, drops the rest.

    With AUM (low is hard) this is SemiPrune's AUM+Cutoff: it drops the hardest examples, which are likely mislabelled,
    and the easiest ones. ``cutoff`` is a fraction of the whole pool. With cutoff + keep = 1 nothing is dropped at the
    easy end, up to rounding (the released slice ``[mis:-0]`` is empty there).

    Raises:
      ArgumentError: cutoff is negative, or cutoff + keep leaves too few examples.

    >>> double_end(np.arange(10), keep=0.3, cutoff=0.2)
    array([2, 3, 4])
    """
    score = checked_score(score)
    size, skipped = coreset_size(len(score), keep), cutoff_size(len(score), keep, cutoff)
    tiebreak = checked_tiebreak(tiebreak, score)
    return np.flatnonzero(smallest(score, skipped + size, tiebreak) & ~smallest(score, skipped, tiebreak))


def stratified(
    score: np.ndarray,
    keep: float,
    cutoff: float,
    seed: int = 0,
    strata: int = 50,
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """CCS: drops the ``cutoff`` fraction of lowest scores, then spreads the budget over equal-width strata.

    Strata are visited from the emptiest to the fullest: each gives min(its count, budget left // strata left), drawn at
    random inside it. (Zheng et al., arXiv:2210.15809.) The top stratum includes the maximum; the released code with its
    ``max * 1.0001`` loses it for scores below zero.

    Raises:
      ArgumentError: cutoff is negative, cutoff + keep leaves too few examples, or strata < 1.

    >>> score = np.r_[np.linspace(0.0, 0.1, 90), np.linspace(0.9, 1.0, 10)]
    >>> kept = stratified(score, keep=0.2, cutoff=0.0, strata=2)
    >>> int(np.sum(score[kept] > 0.5))  # half of the budget, for a tenth of the pool
    10
    """
    score = checked_score(score)
    if strata < 1:
        raise ArgumentError(f"strata = {strata}; at least one stratum is needed")
    size, skipped = coreset_size(len(score), keep), cutoff_size(len(score), keep, cutoff)
    uniform = uniform_noise(len(score), seed, noise)
    rest = np.flatnonzero(~smallest(score, skipped, uniform))
    values = score[rest].astype(np.float64)
    low = values.min()
    width = (values.max() - low) / strata
    # Equal scores form one stratum; otherwise strata are half-open, and the last is closed.
    stratum = np.zeros(len(rest), np.int64) if width <= 0 else np.minimum((values - low) / width, strata - 1)
    members = [rest[stratum.astype(np.int64) == s] for s in range(strata)]
    kept, budget = [], size
    for left, ids in zip(range(strata, 0, -1), sorted(members, key=len), strict=True):
        take = min(len(ids), budget // left)
        kept.append(ids[np.argsort(uniform[ids], kind="stable")[:take]])
        budget -= take
    return np.sort(np.concatenate(kept))


def cutoffs(keep: float) -> list[float]:
    """The paper's grid at a kept fraction: 0, 0.1, ..., up to the pruned fraction.

    >>> cutoffs(0.7), len(cutoffs(0.1))
    ([0.0, 0.1, 0.2, 0.3], 10)
    """
    return [round(0.1 * i, 1) for i in range(int(np.floor((1.0 - keep) * 10 + 1e-9)) + 1)]


def cutoff_problems(spec: Spec, keeps: Sequence[float]) -> Iterator[tuple[str, str]]:
    """Yields a problem if cutoffs leave too few examples, or do not match the kept fractions in number."""
    values = spec["cutoff"]
    if is_open(values):
        return
    if len(values) not in (1, len(keeps)):
        yield "cutoff", f"1 cutoff, or {len(keeps)}, one for each of select.keep = {tuple(keeps)}"
        return
    for keep in keeps:
        cutoff = at_keep(values, keeps, keep)
        if 0 < keep <= 1 and not (cutoff >= 0 and cutoff + keep <= 1 + 1e-9):  # a wrong keep is reported elsewhere
            yield "cutoff", f"0 .. {1 - keep:.4g} at keep = {keep:g}, so that cutoff + keep <= 1"


def _lowest_kept(spec: Spec, score: np.ndarray, kept: np.ndarray) -> list[float]:
    del spec
    return [score[kept].min()]


def _both_ends(spec: Spec, score: np.ndarray, kept: np.ndarray) -> list[float]:
    del spec
    return [score[kept].min(), score[kept].max()]


def _cutoff(spec: Spec, score: np.ndarray, kept: np.ndarray) -> list[float]:
    del kept
    return [np.sort(score)[int(len(score) * spec["cutoff"] + 1e-9)]]


CUTOFF = Field(
    (),
    "the fraction of the pool that is dropped at the hard end; one, or one for each kept fraction; empty: chosen by "
    "trials on the pool.",
)
STRATA = Field(50, "the number of strata.", AT_LEAST_ONE)
_SEARCH = Search((Sweep("cutoff", 0.0, lambda options, keep: cutoffs(keep)),), together=False)

TOP = Selector("top", top, ("score", "tiebreak"), orientation="end", cuts=_lowest_kept)
BALANCED_TOP = Selector("balanced_top", balanced_top, ("score", "classes", "tiebreak"), orientation="end")
DOUBLE_END = Selector(
    "double_end",
    double_end,
    ("score", "tiebreak"),
    {"cutoff": CUTOFF},
    orientation="easiness",
    problems=cutoff_problems,
    search=_SEARCH,
    cuts=_both_ends,
)
STRATIFIED = Selector(
    "stratified",
    stratified,
    ("score", "seed", "noise"),
    {"cutoff": CUTOFF, "strata": STRATA},
    orientation="easiness",
    problems=cutoff_problems,
    search=_SEARCH,
    cuts=_cutoff,
)
