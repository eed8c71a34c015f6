"""Distribution alignment: predictions are divided by their average, so that classes get the shares they should have.

ReMixMatch's (arXiv:1911.09785), as USB's ``DistAlignEMAHook`` computes it. It helps on pools with a long tail, whose
rare classes a learner would otherwise never predict with confidence.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.learners.learner import DECAY, Learner, Memory, Seen, Targets, average, normalised
from semiprune_jax.moving_average import ema_update


def init_alignment(classes: int) -> dict[str, jax.Array]:
    """The moving average of predictions before the first batch."""
    return {"average": jnp.zeros(classes), "batches": jnp.zeros(())}


def align(memory: Any, target: jax.Array, seen: Seen) -> tuple[Any, jax.Array]:
    """The average after this batch (the first batch starts it), and the aligned probabilities f32[n, C].

    Args:
      target: f32[C], the shares that classes should have.
    """
    now = average(seen.probabilities, seen)
    mean = jnp.where(memory["batches"] > 0, ema_update(memory["average"], now, DECAY), now)
    aligned = normalised(seen.probabilities * ((target + 1e-6) / (mean + 1e-6))[None])
    return {"average": mean, "batches": memory["batches"] + 1.0}, aligned


def aligned(learner: Learner, shares: np.ndarray) -> Learner:
    """The learner; it gets aligned probabilities in place of the network's own.

    Args:
      shares: f32[C], the shares that classes should have.
    """
    target = jnp.asarray(shares, jnp.float32)

    def init():
        return {"learner": learner.init(), "alignment": init_alignment(len(target))}

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        alignment, p = align(memory.shared["alignment"], target, seen)
        own, targets = learner.targets(
            Memory(memory.shared["learner"], memory.examples), seen._replace(probabilities=p)
        )
        return Memory({"learner": own.shared, "alignment": alignment}, own.examples), targets

    def aux_loss(shared, strong: jax.Array, targets: Targets, seen: Seen) -> jax.Array:
        assert learner.aux_loss is not None
        return learner.aux_loss(shared["learner"], strong, targets, seen)

    return learner._replace(targets=targets, init=init, aux_loss=aux_loss if learner.aux_loss else None)
