"""Pseudo-labelling (Lee, 2013), as in USB: each image learns its own predicted class, with a growing weight."""

import jax.numpy as jnp

from semiprune_jax.learners import fixmatch
from semiprune_jax.learners.learner import Learner, Memory, Options, Seen, Targets

WARM_UP = 0.4  # share of the steps over which the weight rises from 0 to 1


def create(options: Options) -> Learner:
    """FixMatch without strong views, with a weight that rises over the first 40% of the steps.

    USB predicts unlabelled images with frozen batch statistics; here they go through the network together with the
    labelled images, as in FixMatch.
    """
    plain = fixmatch.create(options)

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        memory, targets = plain.targets(memory, seen)
        ramp = jnp.minimum(seen.step / (WARM_UP * options.steps), 1.0)
        return memory, targets._replace(weight=ramp * targets.weight)

    return plain._replace(targets=targets)
