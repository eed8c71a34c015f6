"""The bicubic interpolation of a vision transformer's positions."""

import numpy as np

from semiprune_jax.models import vit


def test_positions_of_another_grid():
    """The weights of each new patch sum to 1 and belong to its four neighbours in the old grid."""
    weights = vit.bicubic(37, 16)
    assert weights.shape == (16, 37)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert np.count_nonzero(weights, axis=1).max() == 4
    assert np.all(np.abs(weights.argmax(axis=1) - ((np.arange(16) + 0.5) * 37 / 16.1 - 0.5)) <= 0.5)
