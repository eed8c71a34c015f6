"""The steps of the program. Pure; nothing here is compiled, reads a clock, a config or a host value.

A training step is ``step(state, record, batch, key, ...) -> (state, record, metrics)``. A batch is
``{"image": u8[B, H, W, 3], "label": i32[B], "id": i32[B], "mask": bool[B]}``; padding rows carry mask False and an id
past the end of the pool. With ``axis_name`` the batch is one device's share of the global batch, and everything
that concerns the whole batch is summed over that axis; without it the batch is whole.

``key`` is the key of the stream: the draws of row r at step s are a function of (key, s, r) alone.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from semiprune_jax.augment.views import View
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
    """One semi-supervised step: labelled, weak and strong views through the network once (arXiv:2001.07685; USB).

    Args:
      record: what the learner remembers of each example, rows sharded over the axis, or None; ``state.learner`` is what
        it remembers besides.
      batch: {"labelled": batch of B, "unlabelled": batch of mu * B}; unlabelled labels are never read.
      weak, strong: views of whole batches, ``jax.vmap`` of a view or ``augment.strong_views``.
      learner: says as what, and how much, each unlabelled image counts; FixMatch or one of its relatives.
      unsupervised_weight: lambda_u. The unsupervised loss is a mean over the *whole* unlabelled batch.

    Returns:
      State, record and metrics: loss, loss_labelled, loss_unlabelled, mask_rate (mean weight of the unlabelled images),
      class_share f32[C] (the mean target: each class's share), class_entropy (of these shares; 1: all are equal,
      0: a single class has all).
    """
    labelled, unlabelled = batch["labelled"], batch["unlabelled"]
    size, mu = labelled["id"].shape[0], unlabelled["id"].shape[0] // labelled["id"].shape[0]
    has_strong = learner.views == 2
    keys = row_keys(key, state.step, size * (1 + 2 * mu), axis_name).reshape(size, 1 + 2 * mu)

    def view(transform: View, keys: jax.Array, images: jax.Array) -> jax.Array:
        x = transform(keys.reshape(-1), images)
        return x.reshape(size, -1, *x.shape[1:])

    # The views that belong to one labelled row lie together, so that a shard of the batch stays a shard.
    sources = jnp.concatenate(
        [part["image"].reshape(size, -1, *part["image"].shape[1:]) for part in (labelled, unlabelled)], axis=1
    )
    views = [view(weak, keys[:, : 1 + mu], sources.reshape(-1, *sources.shape[2:]))]
    if has_strong:
        views.append(view(strong, keys[:, 1 + mu :], unlabelled["image"]))
    images = jnp.concatenate(views, axis=1)
    mask_l = labelled["mask"].astype(jnp.float32)
    mask_u = unlabelled["mask"].astype(jnp.float32)
    # At a weight of 0 the labelled examples stand alone: the others leave the batch statistics too.
    both = unlabelled["mask"].reshape(size, mu) & (unsupervised_weight > 0)
    mask = jnp.concatenate([labelled["mask"][:, None], both] + [both] * has_strong, axis=1).reshape(-1)
    count_l, count_u = _total((jnp.sum(mask_l), jnp.sum(mask_u)), axis_name)

    def locate(rows: int, values):
        return _owned_rows(rows, unlabelled["id"], unlabelled["mask"], values, axis_name)

    def loss_fn(params):
        x = images.reshape(-1, *images.shape[2:])
        logits, _, batch_stats = model.apply(params, state.batch_stats, x, train=True, mask=mask, axis_name=axis_name)
        logits = logits.reshape(size, images.shape[1], -1).astype(jnp.float32)
        logits_l, logits_w = logits[:, 0], logits[:, 1 : 1 + mu].reshape(size * mu, -1)
        student = logits[:, 1 + mu :].reshape(size * mu, -1) if has_strong else logits_w
        # Only the weak *logits* are stopped: the weak images still shape the batch statistics of the other rows.
        p = jax.nn.softmax(jax.lax.stop_gradient(logits_w))
        seen = Seen(p, unlabelled["id"], mask_u, state.step, partial(_total, axis_name=axis_name), locate)
        memory, targets = learner.targets(Memory(state.learner, record), seen)
        loss_l = jnp.sum(mask_l * cross_entropy(logits_l, labelled["label"])) / count_l
        loss_u = jnp.sum(mask_u * targets.weight * cross_entropy(student, targets.target)) / count_u
        loss = loss_l + unsupervised_weight * loss_u
        if learner.aux_loss and unsupervised_weight > 0:
            loss += learner.aux_loss(memory.shared, student, targets, seen)
        return loss, (loss_l, loss_u, memory, targets, class_probabilities(targets.target, p.shape[-1]), batch_stats)

    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    loss_l, loss_u, memory, targets, classes, batch_stats = aux
    shares = {
        "loss": loss,
        "loss_labelled": loss_l,
        "loss_unlabelled": loss_u,
        "mask_rate": jnp.sum(mask_u * targets.weight) / count_u,
        "class_share": jnp.sum(mask_u[:, None] * classes, axis=0) / count_u,
    }
    grads, metrics = _total((grads, shares), axis_name)
    share = metrics["class_share"]
    metrics["class_entropy"] = -jnp.sum(share * jnp.log(share + 1e-10)) / jnp.log(share.shape[0])
    new = advance(state, tx, grads, batch_stats, ema_decay).replace(learner=memory.shared)
    return new, memory.examples, metrics


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

    Recorded is the training forward pass itself: augmented inputs, batch statistics of this batch, before the
    update (SemiPrune ``core/training``). The column is ``state.step // steps_per_epoch``.

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
    count = _total(jnp.sum(mask), axis_name)

    def loss_fn(params):
        logits, features, batch_stats = model.apply(
            params, state.batch_stats, images, train=True, mask=batch["mask"], axis_name=axis_name
        )
        return jnp.sum(mask * cross_entropy(logits, batch["label"])) / count, (logits, features, batch_stats)

    (loss, (logits, features, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    correct = jnp.sum(mask * (jnp.argmax(logits, axis=-1) == batch["label"])) / count
    grads, metrics = _total((grads, {"loss": loss, "accuracy": correct}), axis_name)
    if record is not None:
        seen = dynamics.observe(logits, batch["label"], features)
        rows, seen = _owned_rows(len(record.p_label), batch["id"], batch["mask"], seen, axis_name)
        record = dynamics.update(record, rows, state.step // steps_per_epoch, seen)
    return advance(state, tx, grads, batch_stats), record, metrics


def evaluation_step(
    state: TrainState, batch: Batch, *, model: Network, view: View, axis_name: str | None = None
) -> Metrics:
    """Sums over the unmasked rows of one batch: correct, loss, count. Divide the totals of all batches."""
    logits, _ = _forward(state, batch, model, view)
    mask = batch["mask"].astype(jnp.float32)
    sums = {
        "correct": jnp.sum(mask * (jnp.argmax(logits, axis=-1) == batch["label"])),
        "loss": jnp.sum(mask * cross_entropy(logits, batch["label"])),
        "count": jnp.sum(mask),
    }
    return _total(sums, axis_name)


def prediction_step(
    state: TrainState, batch: Batch, *, model: Network, view: View, axis_name: str | None = None
) -> dict[str, jax.Array]:
    """Most probable class i32[B] and its probability f32[B], of the whole batch also where it is mapped."""
    p = jax.nn.softmax(_forward(state, batch, model, view)[0])
    predicted = {"prediction": jnp.argmax(p, axis=-1).astype(jnp.int32), "confidence": jnp.max(p, axis=-1)}
    return jax.lax.all_gather(predicted, axis_name, tiled=True) if axis_name else predicted


def embedding_step(
    state: TrainState, batch: Batch, *, model: Network, view: View, axis_name: str | None = None
) -> dict[str, jax.Array]:
    """Features f32[B, D] (what the last layer sees) and probabilities f32[B, C], of the whole batch, as predicted."""
    logits, features = _forward(state, batch, model, view)
    found = {"features": features.astype(jnp.float32), "probabilities": jax.nn.softmax(logits)}
    return jax.lax.all_gather(found, axis_name, tiled=True) if axis_name else found


def _forward(state: TrainState, batch: Batch, model: Network, view: View) -> tuple[jax.Array, jax.Array]:
    """Logits and features of the evaluation view: averaged parameters if there are any, online statistics always."""
    params = state.params if state.ema_params is None else state.ema_params
    images = view(jnp.zeros(batch["image"].shape[0], jnp.int32), batch["image"])  # evaluation draws nothing
    logits, features, _ = model.apply(params, state.batch_stats, images, train=False)
    return logits.astype(jnp.float32), features


def _total(tree, axis_name: str | None):
    return jax.lax.psum(tree, axis_name) if axis_name else tree


def _owned_rows(count: int, ids: jax.Array, mask: jax.Array, values, axis_name: str | None):
    """Where the batch's examples lie in this device's share of an array of examples, which has ``count`` rows.

    Those of padding and of other shares lie past its end. Ids and values of the whole batch are gathered ([B] each),
    never the array.
    """
    first = 0
    if axis_name:
        ids, mask, values = jax.lax.all_gather((ids, mask, values), axis_name, tiled=True)
        first = jax.lax.axis_index(axis_name) * count
    local = ids - first
    owned = mask & (local >= 0) & (local < count)
    # Numbered apart past the end, so that no two rows are alike and the scatter may say so.
    return jnp.where(owned, local, count + jnp.arange(len(ids))), values
