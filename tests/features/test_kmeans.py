"""Clusters beside SciPy's and scikit-learn's, and on points whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster.vq import kmeans2

from semiprune_jax.features import blocks, kmeans

LINE = np.array([[0.0], [1.0], [3.0], [7.0], [7.5]])


def blobs(rng, n=60, apart=20.0):
    """Two clear clouds of n points in three dimensions, and which is which."""
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kmeans.fit(LINE, 6), "k = 6 clusters of 5 examples"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
