"""Supervised trainings: the proxy, whose dynamics are recorded, retraining on a coreset, and the trials of a search."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.data.samplers import EpochSampler
from semiprune_jax.distributed import processes
from semiprune_jax.train import dynamics, state, steps
from semiprune_jax.train.context import TrainContext
from semiprune_jax.train.inference import Evaluate
from semiprune_jax.train.training import Training
from semiprune_jax.workdir import checkpoint


class Program(NamedTuple):
    """The compiled functions of supervised trainings of one recipe; batch shapes aside, these differ in data alone."""

    create: Callable  # (key, learning rate, total steps) -> TrainState
    dispatch: Callable  # see ``Training``
    evaluate: Evaluate | None


def proxy(
    context: TrainContext,
    options: Any,
    network_name: str,
    labels: np.ndarray,
    ids: np.ndarray | None = None,
    *,
    name: str,
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Trains the proxy and records its dynamics.

    Args:
      options: the config section ``proxy``.
      network_name: see ``models.create``.
      labels: i32[N], known (pseudo-labels included) for all examples that it is trained on.
      ids: i64[n], the examples that it is trained on; None: the whole pool. The record holds zeros for the others.
      name: the directory of its task.

    Returns:
      The recorded arrays of ``Dynamics``, [N, epochs] each; and the network, {"params", "batch_stats"}.
    """
    training = proxy_training(context, options, network_name, labels, ids, name=name, seed=seed)
    final, record = context.run(training)
    saved = context.layout.save_record(dynamics.Dynamics(**dynamics.results(record)))
    recorded = {key: np.asarray(value)[: len(labels)] for key, value in dynamics.results(saved).items()}
    return recorded, {"params": final.params, "batch_stats": final.batch_stats}


def proxy_training(
    context: TrainContext,
    options: Any,
    network_name: str,
    labels: np.ndarray,
    ids: np.ndarray | None = None,
    *,
    name: str,
    seed: int,
) -> Training:
    """The proxy as the loop runs it, at its beginning; arguments as for ``proxy``."""
    n = len(labels)
    ids = np.arange(n) if ids is None else ids
    made = program(context, options, network_name, steps_per_epoch=-(-len(ids) // options.batch_size))
    training = _training(
        context, options, made, labels, ids, name=name, batch_size=options.batch_size, seed=seed, evaluates=True
    )
    init = partial(
        dynamics.init,
        context.layout.record_rows(n),
        options.epochs,
        entropy=options.record_entropy,
        grad_norm=options.record_grad_norm,
        kl_classes=len(context.classes) * options.record_kl,
    )
    return replace(training, record=context.layout.create_record(init))


def retrain(
    context: TrainContext,
    options: Any,
    network_name: str,
    labels: np.ndarray,
    ids: np.ndarray,
    *,
    name: str,
    batch_size: int,
    seed: int,
) -> tuple[dict[str, float | int], dict[str, Any]]:
    """Trains a fresh network on the examples ``ids`` with ``labels`` i32[N].

    Args:
      options: the config section ``retrain``.
      network_name: see ``models.create``.
      name: the directory of its task.

    Returns:
      What the metrics say of the test set: test_accuracy and test_loss of the last epoch, best_test_accuracy and
      best_epoch; empty without a test set, and on all processes but the first. And the network, {"params",
      "batch_stats"}.
    """
    arguments = {"name": name, "batch_size": batch_size, "seed": seed}
    final, _ = context.run(retrain_training(context, options, network_name, labels, ids, **arguments))
    network = {"params": final.params, "batch_stats": final.batch_stats}
    evaluate = program(context, options, network_name).evaluate
    if evaluate is None:
        return {}, network
    evaluated = [line for line in context.metrics.lines(name) if "test_accuracy" in line]
    # A run killed at the very end may have lost lines. Process 0 decides for all of them: it writes the file.
    if processes.broadcast(not evaluated or evaluated[-1]["step"] != int(final.step)):
        evaluated.append({"step": int(final.step), "epoch": options.epochs, **evaluate(final)})
    if not processes.is_lead_host():
        return {}, network
    last, best = evaluated[-1], max(evaluated, key=lambda line: line["test_accuracy"])
    result = {
        "test_accuracy": last["test_accuracy"],
        "test_loss": last["test_loss"],
        "best_test_accuracy": best["test_accuracy"],
        "best_epoch": best["epoch"],
    }
    return result, network


def retrain_training(
    context: TrainContext,
    options: Any,
    network_name: str,
    labels: np.ndarray,
    ids: np.ndarray,
    *,
    name: str,
    batch_size: int,
    seed: int,
) -> Training:
    """A retraining as the loop runs it, at its beginning; arguments as for ``retrain``."""
    made = program(context, options, network_name)
    return _training(context, options, made, labels, ids, name=name, batch_size=batch_size, seed=seed, evaluates=True)


def trials(
    context: TrainContext, options: Any, network_name: str, labels: np.ndarray, held_out: np.ndarray
) -> Callable[..., dict[str, float]]:
    """Trainings like ``retrain``'s, but tested on part of the pool by the labels given. No test set is read.

    Args:
      labels: i32[N].
      held_out: i64[n], ids to test on.

    Returns:
      (name, ids, *, batch_size, seed) -> accuracy, examples, steps and seconds. Nothing is saved.
    """
    network = context.network(network_name, options.bn_momentum)
    pool = context.pools.eval_pool
    forward = context.inference.forward(steps.evaluation_step, network, pool, labels, ids=held_out)
    made = program(context, options, network_name, with_test=False)

    def attempt(name: str, ids: np.ndarray, *, batch_size: int, seed: int) -> dict[str, float]:
        began = time.monotonic()
        training = _training(context, options, made, labels, ids, name=name, batch_size=batch_size, seed=seed)
        final, _ = context.run(training)
        sums = forward(final)
        checkpoint.forget(context.workdir / name)
        accuracy = sum(float(part["correct"]) for part in sums) / len(held_out)
        seconds = round(time.monotonic() - began, 3)
        return {"accuracy": accuracy, "examples": len(ids), "steps": training.total_steps, "seconds": seconds}

    return attempt


def program(
    context: TrainContext, options: Any, network_name: str, *, steps_per_epoch: int = 0, with_test: bool = True
) -> Program:
    """The compiled functions for a recipe, made once per run.

    Args:
      options: the config section ``proxy`` or ``retrain``.
      steps_per_epoch: needed with a record only.
      with_test: whether to evaluate on the test set.
    """
    fields = ("bn_momentum", "final_learning_rate", "momentum", "nesterov", "weight_decay")
    recipe = (network_name, steps_per_epoch, *(options[field] for field in fields))
    network = context.network(network_name, options.bn_momentum)
    if recipe not in context.programs:
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
            steps.supervised_step,
            model=network,
            tx=tx,
            augment=context.supervised_view,
            steps_per_epoch=steps_per_epoch,
        )
        create = context.layout.compile_init(context.initial(network, tx, ema=False))
        dispatch = context.layout.compile(step, context.pools.supervised(0, "").fetch)
        context.programs[recipe] = Program(create, dispatch, None)
    if not with_test:
        return context.programs[recipe]
    tested = (*recipe, "tested")
    if tested not in context.programs:
        evaluate = context.inference.evaluation(network)
        context.programs[tested] = context.programs[recipe]._replace(evaluate=evaluate)
    return context.programs[tested]


def _training(
    context: TrainContext,
    options: Any,
    made: Program,
    labels: np.ndarray,
    ids: np.ndarray,
    *,
    name: str,
    batch_size: int,
    seed: int,
    evaluates: bool = False,
) -> Training:
    kind = name.split("/", maxsplit=1)[0]  # the seed's streams are the stage's, not the coreset's
    rows = context.layout.padded(batch_size)
    sampler = EpochSampler(seed, f"{kind}/order", ids, batch_size=batch_size, rows=rows, pad_id=len(labels))
    total = options.epochs * sampler.steps_per_epoch
    pool = context.pools.supervised(seed, f"{kind}/crops")
    return Training(
        name=name,
        state=made.create(context.key(seed, f"{kind}/init"), options.learning_rate, total),
        record=None,
        dispatch=made.dispatch,
        pool=pool.arrays(labels),
        feed=pool.feed(sampler, total),
        key=context.key(seed, f"{kind}/views"),
        total_steps=total,
        steps_per_epoch=sampler.steps_per_epoch,
        passes=("epoch", sampler.steps_per_epoch),
        images_per_step=batch_size,
        evaluate=made.evaluate if evaluates else None,
        evaluate_every=options.eval_every_epochs * sampler.steps_per_epoch,
    )
