"""Shares of classes: how many examples each class gives, and which of its examples those are."""

import numpy as np


def largest_remainder(counts: np.ndarray, total: int, *, minimum: int = 0) -> np.ndarray:
    """Seats of each class in proportion to its size, by the method of largest remainders (Hamilton's).

    Each class gets the floor of its share, ``total * counts / sum(counts)``. The seats that are left go to the largest
    remainders, one each; of equal remainders to the first classes.

    Args:
      counts: i64[C], examples of each class; at least one in all.
      total: seats, at most ``sum(counts)``.
      minimum: seats of every class that has as many examples, however small its share. With it the sum may exceed
        ``total``.

    Returns:
      i64[C], none larger than ``counts``.

    >>> largest_remainder(np.array([50, 33, 4]), 8)
    array([5, 3, 0])
    >>> largest_remainder(np.array([50, 33, 4]), 8, minimum=1)
    array([4, 3, 1])
    """
    counts = np.asarray(counts, np.int64)
    share = total * counts / counts.sum()
    sizes = np.minimum(np.maximum(total * counts // counts.sum(), minimum), counts)
    remainder = np.where(sizes < counts, share - sizes, -np.inf)
    left = max(0, total - int(sizes.sum()))
    sizes[np.argsort(-remainder, kind="stable")[:left]] += 1
    return sizes


def first_of_each_class(ranking: np.ndarray, classes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first ``sizes[c]`` ids of each class c in a ranking.

    Args:
      ranking: i64[n], ids, the best first.
      classes: i64[N], of every id, 0 .. C-1.
      sizes: i64[C].

    Returns:
      ids, sorted i64; fewer of a class than its size where the ranking has no more.

    >>> first_of_each_class(np.array([4, 0, 3, 1, 2]), np.array([0, 0, 1, 1, 0]), np.array([2, 1]))
    array([0, 3, 4])
    """
    ordered = ranking[np.argsort(classes[ranking], kind="stable")]
    own = classes[ordered]
    place = np.arange(len(ordered)) - np.searchsorted(own, own)  # within its class
    return np.sort(ordered[place < np.asarray(sizes)[own]])
