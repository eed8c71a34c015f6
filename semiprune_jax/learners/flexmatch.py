"""FlexMatch: each class has its own threshold, lower if few examples of it are learned (arXiv:2110.08263; USB)."""

import jax
import jax.numpy as jnp

from semiprune_jax.learners.learner import Learner, Memory, Options, Seen, Targets


def create(options: Options) -> Learner:
    """Remembers the last confident prediction of each example, and the number of examples per predicted class.

    The share beta_c of a class is its count over the largest count, where examples without a confident prediction count
    as one more class (USB's ``thresh_warmup``). Its threshold is threshold * beta / (2 - beta), by the counts of the
    step before.
    """
    never = options.classes

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        best, label = jnp.max(seen.probabilities, axis=-1), jnp.argmax(seen.probabilities, axis=-1)
        counts = memory.shared
        beta = counts[:never] / jnp.max(counts)
        weight = best >= options.threshold * (beta / (2.0 - beta))[label]
        sure = (best >= options.threshold) & (seen.mask > 0)
        last = memory.examples
        rows, new = seen.locate(len(last), {"id": seen.id, "label": label, "sure": sure})
        # Streams chain whole permutations, so a batch may hold an example twice: its later row counts.
        again = jnp.triu((new["id"][:, None] == new["id"][None]) & new["sure"][None], k=1).any(axis=1)
        rows = jnp.where(new["sure"] & ~again, rows, len(last) + jnp.arange(len(rows)))
        here = (rows < len(last)).astype(jnp.float32)[:, None]
        before = last.at[rows].get(mode="fill", fill_value=never)
        moved = jax.nn.one_hot(new["label"], never + 1) - jax.nn.one_hot(before, never + 1)
        counts = counts + seen.total(jnp.sum(here * moved, axis=0))
        last = last.at[rows].set(new["label"].astype(last.dtype), mode="drop", unique_indices=True)
        return Memory(counts, last), Targets(label, weight.astype(jnp.float32))

    return Learner(
        targets,
        init=lambda: jnp.zeros(never + 1).at[never].set(options.n),
        init_examples=lambda rows: jnp.full(rows, never, jnp.int32),
        threshold=options.threshold,
    )
