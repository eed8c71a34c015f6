"""The per-example record of a training run, kept on the device and sharded over examples.

One column a visit. No logits are stored: every score of ``scores.py`` is a function of these arrays, 13
bytes an example and visit, so a run can be scored again without training.
"""

import flax.struct
import jax
import jax.numpy as jnp


class Dynamics(flax.struct.PyTreeNode):
    """What one training run saw of every example: rows are examples, columns epochs."""

    p_label: jax.Array  # f32[N, T], probability of the label trained on
    p_other: jax.Array  # f32[N, T], largest probability of any other class
    correct: jax.Array  # bool[N, T], the label was the most probable class
    el2n: jax.Array  # f32[N, T], ||p - onehot(label)||_2
    entropy: jax.Array | None = None  # f32[N, T], nats; recorded on request


def init(n: int, epochs: int, *, entropy: bool = False) -> Dynamics:
    """An all-zero record of ``n`` rows (padding included) and ``epochs`` columns."""

    def zeros(dtype: type = jnp.float32) -> jax.Array:
        return jnp.zeros((n, epochs), dtype)  # each its own, so that a record can be donated

    return Dynamics(zeros(), zeros(), zeros(bool), zeros(), zeros() if entropy else None)


def observe(logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
    """The fields of ``Dynamics`` for one batch of logits [B, C] and labels i32[B]; each value is [B].

    Probabilities are float32 softmax. Ties count as correct only when the label comes first, as argmax does.
    EL2N (Paul et al., arXiv:2107.07075) is taken as the norm that it is: sqrt(sum_c p_c^2 - 2 p_y + 1), as the released
    code has it, cancels in float32, and calls every well-fitted example 0 or the same few multiples of 2e-4.

    >>> seen = observe(jnp.log(jnp.array([[0.7, 0.2, 0.1]])), jnp.array([1]))
    >>> round(float(seen["p_other"][0]), 3), bool(seen["correct"][0])
    (0.7, False)
    """
    p = jax.nn.softmax(logits.astype(jnp.float32))
    is_label = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
    p_label = jnp.sum(jnp.where(is_label, p, 0.0), axis=-1)
    # argmax(p) == label, of equals the first; an argmax takes six times as long on a CPU as all the rest.
    before = jnp.arange(logits.shape[-1])[None] < label[:, None]
    below = jnp.where(before, p < p_label[:, None], p <= p_label[:, None])
    return {
        "p_label": p_label,
        "p_other": jnp.max(jnp.where(is_label, -1.0, p), axis=-1),
        "correct": jnp.all(below, axis=-1),
        "el2n": jnp.linalg.norm(p - is_label, axis=-1),
        "entropy": -jnp.sum(p * jnp.log(p + 1e-10), axis=-1),
    }


def update(record: Dynamics, rows: jax.Array, column: jax.Array, seen: dict[str, jax.Array]) -> Dynamics:
    """Writes one batch into a column.

    Args:
      record: the record, or one shard of it.
      rows: i32[B], row of each example; no two alike, and rows past the end are dropped, which is how
        padding and other shards' examples leave no trace.
      column: i32 scalar, the epoch.
      seen: what ``observe`` returned. Fields the record does not keep are ignored.

    >>> seen = observe(jnp.zeros((2, 4)), jnp.array([0, 1]))
    >>> record = update(init(3, epochs=1), rows=jnp.array([2, 0]), column=0, seen=seen)
    >>> record.p_label[:, 0]
    Array([0.25, 0.  , 0.25], dtype=float32)
    """

    def write(array: jax.Array, values: jax.Array) -> jax.Array:
        # A set, never an add: float scatter-add with repeated indices is a slow loop on some GPUs.
        return array.at[rows, column].set(values.astype(array.dtype), mode="drop", unique_indices=True)

    kept = {name: value for name, value in seen.items() if getattr(record, name) is not None}
    return record.replace(**{name: write(getattr(record, name), value) for name, value in kept.items()})
