"""Losses: cross entropy and FixMatch's pseudo-label targets. Pure functions of arrays.

All losses are computed in float32 whatever the networks compute in.
"""

from typing import NamedTuple

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


class PseudoLabels(NamedTuple):
    """FixMatch's targets for one unlabelled batch."""

    target: jax.Array  # i32[B], argmax of the weak view
    confident: jax.Array  # bool[B], the largest probability is at least the threshold
    probabilities: jax.Array  # f32[B, C]


def fixmatch_targets(weak_logits: jax.Array, threshold: float) -> PseudoLabels:
    """Hard pseudo-labels of the weak views [B, C]; no gradient flows through them.

    Only the *logits* are stopped: in the joint forward pass the weak images still shape the batch-norm
    statistics of the other rows. (FixMatch, arXiv:2001.07685; USB ``algorithms/fixmatch``.)

    >>> found = fixmatch_targets(jnp.array([[9.0, 0.0], [0.1, 0.2]]), threshold=0.95)
    >>> found.target, found.confident
    (Array([0, 1], dtype=int32), Array([ True, False], dtype=bool))
    """
    p = jax.nn.softmax(jax.lax.stop_gradient(weak_logits).astype(jnp.float32))
    return PseudoLabels(jnp.argmax(p, axis=-1), jnp.max(p, axis=-1) >= threshold, p)
