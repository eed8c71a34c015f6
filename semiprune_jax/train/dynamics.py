"""The per-example record of a training run, kept on the device and sharded over examples.

Each epoch fills one column. No logits are stored: every score of ``scores.py`` is a function of these arrays, so a run
can be scored again without training. They take 13 bytes per example and epoch.
"""

import flax.struct
import jax
import jax.numpy as jnp


class Dynamics(flax.struct.PyTreeNode):
    """The record of one training run: rows are examples, columns are epochs."""

    p_label: jax.Array  # f32[N, T], probability of the label trained on
    p_other: jax.Array  # f32[N, T], largest probability of any other class
    correct: jax.Array  # bool[N, T], the label was the most probable class
    el2n: jax.Array  # f32[N, T], ||p - onehot(label)||_2
    # Recorded on request:
    entropy: jax.Array | None = None  # f32[N, T], nats
    # f32[N, T], norm of the loss's gradient by the last layer: ||p - onehot(label)|| sqrt(||features||^2 + 1)
    grad_norm: jax.Array | None = None
    kl: jax.Array | None = None  # f32[N, T], sum_c |p_c (log p_c - log p'_c)|, p' of the epoch before; 0 in the first
    previous: jax.Array | None = None  # f32[N, C], probabilities of the last epoch, which kl needs; not a result


def init(n: int, epochs: int, *, entropy: bool = False, grad_norm: bool = False, kl_classes: int = 0) -> Dynamics:
    """An all-zero record of ``n`` rows (padding included) and ``epochs`` columns.

    Args:
      entropy, grad_norm: whether to record them.
      kl_classes: C, to record how far predictions move between epochs (TDDS), which takes [n, C] floats; 0: do not.
    """

    def zeros(dtype: type = jnp.float32) -> jax.Array:
        return jnp.zeros((n, epochs), dtype)  # each its own, so that a record can be donated

    record = Dynamics(zeros(), zeros(), zeros(bool), zeros(), zeros() if entropy else None)
    record = record.replace(grad_norm=zeros()) if grad_norm else record
    return record.replace(kl=zeros(), previous=jnp.zeros((n, kl_classes))) if kl_classes else record


def results(record: Dynamics) -> dict[str, jax.Array]:
    """The arrays [N, T] that are saved of a finished record, by name.

    >>> list(results(init(3, epochs=2)))
    ['p_label', 'p_other', 'correct', 'el2n']
    """
    return {name: value for name, value in vars(record).items() if value is not None and name != "previous"}


def observe(logits: jax.Array, label: jax.Array, features: jax.Array | None = None) -> dict[str, jax.Array]:
    """The fields of ``Dynamics`` for one batch of logits [B, C] and labels i32[B]; each value is [B].

    With the features [B, D] that the last layer saw, grad_norm is among them. "previous" holds the probabilities
    [B, C], from which ``update`` makes kl in the next epoch.

    Probabilities are float32 softmax. The first of tied classes counts as predicted, as in argmax. EL2N (Paul et al.,
    arXiv:2107.07075) is computed as a norm: the released code's sqrt(sum_c p_c^2 - 2 p_y + 1) cancels in float32 and
    gives every well-fitted example 0 or the same few multiples of 2e-4.

    >>> seen = observe(jnp.log(jnp.array([[0.7, 0.2, 0.1]])), jnp.array([1]))
    >>> round(float(seen["p_other"][0]), 3), bool(seen["correct"][0])
    (0.7, False)
    """
    p = jax.nn.softmax(logits.astype(jnp.float32))
    is_label = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
    p_label = jnp.sum(jnp.where(is_label, p, 0.0), axis=-1)
    # The same as argmax(p) == label, which takes six times as long on a CPU as all the rest.
    before = jnp.arange(logits.shape[-1])[None] < label[:, None]
    below = jnp.where(before, p < p_label[:, None], p <= p_label[:, None])
    seen = {
        "p_label": p_label,
        "p_other": jnp.max(jnp.where(is_label, -1.0, p), axis=-1),
        "correct": jnp.all(below, axis=-1),
        "el2n": jnp.linalg.norm(p - is_label, axis=-1),
        "entropy": -jnp.sum(p * jnp.log(p + 1e-10), axis=-1),
        "previous": p,
    }
    if features is not None:
        # The gradient by a layer's matrix is an outer product, whose norm is a product of norms; 1 is its bias's part.
        size = jnp.sum(features.astype(jnp.float32) ** 2, axis=-1)
        seen["grad_norm"] = seen["el2n"] * jnp.sqrt(size + 1.0)
    return seen


def update(record: Dynamics, rows: jax.Array, column: jax.Array, seen: dict[str, jax.Array]) -> Dynamics:
    """Writes one batch into a column.

    Args:
      record: the record, or one shard of it.
      rows: i32[B], the row of each example, all different. Rows past the end are dropped, which leaves out padding
        and the examples of other shards.
      column: i32 scalar, the epoch.
      seen: the values of ``observe``. Fields that the record does not keep are ignored.

    >>> seen = observe(jnp.zeros((2, 4)), jnp.array([0, 1]))
    >>> record = update(init(3, epochs=1), rows=jnp.array([2, 0]), column=0, seen=seen)
    >>> record.p_label[:, 0]
    Array([0.25, 0.  , 0.25], dtype=float32)
    """

    def write(name: str, values: jax.Array) -> jax.Array:
        array, at = getattr(record, name), rows if name == "previous" else (rows, column)
        # A set, never an add: float scatter-add with repeated indices is a slow loop on some GPUs.
        return array.at[at].set(values.astype(array.dtype), mode="drop", unique_indices=True)

    if record.previous is not None:
        p, before = seen["previous"], record.previous.at[rows].get(mode="fill", fill_value=1.0)
        # TDDS (arXiv:2311.13613): the absolute terms of a divergence.
        moved = jnp.sum(jnp.abs(p * (jnp.log(p + 1e-8) - jnp.log(before + 1e-8))), axis=-1)
        seen = seen | {"kl": jnp.where(column > 0, moved, 0.0)}
    kept = {name: value for name, value in seen.items() if getattr(record, name) is not None}
    return record.replace(**{name: write(name, value) for name, value in kept.items()})
