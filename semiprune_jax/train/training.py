"""The trainings: FixMatch, the proxy, retraining on a coreset, and SwAV. One loop; what differs is the step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax import learners, models
from semiprune_jax.augment import swav as crops
from semiprune_jax.augment import views
from semiprune_jax.baselines import swav
from semiprune_jax.config.schema import Config, fixmatch_images
from semiprune_jax.data.pools import Pools, paired
from semiprune_jax.data.samplers import EndlessSampler, EpochSampler, PairedSampler
from semiprune_jax.data.stream import StreamArrays
from semiprune_jax.distributed import preemption, processes
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.learners import Learner
from semiprune_jax.models import Network, pretrained
from semiprune_jax.randomness import stream_key
from semiprune_jax.train import diagnostics, dynamics, loop, state, steps
from semiprune_jax.train.inference import Evaluate, Inference
from semiprune_jax.train.loop import Pace, Training
from semiprune_jax.train.state import TrainState
from semiprune_jax.workdir import checkpoint
from semiprune_jax.workdir.metrics import Metrics


@dataclass(frozen=True)
class Trainings:
    """The trainings of one run: they share devices, pools, views and metrics.

    Compiled programs are kept here, so that retrainings of one batch shape share one.
    """

    config: Config
    classes: tuple[str, ...]
    pools: Pools
    layout: Layout
    metrics: Metrics
    workdir: Path

    def fixmatch(self, name: str, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Trains FixMatch and predicts the whole pool.

        Args:
          name: the stage's directory.
          labels: i32[N], -1 outside the budget.

        Returns:
          prediction i32[N] and confidence f32[N], by the averaged parameters; they are saved as ``<name>/model``.
        """
        final, _ = self._run(self.fixmatch_training(name, labels))
        self._save_model(name, final.ema_params, final.batch_stats)
        return self._inference.over_pool(steps.prediction_step, self._fixmatch_network, final)

    def proxy(self, name: str, labels: np.ndarray, ids: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Trains the proxy on the whole pool and records its dynamics.

        Args:
          name: the stage's directory.
          labels: i32[N], known (pseudo-labels included) for all that it is trained on.
          ids: i64[n], what it is trained on; None: the whole pool. Of the others the record holds zeros.

        Returns:
          The recorded arrays of ``Dynamics``, [N, epochs] each. Parameters are saved as ``<name>/model``.
        """
        final, record = self._run(self.proxy_training(name, labels, ids))
        self._save_model(name, final.params, final.batch_stats)
        saved = self.layout.save_record(dynamics.Dynamics(**dynamics.results(record)))
        return {key: np.asarray(value)[: len(labels)] for key, value in dynamics.results(saved).items()}

    def swav(self, name: str) -> dict[str, np.ndarray]:
        """features f32[N, D] of the pool, by an encoder that is trained on it without labels.

        Args:
          name: the stage's directory.
        """
        final, _ = self._run(self.swav_training(name))
        return {"features": self._inference.over_pool(steps.embedding_step, self._swav_network, final)["features"]}

    def embed_pretrained(self, name: str, path: Path, side: int) -> dict[str, np.ndarray]:
        """features f32[N, D] of the pool, by a network with weights of a file.

        Args:
          name: one of ``pretrained.NAMES``.
          side: pixels that images are resized to.
        """
        apply, variables = pretrained.load(name, path)

        def features(params: Any, batch_stats: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array, Any]:
            assert not train
            found = apply(params, x)
            return found[:, :1], found, batch_stats  # it has no classes

        view = jax.vmap(views.enlarged_view(side)), side
        trained = TrainState(jnp.int32(0), self.layout.replicate(variables), {}, None, None)
        network = Network(lambda key, shape: (variables, {}), features)
        return {"features": self._inference.over_pool(steps.embedding_step, network, trained, view)["features"]}

    def embed(self, which: str) -> dict[str, np.ndarray]:
        """features f32[N, D] and probabilities f32[N, C] of the pool, by the trained network of a stage.

        Args:
          which: "fixmatch" or "proxy".
        """
        stage = {"fixmatch": "pseudolabel", "proxy": "score"}[which]
        network = self._network(self.config.model[which], self.config[which].bn_momentum)
        side = self.config.data.image_size
        shapes = jax.eval_shape(lambda key: network.init(key, (side, side, 3)), jax.random.key(0))
        params, batch_stats = self.layout.abstract(shapes)
        saved = checkpoint.restore(self.workdir / stage / "model", {"params": params, "batch_stats": batch_stats})
        trained = TrainState(jnp.int32(0), saved["params"], saved["batch_stats"], None, None)
        return self._inference.over_pool(steps.embedding_step, network, trained)

    def retrain(
        self, name: str, labels: np.ndarray, ids: np.ndarray, *, batch_size: int, seed: int
    ) -> dict[str, float | int]:
        """Trains a fresh network on the examples ``ids`` with ``labels`` i32[N].

        Returns:
          What the run's metrics hold of the test set: test_accuracy and test_loss of the last epoch,
          best_test_accuracy and best_epoch; empty without a test set, and on all processes but the first. Parameters
          are saved as ``<name>/model``.
        """
        final, _ = self._run(self.retraining(name, labels, ids, batch_size=batch_size, seed=seed))
        if self.config.retrain.save_model:
            self._save_model(name, final.params, final.batch_stats)
        evaluate = self._retrain_evaluation
        if evaluate is None:
            return {}
        evaluated = [line for line in self.metrics.lines(name) if "test_accuracy" in line]
        # Killed at the very end, lines may be lost. Of several processes the first one knows: it writes the file.
        if processes.broadcast(not evaluated or evaluated[-1]["step"] != int(final.step)):
            line = {"step": int(final.step), "epoch": self.config.retrain.epochs, **evaluate(final)}
            evaluated.append(line)
        if not processes.is_lead_host():
            return {}
        last, best = evaluated[-1], max(evaluated, key=lambda line: line["test_accuracy"])
        return {
            "test_accuracy": last["test_accuracy"],
            "test_loss": last["test_loss"],
            "best_test_accuracy": best["test_accuracy"],
            "best_epoch": best["epoch"],
        }

    def trials(self, labels: np.ndarray, held_out: np.ndarray) -> Callable[..., dict[str, float]]:
        """Trainings as ``retrain``'s, but tested on part of the pool, by the labels given. No test set is looked at.

        Args:
          labels: i32[N].
          held_out: i64[n], ids to test on.

        Returns:
          (name, ids, *, batch_size, seed) -> accuracy, examples, steps and seconds. Nothing is saved.
        """
        network = self._network(self.config.model.retrain, self.config.retrain.bn_momentum)
        forward = self._inference.forward(steps.evaluation_step, network, self.pools.eval_pool, labels, ids=held_out)

        def attempt(name: str, ids: np.ndarray, *, batch_size: int, seed: int) -> dict[str, float]:
            began = time.monotonic()
            training = self._supervised(
                name, self._retrain_program, self.config.retrain, labels, ids, batch_size=batch_size, seed=seed
            )
            final, _ = self._run(training)
            sums = forward(final)
            loop.forget(self.workdir / name)
            accuracy = sum(float(part["correct"]) for part in sums) / len(held_out)
            seconds = round(time.monotonic() - began, 3)
            return {"accuracy": accuracy, "examples": len(ids), "steps": training.total_steps, "seconds": seconds}

        return attempt

    def _label_share(self, labels: np.ndarray) -> np.ndarray:
        """f64[C], of each class among the labels."""
        return np.bincount(labels[labels >= 0], minlength=len(self.classes)) / np.sum(labels >= 0)

    def _learner(self, labels: np.ndarray) -> Learner:
        options, classes = self.config.fixmatch, len(self.classes)
        made = learners.Options(classes, n=len(labels), steps=options.steps, threshold=options.threshold)
        shares = {"none": None, "uniform": np.full(classes, 1 / classes), "labelled": self._label_share(labels)}
        return learners.create(options.learner, made, shares[options.alignment])

    def _guard(self, labels: np.ndarray, threshold: float | None) -> Callable[[int, dict[str, Any]], str | None]:
        """Watches FixMatch for collapse, once it has had time to learn."""
        options = self.config.fixmatch
        label_share = self._label_share(labels)
        uses_unlabelled = options.unsupervised_weight > 0

        def guard(step: int, means: dict[str, Any]) -> str | None:
            if step < diagnostics.BEGINS * options.steps:
                return None
            mask_rate = means["mask_rate"] if uses_unlabelled else 1.0
            return diagnostics.collapse(mask_rate, means["class_share"], label_share, self.classes, threshold=threshold)

        return guard

    # The trainings as the loop runs them, at their beginning.

    def fixmatch_training(self, name: str, labels: np.ndarray) -> Training:
        """FixMatch as the loop runs it, at its beginning; arguments as for ``fixmatch``."""
        options, n = self.config.fixmatch, len(labels)
        network, learner = self._fixmatch_network, self._learner(labels)
        tx = state.sgd(
            state.cosine_sevenths,
            learning_rate=options.learning_rate,
            total_steps=options.steps,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
            decay_matrices_only=True,
        )
        step = partial(
            steps.fixmatch_step,
            model=network,
            tx=tx,
            weak=self.weak,
            strong=self.strong,
            learner=learner,
            unsupervised_weight=options.unsupervised_weight,
            ema_decay=options.ema_decay,
        )
        rows, seed = self.layout.padded(options.batch_size), self.config.seed
        labelled = EndlessSampler(
            seed, "fixmatch/labelled", np.flatnonzero(labels >= 0), batch_size=options.batch_size, rows=rows, pad_id=n
        )
        unlabelled = EndlessSampler(
            seed, "fixmatch/unlabelled", np.arange(n),
            batch_size=options.batch_size * options.mu, rows=rows * options.mu, pad_id=n,
        )  # fmt: skip
        pool = self.pools.squares
        create = self.layout.compile_init(self._initial(network, tx, ema=True, learner=learner))
        record = None
        if learner.init_examples:
            record = self.layout.create_record(partial(learner.init_examples, self.layout.record_rows(n)))
        return Training(
            name=name,
            state=create(self._key(seed, "fixmatch/init"), options.learning_rate, options.steps),
            record=record,
            dispatch=self.layout.compile(step, paired(pool.fetch)),
            pool=pool.arrays(labels),
            feed=pool.feed(PairedSampler(labelled, unlabelled), options.steps),
            key=self._key(seed, "fixmatch/views"),
            total_steps=options.steps,
            steps_per_epoch=options.steps,  # endless streams have no epochs
            passes=("pool_passes", n / (options.batch_size * options.mu)),
            images_per_step=fixmatch_images(options),
            evaluate=self._inference.evaluation(network),
            evaluate_every=options.eval_every_steps,
            guard=self._guard(labels, learner.threshold),
        )

    def proxy_training(self, name: str, labels: np.ndarray, ids: np.ndarray | None = None) -> Training:
        """The proxy as the loop runs it, at its beginning; arguments as for ``proxy``."""
        options, n = self.config.proxy, len(labels)
        ids = np.arange(n) if ids is None else ids
        init = partial(
            dynamics.init, self.layout.record_rows(n), options.epochs, entropy=options.record_entropy,
            grad_norm=options.record_grad_norm, kl_classes=len(self.classes) * options.record_kl,
        )  # fmt: skip
        training = self._supervised(
            name, self._proxy_program(-(-len(ids) // options.batch_size)), options, labels, ids,
            batch_size=options.batch_size, seed=self.config.seed, evaluate=self._proxy_evaluation,
        )  # fmt: skip
        return replace(training, record=self.layout.create_record(init))

    def swav_training(self, name: str) -> Training:
        """SwAV as the loop runs it, at its beginning; arguments as for ``swav``."""
        options, pool = self.config.swav, self.pools.squares
        seed, n, network = self.config.seed, pool.n, self._swav_network
        feed = EpochSampler(
            seed, f"{name}/order", np.arange(n),
            batch_size=options.batch_size, rows=self.layout.padded(options.batch_size), pad_id=n,
        )  # fmt: skip
        total, steps_per_epoch = options.epochs * feed.steps_per_epoch, feed.steps_per_epoch
        tx = state.sgd(
            state.cosine_to(options.final_learning_rate, warm_up=options.warm_up_epochs * steps_per_epoch),
            learning_rate=options.learning_rate,
            total_steps=total,
            momentum=0.9,
            nesterov=False,
            weight_decay=options.weight_decay,
            decay_matrices_only=False,
            trust=0.001,
        )
        crops_of = partial(crops.crop_view, self._recipe)
        views = [(crops_of(self.pools.sizes.image, tuple(options.crop_area)), 2)]
        if options.small_crops:
            views.append((crops_of(options.small_crop_size, tuple(options.small_crop_area)), options.small_crops))
        step = partial(
            swav.swav_step,
            model=network,
            tx=tx,
            views=[(self.layout.per_shard(jax.vmap(view)), count) for view, count in views],
            temperature=options.temperature,
            epsilon=options.epsilon,
            frozen_steps=options.frozen_steps,
        )
        initial = self._initial(network, tx, ema=False)

        def create(*arguments: jax.Array) -> TrainState:
            fresh = initial(*arguments)
            return fresh.replace(params=fresh.params | {"prototypes": swav.normalised(fresh.params["prototypes"])})

        return Training(
            name=name,
            state=self.layout.compile_init(create)(self._key(seed, f"{name}/init"), options.learning_rate, total),
            record=None,
            dispatch=self.layout.compile(step, pool.fetch),
            pool=pool.arrays(np.full(n, -1, np.int32)),
            feed=pool.feed(feed, total),
            key=self._key(seed, f"{name}/views"),
            total_steps=total,
            steps_per_epoch=steps_per_epoch,
            passes=("epoch", steps_per_epoch),
            images_per_step=options.batch_size * (2 + options.small_crops),
            evaluate=None,
            evaluate_every=1,
        )

    def retraining(self, name: str, labels: np.ndarray, ids: np.ndarray, *, batch_size: int, seed: int) -> Training:
        """A retraining as the loop runs it, at its beginning; arguments as for ``retrain``."""
        return self._supervised(
            name, self._retrain_program, self.config.retrain, labels, ids,
            batch_size=batch_size, seed=seed, evaluate=self._retrain_evaluation,
        )  # fmt: skip

    def _save_model(self, name: str, params: Any, batch_stats: Any) -> None:
        with preemption.deferred():  # Orbax has threads at work
            checkpoint.save(self.workdir / name / "model", {"params": params, "batch_stats": batch_stats})
        preemption.check()

    # The programs: a network and its compiled functions.

    @property
    def _fixmatch_network(self) -> Network:
        return self._network(self.config.model.fixmatch, self.config.fixmatch.bn_momentum)

    @cached_property
    def _swav_network(self) -> Network:
        options = self.config.swav
        return models.create_swav(options.network, prototypes=options.prototypes, dtype=self._dtype)

    @cached_property
    def _retrain_program(self) -> "_Program":
        return self._program(self.config.model.retrain, self.config.retrain)

    @cached_property
    def _retrain_evaluation(self) -> Evaluate | None:
        return self._inference.evaluation(self._network(self.config.model.retrain, self.config.retrain.bn_momentum))

    @property
    def _proxy_evaluation(self) -> Evaluate | None:
        return self._inference.evaluation(self._network(self.config.model.proxy, self.config.proxy.bn_momentum))

    def _proxy_program(self, steps_per_epoch: int) -> "_Program":
        return self._program(self.config.model.proxy, self.config.proxy, steps_per_epoch)

    def _program(self, network_name: str, options: Config, steps_per_epoch: int = 0) -> "_Program":
        network = self._network(network_name, options.bn_momentum)
        tx = state.sgd(
            state.cosine_to(options.final_learning_rate),
            learning_rate=options.learning_rate,
            total_steps=1,  # set for each training
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
            decay_matrices_only=False,
        )
        step = partial(
            steps.supervised_step, model=network, tx=tx, augment=self.supervised_view, steps_per_epoch=steps_per_epoch
        )
        return _Program(
            create=self.layout.compile_init(self._initial(network, tx, ema=False)),
            dispatch=self.layout.compile(step, self.pools.supervised(0, "").fetch),
        )

    def _supervised(
        self, name: str, program: "_Program", options: Config, labels: np.ndarray, ids: np.ndarray,
        *, batch_size: int, seed: int, evaluate: Evaluate | None = None,
    ) -> Training:  # fmt: skip
        kind = name.split("/", maxsplit=1)[0]  # the seed's streams are the stage's, not the coreset's
        feed = EpochSampler(
            seed, f"{kind}/order", ids, batch_size=batch_size, rows=self.layout.padded(batch_size), pad_id=len(labels)
        )
        total = options.epochs * feed.steps_per_epoch
        pool = self.pools.supervised(seed, f"{kind}/crops")
        return Training(
            name=name,
            state=program.create(self._key(seed, f"{kind}/init"), options.learning_rate, total),
            record=None,
            dispatch=program.dispatch,
            pool=pool.arrays(labels),
            feed=pool.feed(feed, total),
            key=self._key(seed, f"{kind}/views"),
            total_steps=total,
            steps_per_epoch=feed.steps_per_epoch,
            passes=("epoch", feed.steps_per_epoch),
            images_per_step=batch_size,
            evaluate=evaluate,
            evaluate_every=options.eval_every_epochs * feed.steps_per_epoch,
        )

    def _run(self, training: Training) -> tuple[TrainState, Any]:
        return loop.run(
            training,
            layout=self.layout,
            metrics=self.metrics,
            pace=self.pace(training),
            directory=self.workdir / training.name / "checkpoints",
        )

    def pace(self, training: Training | None = None) -> Pace:
        """Steps of a dispatch, a line and a checkpoint, of this training or of one whose images are resident."""
        runtime = self.config.runtime
        # Never a scan over steps on CPU: a convolution's weight gradient is some fifty times slower inside one.
        # Nor for images that come with the feed: steps worth streaming for are long enough one by one.
        automatic = 1 if self.layout.platform == "cpu" or (training and isinstance(training.pool, StreamArrays)) else 16
        return Pace(runtime.steps_per_dispatch or automatic, runtime.log_every_steps, runtime.checkpoint_every_steps)

    # What all of them are made of.

    @cached_property
    def _recipe(self) -> views.Recipe:
        data, sizes = self.config.data, self.pools.sizes
        # Windows of squares larger than themselves need no border.
        padding = 0.0 if sizes.resized else data.padding
        return views.Recipe(
            tuple(data.mean), tuple(data.std), padding, data.flip, self.config.fixmatch.operations, sizes.image,
            sizes.resized,
        )  # fmt: skip

    @cached_property
    def weak(self) -> views.View:
        """The weak view of a whole batch: (keys [B], u8[B, H, W, 3]) -> f32[B, S, S, 3]."""
        return self.layout.per_shard(jax.vmap(views.weak_view(self._recipe)))

    @cached_property
    def supervised_view(self) -> views.View:
        """What supervised trainings see: a weak view, or parts of squares where it is these that parts are cut from.

        Parts of original images the host has cut out; what is left to draw is the flip, a weak view of their own size.
        """
        if not self.pools.sizes.resized or self.pools.sizes.exact:
            return self.weak
        return self.layout.per_shard(jax.vmap(views.resized_crop_view(self._recipe)))

    @cached_property
    def _inference(self) -> Inference:
        still = jax.vmap(views.evaluation_view(self._recipe))
        return Inference(self.layout, self.pools, still, self.config.data.image_size)

    @cached_property
    def strong(self) -> views.View:
        """The strong view of a whole batch, with RandAugment in the way that suits the platform."""
        one_by_one = self.layout.platform == "cpu"
        return self.layout.per_shard(views.strong_views(self._recipe, sequential=one_by_one))

    def _network(self, name: str, bn_momentum: float) -> Network:
        return models.create(
            name, num_classes=len(self.classes), bn_momentum=bn_momentum, variant=self.config.model.wide_resnet,
            dtype=self._dtype,
        )  # fmt: skip

    @property
    def _dtype(self) -> jnp.dtype:
        """Of what networks compute."""
        dtype = self.config.runtime.compute_dtype
        if dtype == "auto":
            dtype = "float32" if self.layout.platform == "cpu" else "bfloat16"
        return jnp.dtype(dtype)

    def _key(self, seed: int, stream: str) -> jax.Array:
        return self.layout.replicate(stream_key(seed, stream))

    def _initial(self, network: Network, tx, *, ema: bool, learner: Learner | None = None):
        shape = (self.config.data.image_size, self.config.data.image_size, 3)

        def create(key: jax.Array, learning_rate: jax.Array, total_steps: jax.Array) -> TrainState:
            fresh = state.create(network, tx, key, shape, ema=ema, learner=learner.init() if learner else None)
            return state.set_schedule(fresh, learning_rate=learning_rate, total_steps=total_steps)

        return create


class _Program(NamedTuple):
    create: Any  # (key, learning rate, total steps) -> TrainState
    dispatch: Any
