"""The label budget: how many labels of which class, and which examples."""

import numpy as np
import pytest

from semiprune_jax.data.budget import draw, hold_out

LABELS = np.array([0] * 50 + [1] * 33 + [2] * 4)
KEYS = [f"k{i}" for i in range(len(LABELS))]


def test_draws():
    ids = draw("per_class", LABELS, KEYS, 0.1, seed=0)
    assert np.bincount(LABELS[ids]).tolist() == [4, 3, 1]
    assert np.all(np.diff(ids) > 0)
    np.testing.assert_array_equal(ids, draw("per_class", LABELS, KEYS, 8, seed=0))
    assert not np.array_equal(ids, draw("per_class", LABELS, KEYS, 8, seed=1))
    assert len(draw("uniform", LABELS, KEYS, 0.1, seed=0)) == 8
    assert np.bincount(LABELS[draw("equal", LABELS, KEYS, 20, seed=0)]).tolist() == [6, 6, 4]
    given = np.where(np.arange(len(LABELS)) < 5, LABELS, -1)
    assert draw("given", given, KEYS, 0.1, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_a_draw_belongs_to_the_keys_not_to_their_order(rng):
    order = rng.permutation(len(LABELS))
    for rule in ("per_class", "equal", "uniform"):
        ids = {KEYS[i] for i in draw(rule, LABELS, KEYS, 0.2, 0)}
        moved = draw(rule, LABELS[order], [KEYS[i] for i in order], 0.2, 0)
        assert {KEYS[order[i]] for i in moved} == ids


@pytest.mark.parametrize(
    ("rule", "labels", "budget", "message"),
    [
        ("best", LABELS, 0.1, "label rule 'best'"),
        ("uniform", np.r_[-1, LABELS[1:]], 0.1, "1 of 87 examples have no label"),
        ("uniform", LABELS, 0.001, "gives 0 labels"),
        ("uniform", LABELS, 88, "gives 88 labels of 87"),
        ("equal", LABELS, 2, "gives none to each of 3 classes; give 3 or more"),
    ],
)
def test_bad_draws(rule, labels, budget, message):
    with pytest.raises(ValueError, match=message):
        draw(rule, labels, KEYS, budget, 0)


def test_what_is_held_out():
    """A tenth; but five of each class, where that is no more than half of its labels, and never its only one."""
    labels = np.repeat([0, 1, 2, 3, -1], [200, 40, 7, 1, 300])
    keys = [f"k{i}" for i in range(len(labels))]
    held_out = hold_out(labels, keys, 0.1, seed=0)
    assert np.bincount(labels[held_out], minlength=4).tolist() == [19, 5, 3, 0]
    assert np.all(np.diff(held_out) > 0)
    assert not np.array_equal(held_out, hold_out(labels, keys, 0.1, seed=1))
    assert len(hold_out(labels, keys, 0.0, seed=0)) == 0
    assert len(hold_out(labels[:248], keys[:248], 0.1, seed=0)) == 0  # every label is known
