"""Apportionment against plain loops, and on cases worked out by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semiprune_jax.apportionment import first_of_each_class, largest_remainder


@pytest.mark.parametrize(
    ("counts", "total", "expected"),
    [
        ([50, 50], 10, [5, 5]),
        ([50, 33, 4], 9, [5, 3, 1]),  # shares 5.17, 3.41, 0.41: every class gets at least one
        ([50, 33, 17], 10, [5, 3, 2]),  # shares 5, 3.3, 1.7: the last one goes to the largest remainder
        ([1000, 1], 3, [2, 1]),
        ([3, 3], 6, [3, 3]),
        ([100, 100, 1, 1, 1], 2, [1, 1, 1, 1, 1]),  # more than the budget, since every class gets at least one
        ([4, 0, 4], 4, [2, 0, 2]),  # a class without examples gets none
    ],
)
def test_with_a_minimum_of_one(counts, total, expected):
    assert largest_remainder(np.array(counts), total, minimum=1).tolist() == expected


def test_equal_remainders_go_to_the_first():
    assert largest_remainder(np.array([5, 5, 5, 5]), 6).tolist() == [2, 2, 1, 1]
    assert largest_remainder(np.array([1, 1, 1]), 0).tolist() == [0, 0, 0]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any), st.floats(0, 1))
def test_largest_remainders_in_exact_arithmetic(counts, fraction):
    total = int(fraction * sum(counts))
    shares = [Fraction(total * count, sum(counts)) for count in counts]
    expected = [int(share) for share in shares]
    order = sorted(range(len(counts)), key=lambda c: (expected[c] - shares[c], c))
    for c in order[: total - sum(expected)]:
        expected[c] += 1
    found = largest_remainder(np.array(counts), total)
    # Rounding in doubles may make equal remainders differ, so that another class comes first.
    assert found.sum() == total
    assert all(abs(seats - share) < 1 for seats, share in zip(found.tolist(), shares, strict=True))
    ranked = [shares[c] - int(shares[c]) for c in order]
    given_more = sorted((shares[c] - int(shares[c]) for c in range(len(counts)) if found[c] > shares[c]), reverse=True)
    assert given_more == [r for r in ranked[: total - sum(int(s) for s in shares)] if r]
    assert (found <= counts).all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.randoms())
def test_first_of_each_class(classes, random):
    classes = np.array(classes)
    ranking = list(range(len(classes)))
    random.shuffle(ranking)
    ranking = ranking[: random.randint(0, len(ranking))]
    sizes = [random.randint(0, 9) for _ in range(4)]
    expected = [i for c in range(4) for i in [i for i in ranking if classes[i] == c][: sizes[c]]]
    found = first_of_each_class(np.array(ranking, np.int64), classes, np.array(sizes))
    assert found.tolist() == sorted(expected)
