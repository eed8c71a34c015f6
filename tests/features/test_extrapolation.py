"""Scores of all examples from the scores of a few: against loops, and on pools whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax.features import extrapolation
from tests.oracles import embeddings as oracle


def test_means_of_neighbours_are_those_of_loops(rng):
    features, known = rng.normal(size=(40, 3)).astype(np.float32), np.arange(40) % 3 == 0
    score = rng.normal(size=40)
    got = extrapolation.by_neighbours(features, known, score, 4)
    np.testing.assert_allclose(got, oracle.knn_mean(features, known, score, 4), rtol=1e-4, atol=1e-5)


def test_far_away_weights_do_not_vanish():
    """In any float, exp(-distance) is 0 for all neighbours here."""
    features, known = np.array([[0.0], [3000.0], [3001.0]]), np.array([False, True, True])
    got = extrapolation.by_neighbours(features, known, np.array([np.nan, 1.0, 2.0]), 1)
    assert got.tolist() == [1.0, 1.0, 2.0]


def test_weights_of_edges_are_a_row_of_the_normalised_adjacency(rng):
    features, x = rng.normal(size=(30, 3)).astype(np.float32), rng.normal(size=(30, 5)).astype(np.float32)
    received = extrapolation.aggregate(extrapolation.graph_of(features, 4), jnp.asarray(x))
    np.testing.assert_allclose(received, oracle.normalised_adjacency(features, 4) @ x, rtol=1e-4, atol=1e-5)


def test_a_graph_network_finds_a_planted_score(rng, monkeypatch):
    """Each cluster has its own score, which a few examples show."""
    monkeypatch.setattr(extrapolation, "STEPS", 80)
    cluster = np.arange(300) % 6
    centre, level = 4.0 * rng.normal(size=(6, 8)), np.array([5.0, -3.0, 0.5, 9.0, -7.0, 2.0])
    features = (centre[cluster] + 0.3 * rng.normal(size=(300, 8))).astype(np.float32)
    truth, known = level[cluster] + 0.1 * rng.normal(size=300), np.arange(300) < 60
    score = np.where(known, truth, np.nan)  # unknown scores must not be read
    got = extrapolation.by_graph(features, known, score, 5)
    np.testing.assert_array_equal(got[known], truth[known].astype(np.float32))
    assert np.corrcoef(got[~known], truth[~known])[0, 1] > 0.97
    np.testing.assert_array_equal(got, extrapolation.by_graph(features, known, score, 5))
    assert not np.array_equal(got, extrapolation.by_graph(features, known, score, 5, seed=1))


def test_dropout_is_in_training_only(rng):
    features = rng.normal(size=(30, 3)).astype(np.float32)
    graph = extrapolation.graph_of(features, 4)
    params = extrapolation.init(jax.random.key(0), 3)
    inputs = extrapolation.aggregate(graph, jnp.asarray(features))
    still = [extrapolation._outputs(params, graph, inputs, None) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    many = [extrapolation._outputs(params, graph, inputs, jax.random.key(k)) for k in range(2)]
    assert not np.array_equal(*many)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.zeros(29)}, r"30 embeddings, known \(30,\) and score \(29,\)"),
        ({"score": np.full(30, np.nan)}, "25 known scores are not finite"),
        ({"features": np.full((30, 2), np.inf)}, "30 of 30 embeddings are not finite"),
        ({"known": np.arange(30) < 4}, "4 examples have a score; a graph network needs 20"),
        ({"neighbours": 30}, r"k = 30 neighbours of 30 examples"),
    ],
)
def test_bad_arguments(rng, change, message):
    values = {"features": rng.normal(size=(30, 2)), "known": np.arange(30) < 25, "score": np.zeros(30)} | change
    with pytest.raises(ValueError, match=message):
        extrapolation.by_graph(**values)


def test_correlation():
    """The correlation is Pearson's, or 0 without a warning where an input is constant."""
    a, b = np.array([1.0, 2.0, 4.0, 3.0]), np.array([0.5, -1.0, 2.0, 2.5])
    assert extrapolation._correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert extrapolation._correlation(a, np.ones(4)) == 0
    assert extrapolation._correlation(np.zeros(4), b) == 0


def test_as_many_neighbours_as_have_scores():
    with pytest.raises(ValueError, match=r"k = 3 neighbours of 3 examples"):
        extrapolation.by_neighbours(np.eye(5), np.arange(5) < 3, np.zeros(5), 3)
