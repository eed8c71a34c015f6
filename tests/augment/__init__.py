"""Images that the tests of augmentation share."""

import numpy as np

from tests.goldens import natural_images


def images(rng):
    """Noise of every contrast, smooth ramps, constants, and windows of photographs; square and not."""
    for i in range(12):
        shape = ((16, 16, 3), (11, 14, 3))[i % 2]
        low, high = sorted(rng.integers(0, 256, 2))
        noise = rng.integers(low, high + 1, shape)
        ramp = np.clip(np.cumsum(rng.normal(0, 6, shape), axis=1) + 100, 0, 255)
        yield (noise if i % 4 < 2 else ramp).astype(np.uint8)
    yield np.full((16, 16, 3), 37, np.uint8)
    yield from natural_images(8, 16)
    yield from natural_images(4, 32)[:, :, :27]
