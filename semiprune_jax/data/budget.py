"""The label budget: which examples of a pool have their labels known."""

import numpy as np

from semiprune_jax.apportionment import first_of_each_class, largest_remainder
from semiprune_jax.errors import ArgumentError
from semiprune_jax.randomness import hash_keys

LEAST_HELD_OUT = 5  # of each class
RULES = ("per_class", "equal", "uniform", "given")


def draw(rule: str, labels: np.ndarray, keys, budget: float, seed: int) -> np.ndarray:
    """Draws the examples whose labels a run may use; ids, sorted i64.

    Examples are ranked by hash(seed, key), so that images added later leave the ranks of the others as they are.

    Args:
      rule: "per_class": of each class its share, at least one, rounded by largest remainders, so that the sum may
        exceed a tiny budget; "equal": the same number of each class, floor(budget / C), or all examples of a class that
        has fewer, as in USB (``sample_labeled_unlabeled_data``); "uniform": the first ranks of the pool; "given": every
        example that has a label, whatever the budget.
      labels: i32[N], -1 where no label is known; all rules but "given" need every label.
      keys: N stable names.
      budget: a fraction below 1, or a count.
      seed: of the draw.

    Raises:
      ArgumentError: the rule is unknown, labels it needs are missing, or the budget is out of range.

    >>> draw("per_class", np.array([0, 0, 0, 0, 1, 1]), ["a", "b", "c", "d", "e", "f"], budget=0.5, seed=0)
    array([2, 3, 4])
    >>> len(draw("equal", np.repeat([0, 1, 2], [50, 33, 4]), [f"k{i}" for i in range(87)], budget=20, seed=0))
    16
    """
    if rule not in RULES:
        raise ArgumentError(f"label rule {rule!r} is unknown; choose one of {', '.join(RULES)}")
    labels = np.asarray(labels)
    if rule == "given":
        return np.flatnonzero(labels >= 0)
    if np.any(labels < 0):
        raise ArgumentError(
            f"{int(np.sum(labels < 0))} of {len(labels)} examples have no label, so none can be drawn for them; "
            "set label.rule='given' to use the labels there are"
        )
    n = len(labels)
    total = budget_size(budget, n)
    if not 1 <= total <= n:
        raise ArgumentError(f"a budget of {budget:g} gives {total} labels of {n}; it must give between 1 and {n}")
    rank = np.argsort(hash_keys(seed, "label", keys), kind="stable")
    if rule == "uniform":
        return np.sort(rank[:total])
    counts = np.bincount(labels)
    if rule == "per_class":
        return first_of_each_class(rank, labels, largest_remainder(counts, total, minimum=1))
    each = total // len(counts)
    if each < 1:
        raise ArgumentError(
            f"a budget of {total} labels gives none to each of {len(counts)} classes; give {len(counts)} or more"
        )
    return first_of_each_class(rank, labels, np.minimum(counts, each))


def hold_out(labels: np.ndarray, keys, share: float, seed: int) -> np.ndarray:
    """Draws the labelled examples whose labels no training may read; ids, sorted i64.

    Of each class it takes its share by largest remainders, but at least ``LEAST_HELD_OUT`` where that is no more than
    half of its labels, and else that half. Nothing is held out where every label is known: then there are no
    pseudo-labels to judge.

    Args:
      labels: i32[N], -1 outside the budget.
      keys: N stable names; examples are ranked by hash(seed, key).
      share: of the labels; 0: none.

    >>> labels = np.repeat([0, 1, -1], [100, 12, 500])
    >>> held_out = hold_out(labels, [str(i) for i in range(len(labels))], share=0.1, seed=0)
    >>> np.bincount(labels[held_out]).tolist()
    [10, 5]
    """
    known = np.flatnonzero(labels >= 0)
    if share == 0 or len(known) == len(labels):
        return np.zeros(0, np.int64)
    counts = np.bincount(labels[known])
    sizes = np.maximum(largest_remainder(counts, budget_size(share, len(known))), LEAST_HELD_OUT)
    rank = known[np.argsort(hash_keys(seed, "held_out", [keys[int(i)] for i in known]), kind="stable")]
    return first_of_each_class(rank, labels, np.minimum(sizes, counts // 2))


def budget_size(budget: float, n: int) -> int:
    """How many labels of a pool of ``n`` a budget allows; it is a fraction below 1, or a count.

    >>> budget_size(0.29, 100), budget_size(30, 100)  # 0.29 * 100 is 28.999999999999996
    (29, 30)
    """
    return int(np.floor(budget * n + 1e-9)) if budget < 1 else int(budget)
