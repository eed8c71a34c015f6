"""Losses. Pure functions of arrays, computed in float32 whatever the networks compute in."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """f32[B]: negative log likelihood (nats) of ``label`` i32[B] under ``logits`` [B, C].

    A label outside 0..C-1 has no class to be likely and costs 0; callers mask such rows.

    >>> cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).round(3)  # ln 2
    Array([0.693], dtype=float32)
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.sum(log_p * jax.nn.one_hot(label, logits.shape[-1]), axis=-1)
