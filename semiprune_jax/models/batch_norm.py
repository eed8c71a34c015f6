"""Batch normalisation over the whole global batch, padding left out, with PyTorch's running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
    """Normalises each channel of [B, H, W, C] with the statistics of the unmasked rows of the global batch.

    Flax's own averages the devices' means, which is wrong for unevenly masked shards and NaN for an empty one.
    Here sums, squares and counts are summed over the batch first (and over ``axis_name``, when mapped). As in
    PyTorch the batch is normalised by the biased variance while the unbiased one enters the running variance.

    Attributes:
      momentum: part of the old running statistics that is kept (PyTorch's 1 - momentum).
      epsilon: added to the variance.
    """

    momentum: float
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None, axis_name: str | None) -> jax.Array:
        """Args: x [B, H, W, C]; train; mask bool[B] or None for all rows; axis_name of a mapped batch."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)

        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train:
            mean, var, count = _moments(wide, mask, axis_name)
            if not self.is_initializing():
                unbiased = var * count / jnp.maximum(count - 1.0, 1.0)
                running_mean.value = self.momentum * running_mean.value + (1.0 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1.0 - self.momentum) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        offset = bias - mean * factor
        # In float32 at least, and rounded once: gradients of factor and offset are sums over the batch, which
        # bfloat16 loses (on a CPU an update of a WRN was off by 0.9 of its length; now by 0.1, PyTorch's by 0.08).
        return (wide * factor[None, None, None] + offset[None, None, None]).astype(x.dtype)


def _moments(x: jax.Array, mask: jax.Array | None, axis_name: str | None):
    """Mean and biased variance of each channel, and how many values each is over."""
    values = jnp.float32(x.shape[1] * x.shape[2])
    if mask is None:
        count = x.shape[0] * values
    else:
        weight = mask.astype(jnp.float32)
        x = x * weight[:, None, None, None]
        count = jnp.sum(weight) * values
    sums = (jnp.sum(x, axis=(0, 1, 2)), jnp.sum(x * x, axis=(0, 1, 2)), count)
    total, squares, count = jax.lax.psum(sums, axis_name) if axis_name else sums
    count = jnp.maximum(count, 1.0)
    mean = total / count
    return mean, jnp.maximum(squares / count - mean * mean, 0.0), count
