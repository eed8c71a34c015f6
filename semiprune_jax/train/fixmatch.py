"""FixMatch and its relatives: a network learns from the label budget and predicts the whole pool."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optax

from semiprune_jax import learners
from semiprune_jax.data.pools import paired
from semiprune_jax.data.samplers import EndlessSampler, PairedSampler
from semiprune_jax.learners.learner import Learner, Options
from semiprune_jax.train import diagnostics, state, steps
from semiprune_jax.train.context import TrainContext
from semiprune_jax.train.training import Job, Training


def fixmatch(context: TrainContext, job: Job, labels: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Trains FixMatch and predicts the whole pool.

    Args:
      job: its options are the config section ``ssl``.
      labels: i32[N], -1 outside the budget.

    Returns:
      The predictions of the averaged parameters, {"prediction": i32[N], "confidence": f32[N]}; and the network,
      {"params", "batch_stats"}.
    """
    final, _ = context.run(fixmatch_training(context, job, labels))
    network = context.network(job.network, job.options.bn_momentum)
    predicted = context.inference.over_pool(steps.prediction_step, network, final)
    return predicted, {"params": final.ema_params, "batch_stats": final.batch_stats}


def fixmatch_training(context: TrainContext, job: Job, labels: np.ndarray) -> Training:
    """FixMatch's training at its beginning; arguments as for ``fixmatch``."""
    options, layout, pool = job.options, context.layout, context.pools.squares
    network, learner = context.network(job.network, options.bn_momentum), _learner(options, labels, context.classes)
    tx = _optimizer(options)
    step = partial(
        steps.fixmatch_step,
        model=network,
        tx=tx,
        weak=context.weak,
        strong=context.strong,
        learner=learner,
        unsupervised_weight=options.unsupervised_weight,
        ema_decay=options.ema_decay,
    )
    create = layout.compile_init(context.initial(network, tx, ema=True, learner=learner))
    record = None
    if learner.init_examples:
        record = layout.create_record(partial(learner.init_examples, layout.record_rows(len(labels))))
    return Training(
        name=job.name,
        state=create(context.key(job.seed, "fixmatch/init"), options.learning_rate, options.steps),
        record=record,
        dispatch=layout.compile(step, paired(pool.fetch)),
        pool=pool.arrays(labels),
        feed=pool.feed(_sampler(options, labels, layout.padded(options.batch_size), job.seed), options.steps),
        key=context.key(job.seed, "fixmatch/views"),
        total_steps=options.steps,
        steps_per_epoch=options.steps,  # endless streams have no epochs
        passes=("pool_passes", len(labels) / (options.batch_size * options.mu)),
        images_per_step=images_per_step(options),
        evaluate=context.inference.evaluation(network),
        evaluate_every=options.eval_every_steps,
        guard=_guard(options, labels, context.classes, learner.threshold),
    )


def images_per_step(options: Any) -> int:
    """Images through the network in a step: each labelled one, and every view of each unlabelled one.

    Args:
      options: the config section ``ssl``.
    """
    return options.batch_size * (1 + learners.LEARNERS[options.learner].views * options.mu)


def _optimizer(options: Any) -> optax.GradientTransformation:
    return state.sgd(
        state.cosine_sevenths,
        learning_rate=options.learning_rate,
        total_steps=options.steps,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
        decay_matrices_only=True,
    )


def _sampler(options: Any, labels: np.ndarray, rows: int, seed: int) -> PairedSampler:
    """The labelled and the unlabelled stream; the unlabelled one includes the labelled images."""
    n = len(labels)
    known, size, mu = np.flatnonzero(labels >= 0), options.batch_size, options.mu
    return PairedSampler(
        EndlessSampler(seed, "fixmatch/labelled", known, batch_size=size, rows=rows, pad_id=n),
        EndlessSampler(seed, "fixmatch/unlabelled", np.arange(n), batch_size=size * mu, rows=rows * mu, pad_id=n),
    )


def _label_share(labels: np.ndarray, classes: int) -> np.ndarray:
    """f64[C], the share of each class among the labels."""
    return np.bincount(labels[labels >= 0], minlength=classes) / np.sum(labels >= 0)


def _learner(options: Any, labels: np.ndarray, classes: tuple[str, ...]) -> Learner:
    count = len(classes)
    shares = {"none": None, "uniform": np.full(count, 1 / count), "labelled": _label_share(labels, count)}
    own = Options(count, n=len(labels), steps=options.steps, threshold=options.threshold)
    return learners.create(options.learner, own, shares[options.alignment])


def _guard(
    options: Any, labels: np.ndarray, classes: tuple[str, ...], threshold: float | None
) -> Callable[[int, dict[str, Any]], str | None]:
    """Watches for collapse, once the network has had time to learn."""
    label_share = _label_share(labels, len(classes))
    uses_unlabelled = options.unsupervised_weight > 0

    def guard(step: int, means: dict[str, Any]) -> str | None:
        if step < diagnostics.BEGINS * options.steps:
            return None
        mask_rate = means["mask_rate"] if uses_unlabelled else 1.0
        return diagnostics.collapse(mask_rate, means["class_share"], label_share, classes, threshold=threshold)

    return guard
