"""How weights begin, with PyTorch's distributions. Kernels are [..., in, out], biases [out].

All are drawn in one dimension and then given their shape: the numbers are the same, but XLA compiles a random generator
over four short dimensions for one to three seconds, over one long one in 0.2, and a network has one for each kernel.
"""

import math

import jax
import jax.numpy as jnp


def he_fan_out(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Normal of variance 2 / fan_out, fan_out = k * k * channels out: torchvision's ResNets, and USB's WRN."""
    return _normal(key, shape, dtype, 2.0 / (math.prod(shape[:-2]) * shape[-1]))


def xavier_normal(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Normal of variance 2 / (fan_in + fan_out), of a matrix; flax's initializer of that name truncates."""
    return _normal(key, shape, dtype, 2.0 / sum(shape))


def uniform_fan_in(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Uniform in +-1/sqrt(fan_in): PyTorch's default for convolutions and linear layers."""
    return uniform(key, shape, dtype, math.prod(shape[:-1]))


def uniform(key: jax.Array, shape: tuple[int, ...], dtype, fan_in: int) -> jax.Array:
    """The same for what does not tell its fan_in by its shape, such as a bias."""
    bound = 1.0 / math.sqrt(fan_in)
    return jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound).reshape(shape)


def _normal(key: jax.Array, shape: tuple[int, ...], dtype, variance: float) -> jax.Array:
    drawn = jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)
    return drawn * jnp.sqrt(jnp.asarray(variance, dtype))
