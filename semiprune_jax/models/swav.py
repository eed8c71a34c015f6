"""SwAV's network: an encoder, a projection onto the sphere, and prototypes on it (Caron et al., arXiv:2006.09882)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from semiprune_jax.models.batch_norm import BatchNorm

HIDDEN, WIDTH = 2048, 128  # dimensions of the projection's hidden layer, and of its output


class SwavNetwork(nn.Module):
    """Cosines of the prototypes with the encoder's features after two linear layers.

    Attributes:
      encoder: returns (anything, features f32[B, D]).
      prototypes: the number of prototypes, which are columns; the training keeps their length at 1.
    """

    encoder: nn.Module
    prototypes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask=None, axis_name=None):
        """x f32[B, H, W, 3] -> (scores f32[B, prototypes], the encoder's features f32[B, D])."""
        _, features = self.encoder(x, train=train, mask=mask, axis_name=axis_name)
        z = nn.Dense(HIDDEN, name="hidden")(features)
        z = BatchNorm(0.9, name="hidden_bn")(z[:, None, None], train=train, mask=mask, axis_name=axis_name)[:, 0, 0]
        z = nn.Dense(WIDTH, name="projection")(nn.relu(z))
        z = z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z**2, axis=-1, keepdims=True), 1e-24))
        return nn.Dense(self.prototypes, use_bias=False, name="prototypes")(z), features
