"""Clusters beside SciPy's and scikit-learn's, and on points whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster.vq import kmeans2
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.datasets import load_digits, make_blobs

from semiprune_jax.features import blocks, kmeans

LINE = np.array([[0.0], [1.0], [3.0], [7.0], [7.5]])


def blobs(rng, n=60, apart=20.0):
    """n points f32[n, 3] in two distinct clouds, and the cloud of each point."""
    which = np.arange(n) % 2
    return (rng.normal(size=(n, 3)) + apart * which[:, None]).astype(np.float32), which


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
    """Ours and SciPy's take the best of ten starts."""
    features = rng.normal(size=(300, 5)).astype(np.float32)
    ours = kmeans.fit(features, 7, seed=0)
    theirs = []
    for seed in range(10):
        centroid, cluster = kmeans2(features.astype(float), 7, iter=300, minit="++", rng=seed)
        theirs.append(np.sum((features - centroid[cluster]) ** 2))
    assert ours.inertia < 1.02 * min(theirs)
    np.testing.assert_array_equal(ours.cluster, kmeans.fit(features, 7, seed=0).cluster)


def test_clusters_in_blocks_are_those_of_the_whole(rng, monkeypatch):
    """Blocks have seven rows and the last is padded; padding is never drawn and has no influence."""
    monkeypatch.setattr(kmeans, "STARTS", 2)
    features = rng.normal(size=(101, 6)).astype(np.float32) + 3.0
    whole = kmeans.fit(features, 5, seed=2)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * (5 + 12) * 7)
    parts = kmeans.fit(features, 5, seed=2)
    np.testing.assert_array_equal(parts.cluster, whole.cluster)
    np.testing.assert_allclose(parts.centroid, whole.centroid, rtol=1e-5)
    for c in range(5):
        np.testing.assert_allclose(whole.centroid[c], features[whole.cluster == c].mean(0), rtol=1e-5)


def test_seeds_are_drawn_by_squared_distance(rng):
    """Over many draws, the second seed's frequencies follow squared distances to the first."""
    features = rng.normal(size=(6, 2)).astype(np.float32)
    (_, block, numbers), *_ = blocks.placed(features, 2)
    start = jnp.where(numbers < 6, jnp.inf, -1.0)  # padding has -1
    draw = jax.jit(jax.vmap(lambda key: kmeans._draw(block, numbers, start, features[4], 4, key, 1)[2][0]))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(1), 4000)))
    square = np.sum((features - features[4]) ** 2, axis=1)
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 4000, square / square.sum(), atol=0.03)


def test_candidates_differ_and_the_best_of_them_becomes_the_seed(rng, monkeypatch):
    """Compares with a loop over the candidates, in blocks of seven rows on each device."""
    features = rng.normal(size=(101, 6)).astype(np.float32)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * (5 + 12) * 7)
    offered = []
    real = kmeans._potential
    monkeypatch.setattr(kmeans, "_potential", lambda *a: offered.append(a[2]) or real(*a))
    parts = list(blocks.placed(features, 5 + 12))
    seeds = kmeans._seeds(features, parts, 5, np.random.default_rng(1))
    assert len(seeds) == 5
    for i in range(1, 5):
        candidates = offered[(i - 1) * len(parts)]
        assert len(np.unique(candidates, axis=0)) == 3  # 2 + int(log(5))
        left = [potential(features, [*seeds[:i], candidate]) for candidate in candidates]
        np.testing.assert_array_equal(seeds[i], candidates[np.argmin(left)])


def potential(features, seeds):
    """The sum of squared distances to the nearest seed."""
    return np.sum(np.min(np.sum((features[:, None].astype(float) - np.array(seeds)[None]) ** 2, axis=-1), axis=1))


def test_seeds_are_as_good_as_scikit_learns():
    """Compares means of ten draws; plain k-means++ leaves a third more inertia."""
    features = make_blobs(1000, 16, centers=25, cluster_std=3.0, random_state=1)[0].astype(np.float32)
    parts = list(blocks.placed(features, 25 + 32))
    ours = [kmeans._seeds(features, parts, 25, np.random.default_rng(seed)) for seed in range(10)]
    theirs = [kmeans_plusplus(features, 25, random_state=seed)[0] for seed in range(10)]
    ours, theirs = (np.mean([potential(features, seeds) for seeds in found]) for found in (ours, theirs))
    assert ours < 1.03 * theirs


def test_clusters_of_the_digits_are_as_good_as_scikit_learns():
    pixels = load_digits().data.astype(np.float32)
    assert kmeans.fit(pixels, 10).inertia < 1.01 * KMeans(10, n_init=10, random_state=0).fit(pixels).inertia_


def test_as_many_clusters_as_examples_and_equal_examples():
    assert kmeans.fit(LINE, 5).inertia == 0
    assert len(kmeans.fit(np.zeros((4, 2)), 3).centroid) == 3
    assert kmeans.fit(LINE, 1).centroid[0, 0] == pytest.approx(LINE.mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kmeans.fit(LINE, 6), "k = 6 clusters of 5 examples"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
