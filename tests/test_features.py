"""Neighbours, clusters and centres against loops, and on points whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.cluster.vq import kmeans2

from semiprune_jax.features import blocks, centres, graph, kmeans, neighbours, zcore
from semiprune_jax.features.neighbours import smallest

LINE = np.array([[0.0], [1.0], [3.0], [7.0], [7.5]])


def blobs(rng, n=60, apart=20.0):
    """Two clear clouds of n points in three dimensions, and which is which."""
    which = np.arange(n) % 2
    return (rng.normal(size=(n, 3)) + apart * which[:, None]).astype(np.float32), which


def by_sorting(features, k, metric):
    """Every pair's distance, sorted."""
    x = features.astype(np.float64)
    if metric == "cosine":
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    away = np.sum((x[:, None] - x[None]) ** 2, axis=-1)
    away = away / 2 if metric == "cosine" else np.sqrt(away)
    np.fill_diagonal(away, np.inf)
    order = np.argsort(away, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(away, order, axis=1)


@pytest.mark.parametrize(("n", "k"), [(997, 7), (1000, 1), (64, 4), (30, 30)])
def test_smallest_is_the_beginning_of_a_stable_sort(rng, n, k):
    """Of numbers among which many are equal, and some infinite; rows of any rank."""
    values = rng.integers(0, n, (3, 2, n)).astype(np.float32)
    values[values > 0.9 * n] = np.inf
    values[0, 0] = np.where(np.arange(n) < 2, 1.0, np.inf)  # fewer finite ones than are asked for
    numbers, places = jax.jit(smallest, static_argnums=1)(values, k)
    order = np.argsort(values, axis=-1, kind="stable")[..., :k]
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(numbers, np.take_along_axis(values, order, axis=-1))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("rows", [1 << 20, 7])
def test_neighbours_are_those_of_a_sort(rng, monkeypatch, metric, rows):
    """Whole, and in blocks of seven rows on each of the devices."""
    features = rng.normal(size=(101, 6)).astype(np.float32)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 101 * rows)
    ids, distances = neighbours.nearest(features, 5, metric)
    expected, away = by_sorting(features, 5, metric)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(distances, away, rtol=1e-4, atol=1e-6)


def test_neighbours_far_from_the_origin_are_told_apart(rng):
    """Products of rows have lost the digits that differ."""
    features = (rng.normal(size=(200, 8)) * 1e-2 + 100.0).astype(np.float32)
    ids, distances = neighbours.nearest(features, 3)
    expected, away = by_sorting(features, 3, "euclidean")
    assert np.mean(ids == expected) > 0.98
    np.testing.assert_allclose(distances[:, 0], away[:, 0], rtol=0.1)


def test_neighbours_on_a_line():
    ids, distances = neighbours.nearest(LINE, 2)
    assert ids.tolist() == [[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]
    assert distances[3].tolist() == [0.5, 4.0]
    twice = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert neighbours.nearest(twice, 2, "cosine")[0][0].tolist() == [1, 2]


def test_two_blobs_are_two_clusters(rng):
    features, which = blobs(rng)
    found = kmeans.fit(features, 2, seed=1)
    assert len(set(zip(found.cluster.tolist(), which.tolist(), strict=True))) == 2
    for c in (0, 1):
        np.testing.assert_allclose(found.centroid[c], features[found.cluster == c].mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        found.distance, np.linalg.norm(features - found.centroid[found.cluster], axis=1), rtol=1e-5
    )


def test_clusters_are_as_good_as_scipys(rng):
    """Of the best of ten starts each."""
    features = rng.normal(size=(300, 5)).astype(np.float32)
    ours = kmeans.fit(features, 7, seed=0)
    theirs = []
    for seed in range(10):
        centroid, cluster = kmeans2(features.astype(float), 7, iter=300, minit="++", rng=seed)
        theirs.append(np.sum((features - centroid[cluster]) ** 2))
    assert ours.inertia < 1.02 * min(theirs)
    np.testing.assert_array_equal(ours.cluster, kmeans.fit(features, 7, seed=0).cluster)


def test_clusters_in_blocks_are_those_of_the_whole(rng, monkeypatch):
    """Of seven rows, the last one padded: padding is drawn by no one and counts for nothing."""
    features = rng.normal(size=(101, 6)).astype(np.float32) + 3.0
    whole = kmeans.fit(features, 5, seed=2, starts=2)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * (5 + 12) * 7)
    parts = kmeans.fit(features, 5, seed=2, starts=2)
    np.testing.assert_array_equal(parts.cluster, whole.cluster)
    np.testing.assert_allclose(parts.centroid, whole.centroid, rtol=1e-5)
    for c in range(5):
        np.testing.assert_allclose(whole.centroid[c], features[whole.cluster == c].mean(0), rtol=1e-5)


def test_seeds_are_drawn_by_squared_distance(rng):
    """The second seed's frequencies, given the first one, over many draws."""
    features = rng.normal(size=(6, 2)).astype(np.float32)
    (_, block, numbers), *_ = blocks.placed(features, 2)
    start = jnp.where(numbers < 6, jnp.inf, -1.0)  # padding has -1
    draw = jax.jit(jax.vmap(lambda key: kmeans._draw(block, numbers, start, features[4], 4, key)[2]))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(1), 4000)))
    square = np.sum((features - features[4]) ** 2, axis=1)
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 4000, square / square.sum(), atol=0.03)


def test_as_many_clusters_as_examples_and_equal_examples():
    assert kmeans.fit(LINE, 5).inertia == 0
    assert len(kmeans.fit(np.zeros((4, 2)), 3).centroid) == 3
    assert kmeans.fit(LINE, 1).centroid[0, 0] == pytest.approx(LINE.mean())


def farthest_by_loop(features, count, first):
    chosen = [first]
    while len(chosen) < count:
        away = [min(np.sum((x - features[c]) ** 2) for c in chosen) for x in features]
        chosen.append(max((i for i in range(len(features)) if i not in chosen), key=lambda i: (away[i], -i)))
    return chosen


def test_farthest_first(rng):
    assert centres.farthest_first(LINE, 4, first=0).tolist() == [0, 4, 2, 1]
    features = rng.normal(size=(40, 3)).astype(np.float32)
    assert centres.farthest_first(features, 12, first=7).tolist() == farthest_by_loop(features, 12, 7)
    assert sorted(centres.farthest_first(np.zeros((5, 2)), 5, first=3)) == list(range(5))


def test_badge_draws_by_squared_distance_of_gradients(rng):
    """The second centre's frequencies over many draws are those of the gradients' squared distances."""
    p = rng.dirichlet(np.ones(3), 8).astype(np.float32)
    h = rng.normal(size=(8, 4)).astype(np.float32)
    gradient = (p - np.eye(3)[p.argmax(1)])[:, :, None] * h[:, None]
    gradient = gradient.reshape(8, -1)
    first = int(np.argmax(np.sum(gradient**2, axis=1)))
    square = np.sum((gradient - gradient[first]) ** 2, axis=1)
    residual = jnp.asarray(p - np.eye(3)[p.argmax(1)], jnp.float32)
    draw = jax.jit(jax.vmap(lambda key: centres._plus_plus(residual, jnp.asarray(h), 2, key)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    assert set(drawn[:, 0].tolist()) == {first}
    np.testing.assert_allclose(np.bincount(drawn[:, 1], minlength=8) / 4000, square / square.sum(), atol=0.03)
    chosen = centres.badge(p, h, 8, seed=3)
    assert sorted(chosen.tolist()) == list(range(8))
    np.testing.assert_array_equal(chosen, centres.badge(p, h, 8, seed=3))


def passing_by_loop(score, features, count, k, gamma):
    ids, distances = by_sorting(features, k, "euclidean")
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
    """Two tight groups of equal scores: the choice goes from one to the other, where the top alone would not."""
    features = np.r_[np.linspace(0, 0.1, 5), np.linspace(50, 50.1, 5)][:, None]
    score = np.r_[np.full(5, 1.0), np.full(5, 0.5)]
    kept = graph.message_passing(score, features, 2, neighbours=4, gamma=0.0)
    assert {int(i) // 5 for i in kept} == {0, 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neighbours.nearest(LINE, 5), r"k = 5 neighbours of 5 examples; expected 1 \.\. 4"),
        (lambda: neighbours.nearest(LINE, 2, "manhattan"), "metric = 'manhattan' is neither"),
        (lambda: neighbours.nearest(np.array([[0.0], [np.nan]]), 1), "1 of 2 embeddings are not finite, .* row 1"),
        (lambda: neighbours.nearest(np.zeros(3), 1), r"shape \(3,\); expected \[N, D\]"),
        (lambda: kmeans.fit(LINE, 6), "k = 6 clusters of 5 examples"),
        (lambda: centres.farthest_first(LINE, 6, 0), "6 centres of 5 examples"),
        (lambda: centres.badge(np.ones((4, 2)), LINE, 2), "4 rows of probabilities and 5 embeddings"),
        (lambda: graph.message_passing(np.ones(4), LINE, 2), r"shape \(4,\); expected one an embedding"),
        (lambda: graph.message_passing(-np.ones(5), LINE, 2), "none negative; got -1"),
        (lambda: graph.message_passing(np.ones(5), LINE, 2, neighbours=2, gamma=-1.0), "gamma = -1.0 is negative"),
        (lambda: graph.message_passing(np.ones(5), LINE, 6, neighbours=2), "6 of 5 examples"),
    ],
)  # fmt: skip
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def zcore_by_loop(features, draws, k, noise):
    score = noise.copy()
    for (a, b), (p, q) in zip(*draws, strict=True):
        x, y = features[:, a].astype(float), features[:, b].astype(float)
        nearest = int(np.argmin(np.abs(x - p) + np.abs(y - q)))
        score[nearest] += 1
        away = np.abs(x - x[nearest]) + np.abs(y - y[nearest])
        order = [i for i in np.argsort(away, kind="stable") if i != nearest][:k]
        if away[order[0]] == 0:
            score[order[0]] -= 1
        else:
            share = away[order] ** -4.0
            score[order] -= share / share.sum()
    return (score - score.min()) / (score.max() - score.min())


def test_zcore_against_a_loop(rng, monkeypatch):
    features = rng.normal(size=(50, 4)).astype(np.float32)
    features[7] = features[3]  # the one is redundant to the other
    noise = rng.random(50)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 16 * 50 * 64)  # blocks of 64 samples
    got = zcore.zcore(features, seed=5, samples=192, neighbours=10, noise=noise)
    spread, generator = np.quantile(features, [0, 0.5, 1], axis=0).astype(np.float32), np.random.default_rng(5)
    parts = [zcore.draw(generator, 64, spread) for _ in range(3)]
    draws = tuple(np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_allclose(got, zcore_by_loop(features, draws, 10, noise), atol=1e-4)


def test_zcore_of_twins_and_one_apart():
    """Points fall nearer to the twins five times in six: the first stands for them, the other is redundant."""
    score = zcore.zcore(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), samples=4000, noise=np.zeros(3))
    # Sums of 5/6 - 1/12, -5/6 - 1/12 and 1/6, scaled.
    np.testing.assert_allclose(score, [1.0, 0.0, 0.65], atol=0.03)


def test_points_of_zcore_are_triangular(rng):
    spread = np.array([[0.0, -1.0], [1.0, -1.0], [4.0, 1.0]], np.float32)
    dimensions, points = zcore.draw(rng, 20_000, spread)
    assert np.all(dimensions[:, 0] != dimensions[:, 1])
    for column, (low, mode, high) in enumerate(spread.T):
        found = points[dimensions == column]
        expected = stats.triang((mode - low) / (high - low), loc=low, scale=high - low)
        assert stats.kstest(found, expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones((5, 3)), "0 dimensions of the embeddings vary"),
        (np.arange(6.0).reshape(3, 2) * [1, 0], "1 dimensions of the embeddings vary"),
    ],
)
def test_zcore_needs_a_space(features, message):
    with pytest.raises(ValueError, match=message):
        zcore.zcore(features, samples=3)
