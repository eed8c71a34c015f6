"""The label budget: which examples of a pool have their labels known."""

import numpy as np

from semiprune_jax.apportionment import first_of_each_class, largest_remainder
from semiprune_jax.errors import ArgumentError
from semiprune_jax.randomness import hash_keys

RULES = ("per_class", "uniform", "given")


def draw(rule: str, labels: np.ndarray, keys, budget: float, seed: int) -> np.ndarray:
    """Draws the examples whose labels a run may use; ids, sorted i64.

    Examples are ranked by hash(seed, key), so that images added later leave the ranks of the others as they are.

    Args:
      rule: "per_class": of each class its share, at least one, rounded by largest remainders, so that the sum may
        exceed a tiny budget; "uniform": the first ranks of the pool; "given": every example that has a label, whatever
        the budget.
      labels: i32[N], -1 where no label is known; "per_class" and "uniform" need all of them.
      keys: N stable names.
      budget: a fraction below 1, or a count.
      seed: of the draw.

    Raises:
      ArgumentError: the rule is unknown, labels it needs are missing, or the budget is out of range.

    >>> draw("per_class", np.array([0, 0, 0, 0, 1, 1]), ["a", "b", "c", "d", "e", "f"], budget=0.5, seed=0)
    array([2, 3, 4])
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
    return first_of_each_class(rank, labels, largest_remainder(np.bincount(labels), total, minimum=1))


def budget_size(budget: float, n: int) -> int:
    """How many labels of a pool of ``n`` a budget allows; it is a fraction below 1, or a count.

    >>> budget_size(0.29, 100), budget_size(30, 100)  # 0.29 * 100 is 28.999999999999996
    (29, 30)
    """
    return int(np.floor(budget * n + 1e-9)) if budget < 1 else int(budget)
