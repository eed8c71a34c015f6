"""The arithmetic of selectors: sizes of coresets and cutoffs, the smallest values, and checks of arguments."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from semiprune_jax.apportionment import first_of_each_class, largest_remainder
from semiprune_jax.errors import ArgumentError

_SAMPLE, _CHUNK = 1 << 14, 1 << 15  # the size of ``_at_rank``'s sample; rows of one chunk


def coreset_size(n: int, keep: float) -> int:
    """floor(n * keep + 1e-9): the size of every coreset and of every cutoff.

    The 1e-9 keeps 0.1 * 50,000 at 5,000 where binary fractions would lose one (DUAL's sampler keeps 4,999).

    >>> coreset_size(50_000, 0.1)
    5000
    """
    if not 0.0 < keep <= 1.0:
        raise ArgumentError(f"keep = {keep} is not in (0, 1]; keep is the fraction that stays, 0.1 for 90% pruned")
    size = int(np.floor(n * keep + 1e-9))
    if size < 1:
        raise ArgumentError(f"keep = {keep} of {n} examples keeps none; keep at least {1 / max(n, 1):.2g}")
    return size


def cutoff_size(n: int, keep: float, cutoff: float) -> int:
    """floor(n * cutoff + 1e-9), the examples that a cutoff drops; ArgumentError if too few are left for ``keep``."""
    skipped, size = int(np.floor(n * cutoff + 1e-9)), coreset_size(n, keep)
    if cutoff < 0.0 or cutoff + keep > 1.0 + 1e-9 or skipped + size > n:
        raise ArgumentError(
            f"cutoff = {cutoff} with keep = {keep}: together they must lie in 0..1; "
            f"lower the cutoff to at most {1.0 - keep:.4g} or keep less"
        )
    return skipped


def smallest(values: np.ndarray, size: int, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """bool[N]: the ``size`` smallest values; among equal ones, the smaller tiebreak wins, then the earlier position."""
    if size == 0:
        return np.zeros(len(values), bool)
    last = _at_rank(values, size - 1)
    chosen = values <= last
    if excess := np.count_nonzero(chosen) - size:
        tied = np.flatnonzero(values == last)
        if tiebreak is not None:
            tied = tied[np.argsort(tiebreak[tied], kind="stable")]
        chosen[tied[-excess:]] = False
    return chosen


def smallest_of_each_class(
    values: np.ndarray, classes: np.ndarray, keep: float, tiebreak: np.ndarray | None
) -> np.ndarray:
    """The ids, sorted, of the smallest values of each class, in proportion to its size; classes i64[N], 0 .. C-1."""
    sizes = largest_remainder(np.bincount(classes), coreset_size(len(values), keep))
    first = np.arange(len(values)) if tiebreak is None else tiebreak
    return first_of_each_class(np.lexsort((first, values)), classes, sizes)


def _at_rank(values: np.ndarray, rank: int) -> Any:
    """The value that sorting would put at ``rank``, exactly, without sorting or copying all values.

    A sample tells roughly where it lies, so that only nearby values need to be ordered (Floyd and Rivest's SELECT). If
    the sample misleads, all values are ordered.
    """
    n = len(values)
    sample = np.sort(values[:: max(1, n // _SAMPLE)])
    place, margin = rank * len(sample) // n, int(2 * np.sqrt(len(sample)))
    low = sample[place - margin] if place >= margin else -np.inf
    high = sample[place + margin] if place + margin < len(sample) else np.inf
    below, near = 0, []
    for rows in chunks(n):
        part = values[rows]
        below += np.count_nonzero(part < low)
        near.append(part[(part >= low) & (part <= high)])
    candidates = np.concatenate(near)
    if not 0 <= rank - below < len(candidates):
        candidates, below = values, 0
    return np.partition(candidates, rank - below)[rank - below]


def chunks(n: int) -> Iterator[slice]:
    """Slices of n rows, so small that the results of one slice stay in a processor's cache."""
    return (slice(first, first + _CHUNK) for first in range(0, n, _CHUNK))


def checked_score(score: np.ndarray) -> np.ndarray:
    """The score [N] as floating-point numbers; ArgumentError if it has another shape or is not finite."""
    score = np.asarray(score)
    if score.dtype not in (np.float32, np.float64):
        score = score.astype(np.float64)
    if score.ndim != 1 or len(score) == 0:
        raise ArgumentError(f"scores have shape {score.shape}; expected [N] with N >= 1")
    if not np.all(np.isfinite(score)):
        raise ArgumentError(f"{int(np.sum(~np.isfinite(score)))} of {len(score)} scores are not finite")
    return score


def class_numbers(classes: np.ndarray) -> np.ndarray:
    """The classes, renumbered 0, 1, ... in the same order."""
    if np.ndim(classes) != 1 or len(classes) == 0:
        raise ArgumentError(f"classes have shape {np.shape(classes)}; expected [N] with N >= 1")
    return np.unique(classes, return_inverse=True)[1]


def uniform_noise(n: int, seed: int, noise: np.ndarray | None) -> np.ndarray:
    """f64[N] in (0, 1): ``noise``, or a draw with ``seed`` if it is None."""
    if noise is None:
        # From (0, 1], since the logarithm of 0 is infinite; 1 becomes the largest double below it.
        return np.clip(1.0 - np.random.default_rng(seed).random(n), 1e-300, 1.0 - 2.0**-53)
    if np.shape(noise) != (n,):
        raise ArgumentError(f"noise has shape {np.shape(noise)}; expected one number per example, ({n},)")
    return np.asarray(noise, np.float64)


def checked_tiebreak(tiebreak: np.ndarray | None, score: np.ndarray) -> np.ndarray | None:
    """The tiebreak [N], if there is one; ArgumentError if it does not match the score [N]."""
    if tiebreak is not None and np.shape(tiebreak) != score.shape:
        raise ArgumentError(f"tiebreak has shape {np.shape(tiebreak)}; expected one number per example, {score.shape}")
    return None if tiebreak is None else np.asarray(tiebreak)
