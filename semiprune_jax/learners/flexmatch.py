"""FlexMatch: a threshold of each class's own, lower where few examples are learned (arXiv:2110.08263; USB)."""

import jax
import jax.numpy as jnp

from semiprune_jax.learners.learner import Learner, Memory, Options, Seen, Targets


def create(options: Options) -> Learner:
    """Remembers of each example the class it was last confidently taken for, and how many there are of each.

    The share beta_c of a class is its count over the largest one, that of never confident examples included (USB's
    ``thresh_warmup``); its threshold is threshold * beta / (2 - beta). A step's threshold goes by the counts before it.
    """
    never = options.classes

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        best, label = jnp.max(seen.probabilities, axis=-1), jnp.argmax(seen.probabilities, axis=-1)
        counts = memory.shared
        beta = counts[:never] / jnp.max(counts)
        weight = best >= options.threshold * (beta / (2.0 - beta))[label]
        sure = (best >= options.threshold) & (seen.mask > 0)
        taken = memory.examples
        rows, new = seen.locate(len(taken), {"id": seen.id, "label": label, "sure": sure})
        # Streams chain whole permutations, so that an example may be in a batch twice: its later place counts.
        again = jnp.triu((new["id"][:, None] == new["id"][None]) & new["sure"][None], k=1).any(axis=1)
        rows = jnp.where(new["sure"] & ~again, rows, len(taken) + jnp.arange(len(rows)))
        here = (rows < len(taken)).astype(jnp.float32)[:, None]
        before = taken.at[rows].get(mode="fill", fill_value=never)
        moved = jax.nn.one_hot(new["label"], never + 1) - jax.nn.one_hot(before, never + 1)
        counts = counts + seen.total(jnp.sum(here * moved, axis=0))
        taken = taken.at[rows].set(new["label"].astype(taken.dtype), mode="drop", unique_indices=True)
        return Memory(counts, taken), Targets(label, weight.astype(jnp.float32))

    return Learner(
        targets,
        init=lambda: jnp.zeros(never + 1).at[never].set(options.n),
        init_examples=lambda rows: jnp.full(rows, never, jnp.int32),
        threshold=options.threshold,
    )
