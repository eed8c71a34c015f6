"""The surroundings of the trainings of one run: devices, images, views, metrics and the work directory."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from semiprune_jax import models
from semiprune_jax.augment import views
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.stream import StreamArrays
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.learners.learner import Learner
from semiprune_jax.models import Network
from semiprune_jax.randomness import stream_key
from semiprune_jax.train import loop, state
from semiprune_jax.train.inference import Inference
from semiprune_jax.train.state import TrainState
from semiprune_jax.train.training import Pace, Training
from semiprune_jax.workdir.metrics import Metrics

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class TrainContext:
    """The surroundings of the trainings of one run.

    Attributes:
      recipe: of the views, for networks that see ``recipe.size`` pixels.
      supervised_recipe: of the views of the proxy and the retrainings.
      runtime: the config section: compute_dtype, steps_per_dispatch, log_every_steps, checkpoint_every_steps.
      wide_resnet: variant of wide ResNets, see ``models.create``.
    """

    classes: tuple[str, ...]
    pools: Pools
    layout: Layout
    recipe: views.Recipe
    supervised_recipe: views.Recipe
    runtime: Any
    wide_resnet: str
    metrics: Metrics
    workdir: Path
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False)

    def run(self, training: Training) -> tuple[TrainState, Any]:
        """Trains to the end; see ``loop.run``."""
        directory = self.workdir / training.name / "checkpoints"
        pace = self.pace(training)
        return loop.run(training, layout=self.layout, metrics=self.metrics, pace=pace, directory=directory)

    def once(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """The result of ``make`` for this key, made once per run, so that trainings share compiled programs."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def pace(self, training: Training) -> Pace:
        """The training's steps between dispatches, lines and checkpoints."""
        # A CPU runs a convolution's weight gradient some fifty times slower inside a scan over steps. Streamed images
        # come with the feed; steps for which streaming is worth it are long enough one by one.
        single = self.layout.platform == "cpu" or isinstance(training.pool, StreamArrays)
        return Pace(
            self.runtime.steps_per_dispatch or (1 if single else 16),
            self.runtime.log_every_steps,
            self.runtime.checkpoint_every_steps,
        )

    @cached_property
    def weak(self) -> views.View:
        """The weak view of a whole batch: (keys [B], u8[B, H, W, 3]) -> f32[B, S, S, 3]."""
        return self.layout.per_shard(jax.vmap(views.weak_view(self.recipe)))

    @cached_property
    def strong(self) -> views.View:
        """The strong view of a whole batch, like ``weak``; RandAugment runs in the order that suits the platform."""
        one_by_one = self.layout.platform == "cpu"
        return self.layout.per_shard(views.strong_views(self.recipe, sequential=one_by_one))

    @cached_property
    def supervised_view(self) -> views.View:
        """The view of the proxy and the retrainings: a weak view, or a random resized crop of the cached squares.

        Of original images the host has already cut the crops out; a weak view of that size adds the flip.
        """
        is_weak = not self.pools.sizes.resized or self.pools.sizes.exact
        view = (views.weak_view if is_weak else views.resized_crop_view)(self.supervised_recipe)
        return self.layout.per_shard(jax.vmap(view))

    @cached_property
    def inference(self) -> Inference:
        """Forward passes over the pool and the test set, by networks that learnt from ``recipe``'s views."""
        return self._inference(self.recipe)

    @cached_property
    def supervised_inference(self) -> Inference:
        """Forward passes by the proxy and by networks that were retrained."""
        return self._inference(self.supervised_recipe)

    def _inference(self, recipe: views.Recipe) -> Inference:
        return Inference(self.layout, self.pools, jax.vmap(views.evaluation_view(recipe)), recipe.size)

    def network(self, name: str, bn_momentum: float) -> Network:
        """The named network, for this run's classes."""
        return models.create(
            name,
            num_classes=len(self.classes),
            bn_momentum=bn_momentum,
            variant=self.wide_resnet,
            dtype=self.dtype,
        )

    @property
    def dtype(self) -> jnp.dtype:
        """The type that networks compute in."""
        dtype = self.runtime.compute_dtype
        if dtype == "auto":
            dtype = "float32" if self.layout.platform == "cpu" else "bfloat16"
        return jnp.dtype(dtype)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of a network's input, [H, W, 3]."""
        return self.recipe.size, self.recipe.size, 3

    def key(self, seed: int, stream: str) -> jax.Array:
        """The key of a named stream, on every device."""
        return self.layout.replicate(stream_key(seed, stream))

    def initial(
        self, network: Network, tx: optax.GradientTransformation, *, ema: bool, learner: Learner | None = None
    ) -> Callable[[jax.Array, jax.Array, jax.Array], TrainState]:
        """A function, not compiled yet: (key, learning rate, total steps) -> a fresh state."""

        def create(key: jax.Array, learning_rate: jax.Array, total_steps: jax.Array) -> TrainState:
            memory = learner.init() if learner else None
            fresh = state.create(network, tx, key, self.image_shape, ema=ema, learner=memory)
            return state.set_schedule(fresh, learning_rate=learning_rate, total_steps=total_steps)

        return create
