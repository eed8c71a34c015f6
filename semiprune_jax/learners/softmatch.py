"""SoftMatch: every image counts, less certain images less than others (arXiv:2301.10921; USB ``softmatch``)."""

import jax.numpy as jnp

from semiprune_jax.learners.alignment import align, init_alignment
from semiprune_jax.learners.learner import DECAY, Learner, Memory, Options, Seen, Targets, average
from semiprune_jax.moving_average import ema_update

SIGMAS = 2.0  # the Gaussian is narrower than the confidences by this factor; USB's ``n_sigma``


def create(options: Options) -> Learner:
    """The weight is a Gaussian of the largest probability, after alignment to equal classes; 1 from its mean on.

    Mean and variance are moving averages; the current batch updates them before they are used. The target is the most
    probable class before alignment.
    """
    uniform = jnp.full(options.classes, 1.0 / options.classes)

    def init():
        return {"mean": jnp.array(1.0 / options.classes), "var": jnp.array(1.0), "p": init_alignment(options.classes)}

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        p, aligned = align(memory.shared["p"], uniform, seen)
        best = jnp.max(aligned, axis=-1)
        mean = average(best, seen)
        count = seen.total(jnp.sum(seen.mask))
        var = average((best - mean) ** 2, seen) * count / jnp.maximum(count - 1.0, 1.0)  # unbiased
        before = {"mean": memory.shared["mean"], "var": memory.shared["var"]}
        now = ema_update(before, {"mean": mean, "var": var}, DECAY)
        below = jnp.minimum(best - now["mean"], 0.0)
        weight = jnp.exp(-(below**2) * SIGMAS**2 / (2.0 * now["var"]))
        return Memory(now | {"p": p}), Targets(jnp.argmax(seen.probabilities, axis=-1), weight)

    return Learner(targets, init=init)
