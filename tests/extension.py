"""A score and a selector from outside the package; ``test_extending`` puts them into the registries."""

import numpy as np

from semiprune_jax.field import Field, Rule
from semiprune_jax.select.scores import Score
from semiprune_jax.select.selectors import Search, Selector, Sweep, coreset_size


def swing(p_label):
    return np.ptp(p_label, axis=1)


def spaced(score, keep, skipped, tiebreak):
    order = np.lexsort((tiebreak, score))[skipped:]
    return np.sort(order[np.linspace(0, len(order) - 1, coreset_size(len(score), keep)).astype(int)])


RULE = Rule("-1 or more", lambda value: value >= -1)
SWING = Score(swing, ("p_label",), {}, high_is_hard=True, title="swing of p(label)")
SPACED = Selector(
    "spaced",
    spaced,
    ("score", "tiebreak"),
    {"skipped": Field(-1, "the number of hardest examples that are left out; -1: chosen by trials.", RULE)},
    orientation="easiness",
    search=Search((Sweep("skipped", 0, lambda options, keep: (4, 8), kind=int),), together=False),
    cuts=lambda spec, score, kept: [score[kept].min()],
)
