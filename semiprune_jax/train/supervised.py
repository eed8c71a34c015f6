"""Supervised trainings: the proxy, whose dynamics are recorded, retraining on a coreset, and the trials of a search."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from semiprune_jax.data.samplers import EpochSampler
from semiprune_jax.distributed import processes
from semiprune_jax.train import dynamics, state
from semiprune_jax.train.context import TrainContext
from semiprune_jax.train.inference import Evaluate
from semiprune_jax.train.state import TrainState
from semiprune_jax.train.steps import evaluation_step, prediction_step, supervised_step
from semiprune_jax.train.training import Job, Training
from semiprune_jax.workdir import checkpoint


class Program(NamedTuple):
    """The compiled functions of all trainings of one recipe."""

    create: Callable  # (key, learning rate, total steps) -> TrainState
    dispatch: Callable  # see ``Training``


def proxy(
    context: TrainContext, job: Job, labels: np.ndarray, ids: np.ndarray | None = None, *, epochs: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Trains the proxy and records its dynamics.

    Args:
      job: its options are the config section ``proxy``.
      labels: i32[N], known (pseudo-labels included) for all examples of the training.
      ids: i64[n], the examples of the training; None: the whole pool. The record holds zeros for all others.
      epochs: those that are trained and recorded, under a schedule of ``options.epochs``; None: all.

    Returns:
      The recorded arrays of ``Dynamics``, [N, epochs] each; and the network, {"params", "batch_stats"}.
    """
    final, record = context.run(proxy_training(context, job, labels, ids, epochs=epochs))
    saved = context.layout.save_record(dynamics.Dynamics(**dynamics.results(record)))
    recorded = {key: np.asarray(value)[: len(labels)] for key, value in dynamics.results(saved).items()}
    return recorded, _network(final)


def proxy_training(
    context: TrainContext, job: Job, labels: np.ndarray, ids: np.ndarray | None = None, *, epochs: int | None = None
) -> Training:
    """The proxy's training at its beginning; arguments as for ``proxy``."""
    options, n = job.options, len(labels)
    recorded: int = options.epochs if epochs is None else epochs
    init = partial(
        dynamics.init,
        context.layout.record_rows(n),
        recorded,
        entropy=options.record_entropy,
        grad_norm=options.record_grad_norm,
        kl_classes=len(context.classes) * options.record_kl,
    )
    record, ids = context.layout.create_record(init), np.arange(n) if ids is None else ids
    per_epoch, batch_size = -(-len(ids) // options.batch_size), options.batch_size
    steps, stop = options.epochs * per_epoch, recorded * per_epoch
    return supervised_training(context, job, labels, ids, batch_size, steps=steps, stop=stop, record=record)


def retrain(
    context: TrainContext, job: Job, labels: np.ndarray, ids: np.ndarray, batch_size: int
) -> tuple[dict[str, float | int], dict[str, Any]]:
    """Trains a fresh network on the examples ``ids`` and tests it; arguments as for ``supervised_training``.

    Returns:
      The results on the test set: test_accuracy and test_loss of the last epoch, best_test_accuracy and best_epoch;
      empty without a test set, and on all processes but the first. And the network, {"params", "batch_stats"}.
    """
    steps = retrain_steps(job.options, len(ids), batch_size)
    training = supervised_training(context, job, labels, ids, batch_size, steps=steps)
    final, _ = context.run(training)
    if training.evaluate is None:
        return {}, _network(final)
    evaluated = [line for line in context.metrics.lines(job.name) if "test_accuracy" in line]
    # A run killed at the very end may have lost lines. Process 0 decides for all of them: it writes the file.
    if processes.broadcast(not evaluated or evaluated[-1]["step"] != int(final.step)):
        epoch = steps / training.steps_per_epoch
        evaluated.append({"step": int(final.step), "epoch": epoch, **training.evaluate(final)})
    if not processes.is_lead_host():
        return {}, _network(final)
    last, best = evaluated[-1], max(evaluated, key=lambda line: line["test_accuracy"])
    result = {
        "test_accuracy": last["test_accuracy"],
        "test_loss": last["test_loss"],
        "best_test_accuracy": best["test_accuracy"],
        "best_epoch": best["epoch"],
    }
    return result, _network(final)


def predictions(context: TrainContext, job: Job, network: dict[str, Any], ids: np.ndarray) -> np.ndarray:
    """i32[n], the classes that a network predicts for some images of the pool.

    Args:
      job: of the network's training.
      network: as ``retrain`` returns it.
      ids: i64[n], the same in all calls of one run.
    """

    def make() -> Callable[[TrainState], list[dict]]:
        made, pool = context.network(job.network, job.options.bn_momentum), context.pools.eval_pool
        return context.supervised_inference.forward(prediction_step, made, pool, np.full(pool.n, -1, np.int32), ids=ids)

    trained = TrainState(jnp.int32(0), network["params"], network["batch_stats"], None, None)
    parts = context.once(("predictions", job.network), make)(trained)
    return np.concatenate([part["prediction"] for part in parts])[: len(ids)]


def retrain_steps(options: Any, examples: int, batch_size: int) -> int:
    """The steps of a retraining; options are the config section ``retrain``."""
    return options.steps or options.epochs * -(-examples // batch_size)


def trials(
    context: TrainContext, options: Any, network: str, labels: np.ndarray, held_out: np.ndarray
) -> Callable[..., dict[str, float]]:
    """Trainings like ``retrain``'s that are tested on part of the pool, by the labels given. No test set is read.

    Args:
      options: the config section ``retrain``.
      network: see ``models.create``.
      labels: i32[N].
      held_out: i64[n], ids to test on.

    Returns:
      (name, ids, *, batch_size, seed, length) -> accuracy, examples, steps and seconds. The length is a share of that
      of a retraining. Nothing is saved.
    """
    tested = context.network(network, options.bn_momentum)
    pool = context.pools.eval_pool
    forward = context.supervised_inference.forward(evaluation_step, tested, pool, labels, ids=held_out)

    def attempt(name: str, ids: np.ndarray, *, batch_size: int, seed: int, length: float) -> dict[str, float]:
        began, job = time.monotonic(), Job(name, seed, network, options)
        steps = max(1, round(length * retrain_steps(options, len(ids), batch_size)))
        training = supervised_training(context, job, labels, ids, batch_size, steps=steps, tests=False)
        final, _ = context.run(training)
        sums = forward(final)
        checkpoint.forget(context.workdir / name)
        accuracy = sum(float(part["correct"]) for part in sums) / len(held_out)
        seconds = round(time.monotonic() - began, 3)
        return {"accuracy": accuracy, "examples": len(ids), "steps": training.total_steps, "seconds": seconds}

    return attempt


def supervised_training(
    context: TrainContext,
    job: Job,
    labels: np.ndarray,
    ids: np.ndarray,
    batch_size: int,
    *,
    steps: int,
    stop: int | None = None,
    record: dynamics.Dynamics | None = None,
    tests: bool = True,
) -> Training:
    """A supervised training at its beginning.

    Args:
      job: its options are the config section ``proxy`` or ``retrain``.
      labels: i32[N], known for all of ``ids``.
      ids: i64[n], the examples of the training.
      steps: the length of the training's schedule.
      stop: the steps that it makes; None: all.
      record: as a layout creates it; None: nothing is recorded.
      tests: whether to evaluate on the test set, where there is one.
    """
    options, rows, stop = job.options, context.layout.padded(batch_size), steps if stop is None else stop
    # Streams of random numbers go by the stage, so that all coresets of one seed start from the same weights.
    sampler = EpochSampler(job.seed, f"{job.stage}/order", ids, batch_size=batch_size, rows=rows, pad_id=len(labels))
    steps_per_epoch = sampler.steps_per_epoch
    pool = context.pools.supervised(job.seed, f"{job.stage}/crops")
    program = _program(context, job, steps_per_epoch=0 if record is None else steps_per_epoch)
    return Training(
        name=job.name,
        state=program.create(context.key(job.seed, f"{job.stage}/init"), options.learning_rate, steps),
        record=record,
        dispatch=program.dispatch,
        pool=pool.arrays(labels),
        feed=pool.feed(sampler, stop),
        key=context.key(job.seed, f"{job.stage}/views"),
        total_steps=stop,
        steps_per_epoch=steps_per_epoch,
        passes=("epoch", steps_per_epoch),
        images_per_step=batch_size,
        evaluate=_evaluation(context, job) if tests else None,
        evaluate_every=options.eval_every_epochs * steps_per_epoch,
    )


def _network(trained: TrainState) -> dict[str, Any]:
    return {"params": trained.params, "batch_stats": trained.batch_stats}


def _program(context: TrainContext, job: Job, *, steps_per_epoch: int) -> Program:
    """The compiled functions of a job's recipe. Learning rate and length are data: trainings of other sizes share them.

    Args:
      steps_per_epoch: 0 without a record.
    """
    options = job.options

    def make() -> Program:
        network = context.network(job.network, options.bn_momentum)
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
            supervised_step,
            model=network,
            tx=tx,
            augment=context.supervised_view,
            steps_per_epoch=steps_per_epoch,
        )
        create = context.layout.compile_init(context.initial(network, tx, ema=False))
        return Program(create, context.layout.compile(step, context.pools.supervised(0, "").fetch))

    fields = ("bn_momentum", "final_learning_rate", "momentum", "nesterov", "weight_decay")
    recipe = (job.network, steps_per_epoch, *(options[field] for field in fields))
    return context.once(("supervised", *recipe), make)


def _evaluation(context: TrainContext, job: Job) -> Evaluate | None:
    """The evaluation on the test set, compiled once per network."""

    def make() -> Evaluate | None:
        return context.supervised_inference.evaluation(context.network(job.network, job.options.bn_momentum))

    return context.once(("evaluation", job.network), make)
