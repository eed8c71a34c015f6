"""TEMI: clusters from embeddings and their neighbours, many heads at once (Adaloglou et al., arXiv:2303.17896).

As in ELFS. A student and its moving average, the teacher, see an example and one of its neighbours. The loss asks for
the same cluster for both, and for clusters of equal size. A leading axis H counts the heads.
"""

import contextlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from semiprune_jax.data.samplers import EpochSampler
from semiprune_jax.distributed.collectives import psum
from semiprune_jax.errors import DataError
from semiprune_jax.features import blocks
from semiprune_jax.features.neighbours import nearest
from semiprune_jax.moving_average import ema_update
from semiprune_jax.randomness import row_keys
from semiprune_jax.train import quality
from semiprune_jax.train.context import TrainContext
from semiprune_jax.train.training import Training

HIDDEN, BOTTLENECK = 512, 256
TEMPERATURE = 0.1
PRIOR_DECAY = 0.9
WEIGHT_DECAY = 1e-4
ORACLE_CANDIDATES = 10  # as many checkpoints as ELFS compares: one per 20 of its 200 epochs
_LAST = ("direction", "gain")  # the last layer, weight-normalised

Heads = dict[str, jax.Array]
LogProbabilities = tuple[jax.Array, jax.Array]  # of the clusters, f32[H, B, C], for each of two views


class TemiState(NamedTuple):
    """Everything that a step changes."""

    step: jax.Array  # i32
    student: Heads
    teacher: Heads
    prior: jax.Array  # f32[H, C], of the clusters
    epoch_loss: jax.Array  # f32[H], summed over the steps of this epoch
    kept: Heads  # K heads, for each K-th part of the training the teacher's best head in the epoch of the lowest loss
    kept_loss: jax.Array  # f32[K], their losses in those epochs
    opt_state: Any


class Pool(NamedTuple):
    """The embeddings to cluster."""

    features: jax.Array  # f32[N, D]
    neighbours: jax.Array  # i32[N, k]


def fetch(pool: Pool, ids: jax.Array) -> dict[str, Any]:
    """The batch of the examples ``ids`` i32[B]; ids past the end are padding."""
    rows = jnp.minimum(ids, len(pool.features) - 1)
    first, near = pool.features[rows], pool.neighbours[rows]
    return {"pool": pool, "first": first, "near": near, "mask": ids < len(pool.features)}


def init_heads(key: jax.Array, heads: int, width: int, clusters: int) -> Heads:
    """Fresh heads for embeddings of ``width`` numbers: two linear layers and a weight-normalised last layer."""
    keys = jax.random.split(key, 3)

    def linear(key: jax.Array, rows: int, columns: int) -> jax.Array:
        drawn = jax.random.normal(key, (heads * rows * columns,))  # PyTorch cuts at 2, which is 100 standard deviations
        return 0.02 * drawn.reshape(heads, rows, columns)

    bound = 1.0 / jnp.sqrt(BOTTLENECK)
    direction = jax.random.uniform(keys[2], (heads * BOTTLENECK * clusters,), minval=-bound, maxval=bound)
    return {
        "w1": linear(keys[0], width, HIDDEN),
        "b1": jnp.zeros((heads, 1, HIDDEN)),
        "w2": linear(keys[1], HIDDEN, BOTTLENECK),
        "b2": jnp.zeros((heads, 1, BOTTLENECK)),
        "direction": direction.reshape(heads, BOTTLENECK, clusters),
        "gain": jnp.ones((heads, 1, clusters)),
    }


def logits(heads: Heads, x: jax.Array) -> jax.Array:
    """f32[H, B, C] of embeddings x f32[B, D]: gain times the cosine of two layers' output and a direction."""
    hidden = jax.nn.gelu(jnp.einsum("bd,hdk->hbk", x, heads["w1"]) + heads["b1"], approximate=False)
    z = jnp.einsum("hbk,hkm->hbm", hidden, heads["w2"]) + heads["b2"]
    z = z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z**2, axis=-1, keepdims=True), 1e-24))
    direction = heads["direction"] / jnp.linalg.norm(heads["direction"], axis=1, keepdims=True)
    return jnp.einsum("hbm,hmc->hbc", z, direction) * heads["gain"]


def loss(student: LogProbabilities, teacher: LogProbabilities, prior: jax.Array, beta: float = 0.6) -> jax.Array:
    """The loss of each head on each pair, f32[H, B].

    The weight of a pair is the probability that both belong to one cluster, by the mean of the teachers of all heads.
    The teacher gets no gradient.

    >>> half = jnp.log(jnp.full((1, 1, 2), 0.5))
    >>> round(float(loss((half, half), (half, half), jnp.array([[0.5, 0.5]]))[0, 0]), 6)
    -0.277259
    """
    (p1, p2), (q1, q2) = student, jax.lax.stop_gradient(teacher)
    weight = jnp.mean(jnp.sum(jnp.exp(q1 + q2), axis=-1), axis=0)[None]
    scale = jnp.log(jax.lax.stop_gradient(prior))[:, None]

    def disagreement(p: jax.Array, q: jax.Array) -> jax.Array:
        return -jax.nn.logsumexp(beta * (p + q) - scale, axis=-1)

    return 0.5 * weight * (disagreement(p2, q1) + disagreement(p1, q2))


def optimizer(learning_rate: float, warm_up: int) -> optax.GradientTransformation:
    """AdamW; the learning rate rises linearly over ``warm_up`` steps, then stays. All parameters but biases decay."""

    def decays(heads: Heads) -> dict[str, bool]:
        return {name: not name.startswith("b") for name in heads}

    rate = optax.linear_schedule(0.0, learning_rate, warm_up) if warm_up else learning_rate
    return optax.adamw(rate, weight_decay=WEIGHT_DECAY, mask=decays)


def init_state(
    key: jax.Array, tx: optax.GradientTransformation, heads: int, width: int, clusters: int, keep: int = 1
) -> TemiState:
    """A fresh state with room for ``keep`` kept heads; the teacher starts as a copy of the student."""
    student = init_heads(key, heads, width, clusters)
    prior = jnp.full((heads, clusters), 1.0 / clusters)
    teacher = jax.tree.map(jnp.copy, student)
    kept = jax.tree.map(lambda value: jnp.zeros((keep, *value.shape[1:])), student)
    unseen = jnp.full(keep, jnp.inf)
    return TemiState(jnp.int32(0), student, teacher, prior, jnp.zeros(heads), kept, unseen, tx.init(student))


def temi_step(
    state: TemiState,
    record: None,
    batch: dict[str, Any],
    key: jax.Array,
    *,
    tx: optax.GradientTransformation,
    steps_per_epoch: int,
    epochs: int,
    teacher_decay: float,
    beta: float,
    axis_name: str | None = None,
) -> tuple[TemiState, None, dict[str, jax.Array]]:
    """One step on pairs of an example and a random one of its neighbours; the last layer stays in the first epoch.

    At the end of an epoch the teacher's best head is kept if its loss is the lowest in this part of the ``epochs``.

    Returns:
      State, no record, and metrics: loss (of all heads), best_loss (of the best one).
    """
    keys = row_keys(key, state.step, len(batch["mask"]), axis_name)
    drawn = jax.vmap(lambda key: jax.random.randint(key, (), 0, batch["near"].shape[1]))(keys)
    second = batch["pool"].features[jnp.take_along_axis(batch["near"], drawn[:, None], axis=1)[:, 0]]
    mask = batch["mask"].astype(jnp.float32)
    count = psum(jnp.sum(mask), axis_name)

    def views(heads: Heads) -> LogProbabilities:
        first, other = (jax.nn.log_softmax(logits(heads, x) / TEMPERATURE) for x in (batch["first"], second))
        return first, other

    teacher = views(state.teacher)
    seen = 0.5 * jnp.sum(mask[None, :, None] * (jnp.exp(teacher[0]) + jnp.exp(teacher[1])), axis=1)
    # As in ``ema_update``, but it would divide first, which rounds differently.
    prior = PRIOR_DECAY * state.prior + (1.0 - PRIOR_DECAY) * psum(seen, axis_name) / count

    def objective(heads: Heads):
        losses = jnp.sum(mask[None] * loss(views(heads), teacher, prior, beta), axis=1) / count
        return jnp.mean(losses), losses

    gradient, losses = psum(jax.grad(objective, has_aux=True)(state.student), axis_name)
    moves = (state.step >= steps_per_epoch).astype(jnp.float32)
    gradient |= {name: moves * gradient[name] for name in _LAST}
    made, opt_state = tx.update(gradient, state.opt_state, state.student)
    updates: Any = made
    updates |= {name: moves * updates[name] for name in _LAST}  # nor do they decay
    student: Any = optax.apply_updates(state.student, updates)
    averaged = ema_update(state.teacher, student, teacher_decay)
    so_far = losses + jnp.where(state.step % steps_per_epoch == 0, 0.0, state.epoch_loss)
    kept, kept_loss = _keep_best(state, averaged, so_far, steps_per_epoch, epochs)
    new = TemiState(state.step + 1, student, averaged, prior, so_far, kept, kept_loss, opt_state)
    return new, None, {"loss": jnp.mean(losses), "best_loss": jnp.min(losses)}


def _keep_best(
    state: TemiState, teacher: Heads, so_far: jax.Array, steps_per_epoch: int, epochs: int
) -> tuple[Heads, jax.Array]:
    """The kept heads and their losses after a step.

    Args:
      so_far: f32[H], losses summed over the steps of this epoch.
    """
    ends = (state.step + 1) % steps_per_epoch == 0
    part = state.step // steps_per_epoch * len(state.kept_loss) // epochs
    better = ends & (jnp.min(so_far) < state.kept_loss[part])
    candidate = best_head(teacher, so_far)
    kept = jax.tree.map(lambda old, new: old.at[part].set(jnp.where(better, new, old[part])), state.kept, candidate)
    return kept, state.kept_loss.at[part].set(jnp.where(better, jnp.min(so_far), state.kept_loss[part]))


def best_head(heads: Heads, loss: jax.Array) -> Heads:
    """The head with the lowest loss f32[H], without the leading axis."""
    return jax.tree.map(lambda value: value[jnp.argmin(loss)], heads)


def assign(head: Heads, x: jax.Array) -> dict[str, jax.Array]:
    """The most probable cluster i32[B] of embeddings x f32[B, D] by one head, and its probability f32[B]."""
    p = jax.nn.softmax(logits(jax.tree.map(lambda value: value[None], head), x)[0] / TEMPERATURE)
    return {"prediction": jnp.argmax(p, axis=-1).astype(jnp.int32), "confidence": jnp.max(p, axis=-1)}


_assign = jax.jit(assign)


def cluster(
    context: TrainContext,
    options: Any,
    features: np.ndarray,
    clusters: int,
    *,
    name: str,
    seed: int,
    truth: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Trains TEMI's heads on embeddings and assigns each example to a cluster, as in ELFS (Zheng et al., ICLR 2025).

    Args:
      options: the config section ``temi``.
      features: f32[N, D].
      clusters: their number; ELFS has as many as classes.
      name: the directory of its task.
      truth: true labels i[N], by which options.select = "oracle" chooses.

    Returns:
      prediction i32[N], the numbers of clusters, and confidence f32[N].

    Raises:
      DataError: there are fewer examples than clusters or neighbours.
    """
    features, n = blocks.checked(features), len(features)
    if clusters > n or options.neighbours >= n:
        raise DataError(
            f"{clusters} clusters by {options.neighbours} neighbours each, of {n} images; "
            "lower temi.neighbours, or bring more images"
        )
    training = temi_training(context, options, features, clusters, name=name, seed=seed)
    state, _ = context.run(training)
    host: TemiState = jax.device_get(state)
    if options.select == "oracle":
        assert truth is not None
        candidates = range(len(host.kept_loss))
        found = [_assigned(jax.tree.map(lambda value, i=i: value[i], host.kept), features) for i in candidates]
        return max(found, key=lambda made: quality.matched_accuracy(made["prediction"], truth, clusters))
    last = options.select == "last"
    heads, losses = (host.teacher, host.epoch_loss) if last else (host.kept, host.kept_loss)
    return _assigned(best_head(heads, losses), features)


def temi_training(
    context: TrainContext, options: Any, features: np.ndarray, clusters: int, *, name: str, seed: int
) -> Training:
    """TEMI's training at its beginning; arguments as for ``cluster``."""
    layout, n = context.layout, len(features)
    batch_size = min(options.batch_size, n)
    steps_per_epoch = -(-n // batch_size)
    tx = optimizer(options.learning_rate, options.warm_up_epochs * steps_per_epoch)
    step = partial(
        temi_step,
        tx=tx,
        steps_per_epoch=steps_per_epoch,
        epochs=options.epochs,
        teacher_decay=options.teacher_decay,
        beta=options.beta,
    )
    keep = min(ORACLE_CANDIDATES, options.epochs) if options.select == "oracle" else 1
    create = partial(init_state, tx=tx, heads=options.heads, width=features.shape[1], clusters=clusters, keep=keep)
    rows = layout.padded(batch_size)
    sampler = EpochSampler(seed, f"{name}/order", np.arange(n), batch_size=batch_size, rows=rows, pad_id=n)
    near, _ = nearest(features, options.neighbours, "cosine")
    return Training(
        name=name,
        state=layout.compile_init(create)(context.key(seed, f"{name}/init")),
        record=None,
        dispatch=layout.compile(step, fetch),
        pool=layout.replicate(Pool(jnp.asarray(features), jnp.asarray(near))),
        feed=contextlib.nullcontext(sampler),
        key=context.key(seed, f"{name}/pairs"),
        total_steps=options.epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        passes=("epoch", steps_per_epoch),
        images_per_step=batch_size,
    )


def _assigned(head: Heads, features: np.ndarray) -> dict[str, np.ndarray]:
    """The cluster of every example by one head, and its probability, computed in blocks."""
    size = max(1, blocks.BLOCK_BYTES // (4 * 2 * HIDDEN))
    parts = [jax.device_get(_assign(head, features[i : i + size])) for i in range(0, len(features), size)]
    return {key: np.concatenate([part[key] for part in parts]) for key in ("prediction", "confidence")}
