"""Initial weights with PyTorch's distributions. Kernels are [..., in, out], biases [out].

Weights are drawn in one dimension and then reshaped. The numbers are the same, but XLA needs one to three seconds to
compile a random generator over four short dimensions, and 0.2 for one long dimension; a network has one per kernel.
"""

import math

import jax
import jax.numpy as jnp


def he_fan_out(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Normal with variance 2 / fan_out, fan_out = k * k * channels out, as in torchvision's ResNets and USB's WRN."""
    return _normal(key, shape, dtype, 2.0 / (math.prod(shape[:-2]) * shape[-1]))


def xavier_normal(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """A matrix, normal with variance 2 / (fan_in + fan_out); flax's initializer of the same name truncates."""
    return _normal(key, shape, dtype, 2.0 / sum(shape))


def uniform_fan_in(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Uniform in +-1/sqrt(fan_in): PyTorch's default for convolutions and linear layers."""
    return uniform(key, shape, dtype, math.prod(shape[:-1]))


def uniform(key: jax.Array, shape: tuple[int, ...], dtype, fan_in: int) -> jax.Array:
    """The same for arrays whose shape does not show their fan_in, such as a bias."""
    bound = 1.0 / math.sqrt(fan_in)
    return jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound).reshape(shape)


def _normal(key: jax.Array, shape: tuple[int, ...], dtype, variance: float) -> jax.Array:
    drawn = jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)
    return drawn * jnp.sqrt(jnp.asarray(variance, dtype))
