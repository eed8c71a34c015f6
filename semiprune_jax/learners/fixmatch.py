"""FixMatch: a confident prediction of the weak view teaches the strong view (arXiv:2001.07685; USB ``fixmatch``)."""

import jax.numpy as jnp

from semiprune_jax.learners.learner import Learner, Memory, Options, Seen, Targets


def create(options: Options) -> Learner:
    """The target is the most probable class; it counts if its probability is ``options.threshold`` or more."""

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        confident = jnp.max(seen.probabilities, axis=-1) >= options.threshold
        return memory, Targets(jnp.argmax(seen.probabilities, axis=-1), confident.astype(jnp.float32))

    return Learner(targets, threshold=options.threshold)
