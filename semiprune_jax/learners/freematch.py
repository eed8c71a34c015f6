"""FreeMatch: thresholds that follow the network's own confidence (arXiv:2205.07246; USB ``freematch``)."""

import jax
import jax.numpy as jnp

from semiprune_jax.learners.learner import DECAY, Learner, Memory, Options, Seen, Targets, average, normalised
from semiprune_jax.moving_average import ema_update

FAIRNESS = 0.001  # weight of the fairness loss, as in all of USB's configs


def create(options: Options) -> Learner:
    """A global threshold tau, scaled for each class by its mean probability, and a loss of self-adaptive fairness.

    tau, the mean probabilities p and the shares h of predicted classes are moving averages over batches; the current
    batch updates them before they are used. The loss is sum_c P_c log M_c with P ~ p / h and M ~ the mean strong
    prediction over the images that count, divided by the shares of their predicted classes.
    """

    def init():
        uniform = jnp.full(options.classes, 1.0 / options.classes)
        return {"tau": uniform[0], "p": uniform, "h": jnp.array(uniform)}

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        best, label = jnp.max(seen.probabilities, axis=-1), jnp.argmax(seen.probabilities, axis=-1)
        hard = jax.nn.one_hot(label, options.classes)
        now = average({"tau": best, "p": seen.probabilities, "h": hard}, seen)
        shared = ema_update(memory.shared, now, DECAY)
        threshold = shared["tau"] * shared["p"][label] / jnp.max(shared["p"])
        return Memory(shared), Targets(label, (best >= threshold).astype(jnp.float32))

    def aux_loss(shared, strong: jax.Array, targets: Targets, seen: Seen) -> jax.Array:
        q = jax.nn.softmax(strong)
        counted = seen.mask * targets.weight
        predicted = jax.nn.one_hot(jnp.argmax(q, axis=-1), options.classes)
        sums = {"q": jnp.sum(counted[:, None] * q, axis=0), "h": jnp.sum(counted[:, None] * predicted, axis=0)}
        whole = jax.lax.stop_gradient(seen.total(sums))
        # Each device of a batch differentiates its own share of the sum ...
        mean = whole["q"] + sums["q"] - jax.lax.stop_gradient(sums["q"])
        m, p = normalised(_over(mean, whole["h"])), normalised(_over(shared["p"], shared["h"]))
        loss = FAIRNESS * jnp.where(jnp.sum(whole["h"]) > 0, jnp.sum(p * jnp.log(m + 1e-12)), 0.0)
        # ... and adds its own share of the loss.
        return loss - (1.0 - 1.0 / seen.total(jnp.float32(1.0))) * jax.lax.stop_gradient(loss)

    return Learner(targets, init=init, aux_loss=aux_loss)


def _over(values: jax.Array, shares: jax.Array) -> jax.Array:
    """values / shares, and 0 where a share is 0."""
    return jnp.where(shares > 0, values / jnp.where(shares > 0, shares, 1.0), 0.0)
