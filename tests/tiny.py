"""A network of one convolution, for tests of what surrounds a network; importing ``tests.small`` registers it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from semiprune_jax.models.batch_norm import BatchNorm


class Tiny(nn.Module):
    """A convolution, batch norm and the mean over pixels; it is compiled in half the time of the smallest ResNet."""

    num_classes: int
    width: int
    bn_momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask=None, axis_name=None) -> tuple[jax.Array, jax.Array]:
        x = nn.Conv(self.width, (3, 3), use_bias=False)(x)
        x = BatchNorm(self.bn_momentum)(x, train=train, mask=mask, axis_name=axis_name)
        features = 4 * nn.relu(x).mean(axis=(1, 2))  # large enough to learn the pool of ``small`` in a few steps
        return nn.Dense(self.num_classes)(features), features
