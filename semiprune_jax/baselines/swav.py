"""SwAV: an encoder that is trained on the pool without labels (Caron et al., arXiv:2006.09882), as in ELFS.

Each crop of an image predicts the balanced codes of another one. The step is pure; it takes the batches of ``steps``
and reads no label.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from semiprune_jax import models
from semiprune_jax.augment.swav import crop_view
from semiprune_jax.augment.views import View
from semiprune_jax.data.samplers import EpochSampler
from semiprune_jax.distributed.collectives import psum
from semiprune_jax.models import Network
from semiprune_jax.randomness import row_keys
from semiprune_jax.train import state as states
from semiprune_jax.train import steps
from semiprune_jax.train.context import TrainContext
from semiprune_jax.train.state import TrainState, advance
from semiprune_jax.train.training import Training

ROUNDS = 3  # of Sinkhorn's normalisation


def sinkhorn(
    scores: jax.Array, mask: jax.Array, epsilon: float, axis_name: str | None = None, rounds: int = ROUNDS
) -> jax.Array:
    """Codes f32[B, K] of scores f32[B, K]: rows sum to 1, and the batch uses all prototypes equally.

    Args:
      mask: f32[B], 0 for padding, whose codes are 0.
      epsilon: softness of the codes; the smaller it is, the closer each row is to a single prototype.
      rounds: how many times columns, then rows, are normalised.

    >>> codes = sinkhorn(jnp.array([[1.0, 0.0], [0.9, 0.0]]), jnp.ones(2), epsilon=0.05, rounds=100)
    >>> [round(float(share), 2) for share in codes.sum(axis=0)]
    [1.0, 1.0]
    """

    top = jnp.max(scores)
    top = jax.lax.pmax(top, axis_name) if axis_name else top
    q = jnp.exp((scores - top) / epsilon) * mask[:, None]
    for _ in range(rounds):
        q = q / jnp.maximum(psum(jnp.sum(q, axis=0), axis_name), 1e-30)[None]
        q = q / jnp.maximum(jnp.sum(q, axis=1, keepdims=True), 1e-30)
    return q


def swapped_loss(
    scores: Sequence[jax.Array], mask: jax.Array, temperature: float, epsilon: float, axis_name: str | None = None
) -> jax.Array:
    """Sum of the losses of the rows of a batch, or of one device's share of it, f32[].

    Args:
      scores: [B, K] of each crop. The first two give codes, each of which all other crops predict.
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
    """One step of SwAV.

    Args:
      views: of whole batches, each with the number of crops that it makes of an image. The first one makes the crops
        that give codes. The crops of one view go through the network together.
      frozen_steps: steps at the start in which the prototypes stay as they are.

    Returns:
      State, no record, and metrics: loss.
    """
    size, crops = batch["id"].shape[0], sum(copies for _, copies in views)
    # The keys of one image lie together, so that a shard of the batch stays a shard.
    keys = row_keys(key, state.step, size * crops, axis_name).reshape(size, crops)
    images, made = [], 0
    for view, copies in views:
        part = keys[:, made : made + copies].reshape(-1)
        images.append(view(part, jnp.repeat(batch["image"], copies, axis=0)))
        made += copies
    mask = batch["mask"].astype(jnp.float32)
    count = psum(jnp.sum(mask), axis_name)

    def loss_fn(params):
        scores, stats = [], state.batch_stats
        for x, (_, copies) in zip(images, views, strict=True):
            rows = jnp.repeat(batch["mask"], copies)
            logits, _, stats = model.apply(params, stats, x, train=True, mask=rows, axis_name=axis_name)
            by_crop = logits.astype(jnp.float32).reshape(size, copies, -1)
            scores += [by_crop[:, crop] for crop in range(copies)]
        return swapped_loss(scores, mask, temperature, epsilon, axis_name) / count, stats

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    grads, loss = psum((grads, loss), axis_name)
    moves = (state.step >= frozen_steps).astype(jnp.float32)
    grads = grads | {"prototypes": jax.tree.map(lambda g: moves * g, grads["prototypes"])}
    new = advance(state, tx, grads, stats)
    return new.replace(params=new.params | {"prototypes": normalised(new.params["prototypes"])}), None, {"loss": loss}


def normalised(prototypes: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The prototypes, which are the columns of the kernel, at length 1."""
    return jax.tree.map(lambda w: w / jnp.linalg.norm(w, axis=0, keepdims=True), prototypes)


def swav(context: TrainContext, options: Any, *, name: str, seed: int) -> dict[str, np.ndarray]:
    """Trains an encoder on the pool and embeds the pool with it; returns {"features": f32[N, D]}.

    Args:
      options: the config section ``swav``.
      name: the directory of its task.
    """
    final, _ = context.run(swav_training(context, options, name=name, seed=seed))
    network = _network(context, options)
    return {"features": context.inference.over_pool(steps.embedding_step, network, final)["features"]}


def swav_training(context: TrainContext, options: Any, *, name: str, seed: int) -> Training:
    """SwAV's training at its beginning; arguments as for ``swav``."""
    layout, pool = context.layout, context.pools.squares
    n, size = pool.n, options.batch_size
    sampler = EpochSampler(seed, f"{name}/order", np.arange(n), batch_size=size, rows=layout.padded(size), pad_id=n)
    total, steps_per_epoch = options.epochs * sampler.steps_per_epoch, sampler.steps_per_epoch
    network, tx = _network(context, options), _optimizer(options, total, steps_per_epoch)
    step = partial(
        swav_step,
        model=network,
        tx=tx,
        views=_views(context, options),
        temperature=options.temperature,
        epsilon=options.epsilon,
        frozen_steps=options.frozen_steps,
    )
    initial = context.initial(network, tx, ema=False)

    def create(*arguments: jax.Array) -> TrainState:
        fresh = initial(*arguments)
        return fresh.replace(params=fresh.params | {"prototypes": normalised(fresh.params["prototypes"])})

    return Training(
        name=name,
        state=layout.compile_init(create)(context.key(seed, f"{name}/init"), options.learning_rate, total),
        record=None,
        dispatch=layout.compile(step, pool.fetch),
        pool=pool.arrays(np.full(n, -1, np.int32)),
        feed=pool.feed(sampler, total),
        key=context.key(seed, f"{name}/views"),
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
        passes=("epoch", steps_per_epoch),
        images_per_step=size * (2 + options.small_crops),
    )


def _network(context: TrainContext, options: Any) -> Network:
    return models.create_swav(options.network, prototypes=options.prototypes, dtype=context.dtype)


def _optimizer(options: Any, total: int, steps_per_epoch: int) -> optax.GradientTransformation:
    return states.sgd(
        states.cosine_to(options.final_learning_rate, warm_up=options.warm_up_epochs * steps_per_epoch),
        learning_rate=options.learning_rate,
        total_steps=total,
        momentum=0.9,
        nesterov=False,
        weight_decay=options.weight_decay,
        decay_matrices_only=False,
        trust=0.001,
    )


def _views(context: TrainContext, options: Any) -> list[tuple[View, int]]:
    """Views of whole batches, each with the number of crops that it makes; the view that gives codes comes first."""
    crops = [(crop_view(context.recipe, context.recipe.size, tuple(options.crop_area)), 2)]
    if options.small_crops:
        small = crop_view(context.recipe, options.small_crop_size, tuple(options.small_crop_area))
        crops.append((small, options.small_crops))
    return [(context.layout.per_shard(jax.vmap(view)), count) for view, count in crops]
