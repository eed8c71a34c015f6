"""The steps of the program. They are pure: they read no clock, config or host value, and are compiled elsewhere.

A training step is ``step(state, record, batch, key, ...) -> (state, record, metrics)``. A batch is
``{"image": u8[B, H, W, 3], "label": i32[B], "id": i32[B], "mask": bool[B]}``; padding rows have mask False and an id
past the end of the pool. With ``axis_name`` the batch is one device's share of the global batch, and sums go over that
axis too. Without it the batch is whole.

``key`` is the key of the stream: the draws of row r at step s are a function of (key, s, r) alone.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from semiprune_jax.augment.views import View
from semiprune_jax.distributed.collectives import psum
from semiprune_jax.learners.learner import Learner, Memory, Seen
from semiprune_jax.models import Network
from semiprune_jax.randomness import row_keys
from semiprune_jax.train import dynamics
from semiprune_jax.train.dynamics import Dynamics
from semiprune_jax.train.state import TrainState, advance

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """f32[B]: cross entropy (nats) of targets and logits [B, C].

    Args:
      target: i32[B], class ids, or f32[B, C], probabilities. An id outside 0..C-1 costs 0; callers mask such rows.

    >>> cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).round(3)  # ln 2
    Array([0.693], dtype=float32)
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.sum(log_p * class_probabilities(target, logits.shape[-1]), axis=-1)


def class_probabilities(target: jax.Array, classes: int) -> jax.Array:
    """f32[B, C] of targets: probabilities as they are, and class ids i32[B] one-hot."""
    return target if target.ndim == 2 else jax.nn.one_hot(target, classes)


def fixmatch_step(
    state: TrainState,
    record: jax.Array | None,
    batch: dict[str, Batch],
    key: jax.Array,
    *,
    model: Network,
    tx: optax.GradientTransformation,
    weak: View,
    strong: View,
    learner: Learner,
    unsupervised_weight: float,
    ema_decay: float,
    axis_name: str | None = None,
) -> tuple[TrainState, jax.Array | None, Metrics]:
    """One semi-supervised step: all views go through the network together (arXiv:2001.07685; USB).

    Args:
      record: the learner's memory of each example, rows sharded over the axis, or None. The rest of its memory is
        ``state.learner``.
      batch: {"labelled": batch of B, "unlabelled": batch of mu * B}; unlabelled labels are never read.
      weak, strong: views of whole batches, ``jax.vmap`` of a view or ``augment.strong_views``.
      learner: gives each unlabelled image its target and weight; FixMatch or one of its relatives.
      unsupervised_weight: lambda_u. The unsupervised loss is a mean over the *whole* unlabelled batch.

    Returns:
      State, record and metrics: loss, loss_labelled, loss_unlabelled, mask_rate (mean weight of the unlabelled images),
      class_share f32[C] (the mean target: the share of each class), class_entropy (of these shares; 1: all are equal,
      0: one class has all).
    """
    images = _fixmatch_views(batch, key, state.step, weak, strong if learner.views == 2 else None, axis_name)
    mask = _fixmatch_mask(batch, learner.views, with_unlabelled=unsupervised_weight > 0)

    def loss_fn(params):
        x = images.reshape(-1, *images.shape[2:])
        logits, _, batch_stats = model.apply(params, state.batch_stats, x, train=True, mask=mask, axis_name=axis_name)
        logits = logits.reshape(*images.shape[:2], -1).astype(jnp.float32)
        memory = Memory(state.learner, record)
        loss, metrics, memory = _fixmatch_loss(
            logits, batch, memory, state.step, learner=learner, weight=unsupervised_weight, axis_name=axis_name
        )
        return loss, (metrics, memory, batch_stats)

    (loss, (metrics, memory, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    grads, metrics = psum((grads, metrics | {"loss": loss}), axis_name)
    share = metrics["class_share"]
    metrics["class_entropy"] = -jnp.sum(share * jnp.log(share + 1e-10)) / jnp.log(share.shape[0])
    new = advance(state, tx, grads, batch_stats, ema_decay).replace(learner=memory.shared)
    return new, memory.examples, metrics


def _fixmatch_views(
    batch: dict[str, Batch], key: jax.Array, step: jax.Array, weak: View, strong: View | None, axis_name: str | None
) -> jax.Array:
    """f32[B, V, H, W, 3]: a weak view of a labelled image and of its mu unlabelled ones, then their strong views.

    The views that belong to one labelled image lie together, so that a shard of the batch stays a shard.
    """
    labelled, unlabelled = batch["labelled"]["image"], batch["unlabelled"]["image"]
    size, mu = len(labelled), len(unlabelled) // len(labelled)
    keys = row_keys(key, step, size * (1 + 2 * mu), axis_name).reshape(size, 1 + 2 * mu)

    def view(transform: View, keys: jax.Array, images: jax.Array) -> jax.Array:
        x = transform(keys.reshape(-1), images)
        return x.reshape(size, -1, *x.shape[1:])

    sources = jnp.concatenate([x.reshape(size, -1, *x.shape[1:]) for x in (labelled, unlabelled)], axis=1)
    views = [view(weak, keys[:, : 1 + mu], sources.reshape(-1, *sources.shape[2:]))]
    if strong:
        views.append(view(strong, keys[:, 1 + mu :], unlabelled))
    return jnp.concatenate(views, axis=1)


def _fixmatch_mask(batch: dict[str, Batch], views: int, *, with_unlabelled: bool) -> jax.Array:
    """bool[B * V]: which views shape the batch statistics; without the unlabelled images, the labelled ones alone."""
    labelled, unlabelled = batch["labelled"]["mask"], batch["unlabelled"]["mask"]
    of_a_view = unlabelled.reshape(len(labelled), -1) & with_unlabelled
    return jnp.concatenate([labelled[:, None]] + [of_a_view] * views, axis=1).reshape(-1)


def _fixmatch_loss(
    logits: jax.Array,
    batch: dict[str, Batch],
    memory: Memory,
    step: jax.Array,
    *,
    learner: Learner,
    weight: float,
    axis_name: str | None,
) -> tuple[jax.Array, Metrics, Memory]:
    """This device's share of the loss of logits f32[B, V, C] and of the metrics, and the learner's updated memory."""
    labelled, unlabelled = batch["labelled"], batch["unlabelled"]
    mu = len(unlabelled["id"]) // len(labelled["id"])
    mask_l, mask_u = (part["mask"].astype(jnp.float32) for part in (labelled, unlabelled))
    count_l, count_u = psum((jnp.sum(mask_l), jnp.sum(mask_u)), axis_name)

    def locate(rows: int, values):
        return _owned_rows(rows, unlabelled["id"], unlabelled["mask"], values, axis_name)

    # The last mu views learn: the strong ones, or the weak ones of a learner without strong views.
    weak, student = (x.reshape(len(mask_u), -1) for x in (logits[:, 1 : 1 + mu], logits[:, -mu:]))
    # Only the weak *logits* are stopped: the weak images still shape the batch statistics of the other rows.
    p = jax.nn.softmax(jax.lax.stop_gradient(weak))
    seen = Seen(p, unlabelled["id"], mask_u, step, partial(psum, axis_name=axis_name), locate)
    memory, targets = learner.targets(memory, seen)
    loss_l = jnp.sum(mask_l * cross_entropy(logits[:, 0], labelled["label"])) / count_l
    loss_u = jnp.sum(mask_u * targets.weight * cross_entropy(student, targets.target)) / count_u
    loss = loss_l + weight * loss_u
    if learner.aux_loss and weight > 0:
        loss += learner.aux_loss(memory.shared, student, targets, seen)
    classes = class_probabilities(targets.target, logits.shape[-1])
    metrics = {
        "loss_labelled": loss_l,
        "loss_unlabelled": loss_u,
        "mask_rate": jnp.sum(mask_u * targets.weight) / count_u,
        "class_share": jnp.sum(mask_u[:, None] * classes, axis=0) / count_u,
    }
    return loss, metrics, memory


def supervised_step(
    state: TrainState,
    record: Dynamics | None,
    batch: Batch,
    key: jax.Array,
    *,
    model: Network,
    tx: optax.GradientTransformation,
    augment: View,
    steps_per_epoch: int = 0,
    axis_name: str | None = None,
) -> tuple[TrainState, Dynamics | None, Metrics]:
    """One step of cross-entropy training; writes the batch into the record, if there is one.

    The record is of the training's own forward pass, before the update: augmented inputs, statistics of this batch
    (SemiPrune ``core/training``). Its column is ``state.step // steps_per_epoch``.

    Args:
      record: Dynamics, rows sharded over the axis, or None.
      augment: view of a whole batch, ``jax.vmap`` of a view or ``augment.strong_views``.
      steps_per_epoch: needed with a record only.

    Returns:
      State, record and metrics: loss, accuracy.
    """
    keys = row_keys(key, state.step, batch["id"].shape[0], axis_name)
    images = augment(keys, batch["image"])
    mask = batch["mask"].astype(jnp.float32)
    count = psum(jnp.sum(mask), axis_name)

    def loss_fn(params):
        logits, features, batch_stats = model.apply(
            params, state.batch_stats, images, train=True, mask=batch["mask"], axis_name=axis_name
        )
        return jnp.sum(mask * cross_entropy(logits, batch["label"])) / count, (logits, features, batch_stats)

    (loss, (logits, features, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    correct = jnp.sum(mask * (jnp.argmax(logits, axis=-1) == batch["label"])) / count
    grads, metrics = psum((grads, {"loss": loss, "accuracy": correct}), axis_name)
    if record is not None:
        seen = dynamics.observe(logits, batch["label"], features)
        rows, seen = _owned_rows(len(record.p_label), batch["id"], batch["mask"], seen, axis_name)
        record = dynamics.update(record, rows, state.step // steps_per_epoch, seen)
    return advance(state, tx, grads, batch_stats), record, metrics


def evaluation_step(
    state: TrainState, batch: Batch, *, model: Network, view: View, axis_name: str | None = None
) -> Metrics:
    """Sums over the unmasked rows of one batch: correct, loss, count. Their totals over batches give the means."""
    logits, _ = _forward(state, batch, model, view)
    mask = batch["mask"].astype(jnp.float32)
    sums = {
        "correct": jnp.sum(mask * (jnp.argmax(logits, axis=-1) == batch["label"])),
        "loss": jnp.sum(mask * cross_entropy(logits, batch["label"])),
        "count": jnp.sum(mask),
    }
    return psum(sums, axis_name)


def prediction_step(
    state: TrainState, batch: Batch, *, model: Network, view: View, axis_name: str | None = None
) -> dict[str, jax.Array]:
    """Most probable class i32[B] and its probability f32[B], of the whole batch even under ``axis_name``."""
    p = jax.nn.softmax(_forward(state, batch, model, view)[0])
    predicted = {"prediction": jnp.argmax(p, axis=-1).astype(jnp.int32), "confidence": jnp.max(p, axis=-1)}
    return jax.lax.all_gather(predicted, axis_name, tiled=True) if axis_name else predicted


def embedding_step(
    state: TrainState, batch: Batch, *, model: Network, view: View, axis_name: str | None = None
) -> dict[str, jax.Array]:
    """Features f32[B, D] (inputs of the last layer) and probabilities f32[B, C], likewise of the whole batch."""
    logits, features = _forward(state, batch, model, view)
    found = {"features": features.astype(jnp.float32), "probabilities": jax.nn.softmax(logits)}
    return jax.lax.all_gather(found, axis_name, tiled=True) if axis_name else found


def _forward(state: TrainState, batch: Batch, model: Network, view: View) -> tuple[jax.Array, jax.Array]:
    """Logits and features of the evaluation view: averaged parameters if there are any, online statistics always."""
    params = state.params if state.ema_params is None else state.ema_params
    images = view(jnp.zeros(batch["image"].shape[0], jnp.int32), batch["image"])  # evaluation draws no random numbers
    logits, features, _ = model.apply(params, state.batch_stats, images, train=False)
    return logits.astype(jnp.float32), features


def _owned_rows(count: int, ids: jax.Array, mask: jax.Array, values, axis_name: str | None):
    """The rows i32[B] of the whole batch's examples in this device's share of an array of examples; and their values.

    Padding and examples of other shares get rows past the end. Ids and values of the whole batch are gathered ([B]
    each), never the array.

    Args:
      count: rows of the share.
    """
    first = 0
    if axis_name:
        ids, mask, values = jax.lax.all_gather((ids, mask, values), axis_name, tiled=True)
        first = jax.lax.axis_index(axis_name) * count
    local = ids - first
    owned = mask & (local >= 0) & (local < count)
    # Past the end every row has its own number: the scatter is told that no row occurs twice.
    return jnp.where(owned, local, count + jnp.arange(len(ids))), values
