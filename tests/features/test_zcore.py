"""ZCore against a loop over samples, and on points whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from semiprune_jax.features import blocks, zcore


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
    features[7] = features[3]  # one of the two is redundant
    noise = rng.random(50)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 16 * 50 * 64)  # blocks of 64 samples
    got = zcore.zcore(features, seed=5, samples=192, neighbours=10, noise=noise)
    spread, generator = np.quantile(features, [0, 0.5, 1], axis=0).astype(np.float32), np.random.default_rng(5)
    parts = [zcore.draw(generator, 64, spread) for _ in range(3)]
    draws = tuple(np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_allclose(got, zcore_by_loop(features, draws, 10, noise), atol=1e-4)


def test_zcore_of_twins_and_one_apart():
    """Five of six points fall nearer to the twins; the first twin covers them, the other is redundant."""
    score = zcore.zcore(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), samples=4000, noise=np.zeros(3))
    # The sums 5/6 - 1/12, -5/6 - 1/12 and 1/6, rescaled.
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
