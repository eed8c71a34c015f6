"""Nearest neighbours against a sort of all distances, and on points whose answer is known."""

import jax
import numpy as np
import pytest

from semiprune_jax.features import blocks, neighbours
from semiprune_jax.features.neighbours import smallest
from tests.oracles.embeddings import nearest_by_sorting

LINE = np.array([[0.0], [1.0], [3.0], [7.0], [7.5]])


@pytest.mark.parametrize(("n", "k"), [(997, 7), (1000, 1), (64, 4), (30, 30)])
def test_smallest_is_the_beginning_of_a_stable_sort(rng, n, k):
    """Many numbers are equal and some are infinite; there may be any leading axes."""
    values = rng.integers(0, n, (3, 2, n)).astype(np.float32)
    values[values > 0.9 * n] = np.inf
    values[0, 0] = np.where(np.arange(n) < 2, 1.0, np.inf)  # fewer than k are finite
    numbers, places = jax.jit(smallest, static_argnums=1)(values, k)
    order = np.argsort(values, axis=-1, kind="stable")[..., :k]
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(numbers, np.take_along_axis(values, order, axis=-1))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("rows", [1 << 20, 7])
def test_neighbours_are_those_of_a_sort(rng, monkeypatch, metric, rows):
    """Compares the whole, and blocks of seven rows on each device."""
    features = rng.normal(size=(101, 6)).astype(np.float32)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 101 * rows)
    ids, distances = neighbours.nearest(features, 5, metric)
    expected, away = nearest_by_sorting(features, 5, metric)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(distances, away, rtol=1e-4, atol=1e-6)


def test_neighbours_far_from_the_origin_are_distinguished(rng):
    """Inner products lose the digits that differ."""
    features = (rng.normal(size=(200, 8)) * 1e-2 + 100.0).astype(np.float32)
    ids, distances = neighbours.nearest(features, 3)
    expected, away = nearest_by_sorting(features, 3, "euclidean")
    assert np.mean(ids == expected) > 0.98
    np.testing.assert_allclose(distances[:, 0], away[:, 0], rtol=0.1)


def test_neighbours_on_a_line():
    ids, distances = neighbours.nearest(LINE, 2)
    assert ids.tolist() == [[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]
    assert distances[3].tolist() == [0.5, 4.0]
    twice = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert neighbours.nearest(twice, 2, "cosine")[0][0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neighbours.nearest(LINE, 5), r"k = 5 neighbours of 5 examples; expected 1 \.\. 4"),
        (lambda: neighbours.nearest(LINE, 2, "manhattan"), "metric = 'manhattan' is neither"),
        (lambda: neighbours.nearest(np.array([[0.0], [np.nan]]), 1), "1 of 2 embeddings are not finite, .* row 1"),
        (lambda: neighbours.nearest(np.zeros(3), 1), r"shape \(3,\); expected \[N, D\]"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
