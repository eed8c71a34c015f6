"""Training state, and optimizers and schedules with PyTorch's semantics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from semiprune_jax.models import Network
from semiprune_jax.moving_average import ema_update

# (step i32, peak learning rate, total steps) -> learning rate of that step
Schedule = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class TrainState(flax.struct.PyTreeNode):
    """Everything a training step changes, except the per-example record."""

    step: jax.Array  # i32, steps taken
    params: Any  # float32 tree
    batch_stats: Any  # float32 tree, running statistics of the batch norms
    opt_state: Any
    ema_params: Any  # like params, or None
    learner: Any = None  # a semi-supervised learner's memory, without the part about examples: see ``Memory``


def create(
    network: Network, tx: optax.GradientTransformation, key: jax.Array, image_shape, *, ema: bool, learner: Any = None
) -> TrainState:
    """A fresh state; with ``ema`` the average of the parameters starts as a copy of them."""
    params, batch_stats = network.init(key, image_shape)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=tx.init(params),
        # A real copy: state is donated, and two leaves must not share a buffer.
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
        learner=learner,
    )


def advance(
    state: TrainState, tx: optax.GradientTransformation, grads: Any, batch_stats: Any, ema_decay: float = 0.0
) -> TrainState:
    """One optimizer step, then the moving average of the parameters, if the state has one.

    Batch statistics are never averaged: evaluation pairs ``ema_params`` with the online ``batch_stats`` (USB).
    """
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema_params = state.ema_params
    if ema_params is not None:
        ema_params = ema_update(ema_params, params, ema_decay)
    return TrainState(state.step + 1, params, batch_stats, opt_state, ema_params, state.learner)


def cosine_sevenths(step: jax.Array, peak: jax.Array, total: jax.Array) -> jax.Array:
    """FixMatch's schedule: peak * cos(7 pi step / (16 total)); ends at 0.195 of the peak. No warm-up (USB)."""
    return peak * jnp.maximum(0.0, jnp.cos(7.0 * jnp.pi * step / (16.0 * total)))


def cosine_to(floor: float, *, warm_up: int = 0) -> Schedule:
    """PyTorch's CosineAnnealingLR per step, from the peak to ``floor``, where it stays past ``total``.

    Args:
      warm_up: steps before it, over which the rate rises linearly from 0 to the peak (SwAV).
    """

    def schedule(step: jax.Array, peak: jax.Array, total: jax.Array) -> jax.Array:
        progress = jnp.clip((step - warm_up) / jnp.maximum(total - warm_up, 1), 0.0, 1.0)
        cosine = floor + 0.5 * (peak - floor) * (1.0 + jnp.cos(jnp.pi * progress))
        return jnp.where(step < warm_up, peak * step / max(warm_up, 1), cosine)

    return schedule


class ScheduleState(NamedTuple):
    """The position in a schedule. Traced, so that runs of other lengths and rates share one executable."""

    count: jax.Array  # i32, updates made
    learning_rate: jax.Array  # f32, the peak
    total_steps: jax.Array  # i32


def sgd(
    schedule: Schedule,
    *,
    learning_rate: float,
    total_steps: int,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    decay_matrices_only: bool,
    trust: float = 0.0,
) -> optax.GradientTransformation:
    """PyTorch's SGD: g += wd * w; m = momentum * m + g; w -= lr * (g + momentum * m if nesterov else m).

    Args:
      schedule: gives the learning rate of a step; the peak and the length are part of the optimizer's state.
      decay_matrices_only: whether to spare parameters of one dimension (biases, batch norms), as FixMatch does;
        otherwise all parameters decay, as in one PyTorch parameter group.
      trust: LARC (You et al., arXiv:1708.03888): each parameter's step is this share of its own norm, times the
        learning rate; 0: plain SGD.
    """

    def mask(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    def init(params) -> ScheduleState:
        del params
        return ScheduleState(jnp.zeros((), jnp.int32), jnp.float32(learning_rate), jnp.int32(total_steps))

    def update(updates, state: Any, params=None):
        del params
        rate = schedule(state.count, state.learning_rate, state.total_steps)
        return jax.tree.map(lambda u: -rate * u, updates), state._replace(count=state.count + 1)

    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask if decay_matrices_only else None),
        optax.scale_by_trust_ratio(trust_coefficient=trust) if trust else optax.identity(),
        optax.trace(decay=momentum, nesterov=nesterov),
        optax.GradientTransformation(init, update),
    )


def set_schedule(state: TrainState, *, learning_rate: jax.Array, total_steps: jax.Array) -> TrainState:
    """The same state on a schedule of another peak and length. Nothing is compiled again."""
    opt_state = optax.tree_utils.tree_set(
        state.opt_state,
        learning_rate=jnp.asarray(learning_rate, jnp.float32),
        total_steps=jnp.asarray(total_steps, jnp.int32),
    )
    return state.replace(opt_state=opt_state)
