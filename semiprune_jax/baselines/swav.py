"""SwAV's training step: swapped predictions of balanced codes (Caron et al., arXiv:2006.09882). Pure.

As ELFS trains an encoder of its own on the pool. The batch is that of ``steps``; no label is read.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from semiprune_jax.augment.views import View
from semiprune_jax.models import Network
from semiprune_jax.randomness import row_keys
from semiprune_jax.train.state import TrainState, advance

ROUNDS = 3  # of Sinkhorn's normalisation


def sinkhorn(
    scores: jax.Array, mask: jax.Array, epsilon: float, axis_name: str | None = None, rounds: int = ROUNDS
) -> jax.Array:
    """Codes f32[B, K] of scores f32[B, K]: rows sum to 1, and over the batch all prototypes are used alike.

    Args:
      mask: f32[B], 0 for padding, whose codes are 0.
      epsilon: how soft; the smaller, the nearer to one prototype a row.
      rounds: of making columns alike, then rows.

    >>> codes = sinkhorn(jnp.array([[1.0, 0.0], [0.9, 0.0]]), jnp.ones(2), epsilon=0.05, rounds=100)
    >>> [round(float(share), 2) for share in codes.sum(axis=0)]
    [1.0, 1.0]
    """

    top = jnp.max(scores)
    top = jax.lax.pmax(top, axis_name) if axis_name else top
    q = jnp.exp((scores - top) / epsilon) * mask[:, None]
    for _ in range(rounds):
        q = q / jnp.maximum(_total(jnp.sum(q, axis=0), axis_name), 1e-30)[None]
        q = q / jnp.maximum(jnp.sum(q, axis=1, keepdims=True), 1e-30)
    return q


def swapped_loss(
    scores: Sequence[jax.Array], mask: jax.Array, temperature: float, epsilon: float, axis_name: str | None = None
) -> jax.Array:
    """Sum over this share of a batch of the loss of each row, f32[].

    Args:
      scores: [B, K] of each crop; the codes are those of the first two, and all other crops are to predict them.
    """
    predictions = [jax.nn.log_softmax(crop / temperature) for crop in scores]
    loss = jnp.float32(0.0)
    for own in (0, 1):
        code = sinkhorn(jax.lax.stop_gradient(scores[own]), mask, epsilon, axis_name)
        others = [p for crop, p in enumerate(predictions) if crop != own]
        loss -= sum(jnp.sum(code * p) for p in others) / len(others)
    return loss / 2.0


def swav_step(
    state: TrainState,
    record: None,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *,
    model: Network,
    tx: optax.GradientTransformation,
    views: Sequence[tuple[View, int]],
    temperature: float,
    epsilon: float,
    frozen_steps: int,
    axis_name: str | None = None,
) -> tuple[TrainState, None, dict[str, jax.Array]]:
    """One step.

    Args:
      views: of whole batches, each with how many crops it makes of an image, those of the codes first; crops of one
        size go through the network together.
      frozen_steps: steps at the start in which the prototypes stay.

    Returns:
      State, no record, and metrics: loss.
    """
    size, crops = batch["id"].shape[0], sum(copies for _, copies in views)
    # The draws of one image lie together, so that a shard of the batch stays a shard.
    keys = row_keys(key, state.step, size * crops, axis_name).reshape(size, crops)
    images, made = [], 0
    for view, copies in views:
        part = keys[:, made : made + copies].reshape(-1)
        images.append(view(part, jnp.repeat(batch["image"], copies, axis=0)))
        made += copies
    mask = batch["mask"].astype(jnp.float32)
    count = _total(jnp.sum(mask), axis_name)

    def loss_fn(params):
        scores, stats = [], state.batch_stats
        for x, (_, copies) in zip(images, views, strict=True):
            rows = jnp.repeat(batch["mask"], copies)
            logits, _, stats = model.apply(params, stats, x, train=True, mask=rows, axis_name=axis_name)
            by_crop = logits.astype(jnp.float32).reshape(size, copies, -1)
            scores += [by_crop[:, crop] for crop in range(copies)]
        return swapped_loss(scores, mask, temperature, epsilon, axis_name) / count, stats

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    grads, loss = _total((grads, loss), axis_name)
    moves = (state.step >= frozen_steps).astype(jnp.float32)
    grads = grads | {"prototypes": jax.tree.map(lambda g: moves * g, grads["prototypes"])}
    new = advance(state, tx, grads, stats)
    return new.replace(params=new.params | {"prototypes": normalised(new.params["prototypes"])}), None, {"loss": loss}


def _total(tree, axis_name: str | None):
    return jax.lax.psum(tree, axis_name) if axis_name else tree


def normalised(prototypes: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Prototypes, the columns of the kernel, at length 1."""
    return jax.tree.map(lambda w: w / jnp.linalg.norm(w, axis=0, keepdims=True), prototypes)
