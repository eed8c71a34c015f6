"""Pools that lie in memory."""

import numpy as np

from semiprune_jax.data.memory import MemoryArrays, fetch
from tests import small


def test_fetch_masks_padding():
    images, labels = small.pool(5)
    batch = fetch(MemoryArrays.of(images, labels), np.array([3, 5, 0]))
    assert batch["mask"].tolist() == [True, False, True]
    np.testing.assert_array_equal(batch["image"][0], images[3])
    assert batch["label"][2] == labels[0]
    assert batch["id"].tolist() == [3, 5, 0]
