"""A training of a learner on made-up predictions, step by step."""

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax import learners
from semiprune_jax.learners.learner import Memory, Options, Seen

N, C, BATCH, STEPS = 12, 3, 8, 30
OPTIONS = Options(classes=C, n=N, steps=STEPS, threshold=0.7)


def batches(rng):
    """Probabilities f32[B, C] that grow surer, ids (some twice), and a mask that leaves the last two rows out."""
    for step in range(STEPS):
        logits = rng.normal(size=(BATCH, C)) * (1 + step / 5)
        logits[:, 0] += 1.0  # a class that is found sooner
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        yield p.astype(np.float32), rng.integers(0, N, BATCH), np.arange(BATCH) < BATCH - 2


def seen(p, ids, mask, step=0):
    """A batch as a learner sees it on a single device."""

    def locate(rows, values):
        return jnp.where(mask, ids, rows + jnp.arange(len(ids))), values

    return Seen(jnp.asarray(p), jnp.asarray(ids), jnp.asarray(mask, jnp.float32), jnp.int32(step), lambda x: x, locate)


def run(name, rng, alignment=None, **later):
    """The learner, its memory, its targets and its batch, step by step.

    ``later`` replaces parts of its first memory, as many more steps would.
    """
    learner = learners.create(name, OPTIONS, alignment)
    begun = learner.init() | jax.tree.map(jnp.asarray, later) if later else learner.init()
    memory = Memory(begun, learner.init_examples(N) if learner.init_examples else None)
    step_on = jax.jit(lambda memory, p, ids, mask, step: learner.targets(memory, seen(p, ids, mask, step)))
    for step, (p, ids, mask) in enumerate(batches(rng)):
        memory, targets = step_on(memory, p, ids, mask, step)
        yield learner, memory, targets, (p.astype(float)[mask].tolist(), ids[mask].tolist(), mask)


def assert_same(targets, mask, labels, weights):
    np.testing.assert_array_equal(targets.target[mask], labels)
    np.testing.assert_allclose(targets.weight[mask], weights, rtol=1e-4, atol=1e-6)
