"""Message passing against a loop, and on a graph whose answer is known."""

import numpy as np
import pytest

from semiprune_jax.features import graph
from tests.oracles.embeddings import nearest_by_sorting

LINE = np.array([[0.0], [1.0], [3.0], [7.0], [7.5]])


def passing_by_loop(score, features, count, k, gamma):
    ids, distances = nearest_by_sorting(features, k, "euclidean")
    n, away = len(score), {}
    for i in range(n):
        for j, d in zip(ids[i].tolist(), distances[i], strict=True):
            away[i, j] = away[j, i] = d
    worth = [score[i] + sum(np.exp(-d) * score[j] for (a, j), d in away.items() if a == i) for i in range(n)]
    kept = []
    while len(kept) < count:
        best = max((i for i in range(n) if i not in kept), key=lambda i: (worth[i], -i))
        kept.append(best)
        for (a, j), d in away.items():
            if a == best and j not in kept:
                worth[j] -= np.exp(-gamma * d) * worth[best]
    return kept


@pytest.mark.parametrize("gamma", [0.0, 0.1, 3.0])
def test_message_passing_against_a_loop(rng, gamma):
    features, score = rng.normal(size=(30, 2)).astype(np.float32), rng.random(30)
    kept = graph.message_passing(score, features, 12, neighbours=4, gamma=gamma)
    assert kept.tolist() == passing_by_loop(score, features, 12, 4, gamma)


def test_message_passing_spreads_over_a_planted_graph():
    """One example of each tight group is kept, although the highest scores are all in one group."""
    features = np.r_[np.linspace(0, 0.1, 5), np.linspace(50, 50.1, 5)][:, None]
    score = np.r_[np.full(5, 1.0), np.full(5, 0.5)]
    kept = graph.message_passing(score, features, 2, neighbours=4, gamma=0.0)
    assert {int(i) // 5 for i in kept} == {0, 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph.message_passing(np.ones(4), LINE, 2), r"shape \(4,\); expected one per embedding"),
        (lambda: graph.message_passing(-np.ones(5), LINE, 2), "none negative; got -1"),
        (lambda: graph.message_passing(np.ones(5), LINE, 2, neighbours=2, gamma=-1.0), "gamma = -1.0 is negative"),
        (lambda: graph.message_passing(np.ones(5), LINE, 6, neighbours=2), "6 of 5 examples"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
