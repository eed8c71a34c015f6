"""Retrain: trains a fresh network on each coreset with each seed, and tests it.

Where true labels are not known, the networks learn from pseudo-labels, and also predict the images whose true labels
are held out: the report judges selections by these.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.config.schema import Config
from semiprune_jax.select import selectors
from semiprune_jax.stages import costs, settings
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.costs import Counts, Work
from semiprune_jax.stages.label import EXAMPLES, HELD_OUT, ORACLE, bought
from semiprune_jax.stages.pseudolabel import PSEUDOLABELS, pseudo_labels
from semiprune_jax.stages.select import choice_of, spec_of, tasks
from semiprune_jax.stages.stage import Stage
from semiprune_jax.stages.warnings import slow_averages
from semiprune_jax.train.supervised import predictions, retrain, retrain_steps
from semiprune_jax.train.training import Job
from semiprune_jax.workdir import artifacts
from semiprune_jax.workdir.artifacts import Artifact, Inputs
from semiprune_jax.workdir.tasks import Outcome, Task


class Subset(NamedTuple):
    """Examples to retrain on."""

    name: str  # of the selection, or "full", "labelled_only"
    directory: str  # of its retrainings, without the seed
    keep: float
    coreset: Artifact | None = None  # its column "kept" marks them; None: the whole pool or the labelled part


def result_of(task: str) -> Artifact[Any]:
    """The result of a retraining: name, keep, seed, examples, batch_size, steps, labels, and test accuracies."""
    return artifacts.json(f"{task}/result.json", task, "name", "keep", "seed")


def predictions_of(task: str) -> Artifact[artifacts.Table]:
    """The predictions of a network trained on pseudo-labels for the held-out images: id, prediction."""
    return artifacts.table(f"{task}/held_out.parquet", task)


def run(context: Context) -> None:
    """Retrains on every subset with every seed."""
    config = context.config
    if config.pseudolabel.source == "clusters" and not config.data.oracle:
        context.runner.log("note: no network is retrained: clusters have no names; label what to_label.txt lists")
        return
    retrain_on(context, "retrain", [*_others(context), *coresets(context)], truth=config.data.oracle)


def retrain_on(context: Context, stage: str, subsets: Sequence[Subset], *, truth: bool) -> None:
    """Retrains on every subset with every seed, on true labels or on pseudo-labels.

    Args:
      stage: the directory of the tasks.
    """
    for subset in subsets:
        with context.runner.line(f"{stage}/{subset.directory}") as line:
            for seed in context.config.retrain.seeds:
                context.runner.run(_task(context, stage, subset, seed, line, truth=truth), line)


def retrain_settings(config: Config, keep: float, labels: str, seed: int) -> dict[str, Any]:
    """The settings of one retraining.

    Args:
      labels: the kind of labels that it uses, "true labels" or "pseudo-labels".
    """
    batch_size = settings.retrain_batch(config, keep)
    return settings.retraining(config) | {"batch_size": batch_size, "labels": labels, "seed": seed}


def _others(context: Context) -> Iterator[Subset]:
    """The whole pool and the budget, where the config asks for them."""
    options = context.config.retrain
    if options.full:
        yield Subset("full", "full", 1.0)
    if options.labelled_only:
        share = float(np.mean(bought(context.store.load(EXAMPLES), context.store.load(HELD_OUT))))
        yield Subset("labelled_only", "labelled_only", _as_keep(share))


def coresets(context: Context) -> Iterator[Subset]:
    """The coresets of all selections."""
    for task in tasks(context.config):
        spec = context.store.load(spec_of(task))
        yield Subset(spec["name"], task.removeprefix("select/"), spec["keep"], choice_of(task))


def _task(context: Context, stage: str, subset: Subset, seed: int, line: list[str], *, truth: bool) -> Task:
    config, directory = context.config, f"{stage}/{subset.directory}_seed{seed}"
    batch_size, source = settings.retrain_batch(config, subset.keep), "true labels" if truth else "pseudo-labels"
    reads = (EXAMPLES, HELD_OUT, ORACLE if truth else PSEUDOLABELS)
    reads = (*reads, *([subset.coreset] if subset.coreset else []))

    def work(inputs: Inputs) -> Outcome:
        labels = inputs[ORACLE]["label"] if truth else pseudo_labels(inputs[PSEUDOLABELS])
        held_out = np.zeros(0, np.int64) if truth else inputs[HELD_OUT]["id"]
        ids = np.setdiff1d(np.flatnonzero(_kept(inputs, subset)), held_out)
        job = Job(directory, seed, config.model.retrain, config.retrain)
        tested, network = retrain(context.trainer, job, labels, ids, batch_size)
        steps = retrain_steps(config.retrain, len(ids), batch_size)
        result = {
            "name": subset.name,
            "keep": subset.keep,
            "seed": seed,
            "examples": len(ids),
            "batch_size": batch_size,
            "steps": steps,
            "labels": source,
            **tested,
        }
        saves = config.retrain.save_model and stage == STAGE.name
        outputs: dict[Artifact, Any] = {artifacts.network(directory): network} if saves else {}
        if len(held_out):
            predicted = predictions(context.trainer, job, network, held_out)
            outputs[predictions_of(directory)] = {"id": held_out, "prediction": predicted}
        accuracy = f"{100 * tested['test_accuracy']:.1f}%" if tested else "no test set"
        summary = accuracy if line else f"{len(ids):,} images, {steps:,} steps: {accuracy}"
        return Outcome(outputs | {result_of(directory): result}, summary)

    return Task(directory, retrain_settings(config, subset.keep, source, seed), reads, work)


def _kept(inputs: Inputs, subset: Subset) -> np.ndarray:
    """The examples of a subset, bool[N]."""
    if subset.coreset:
        return inputs[subset.coreset]["kept"]
    budget = bought(inputs[EXAMPLES], inputs[HELD_OUT])
    return budget if subset.name == "labelled_only" else np.ones(len(budget), bool)


def _as_keep(share: float) -> float:
    """The share of the labelled examples as a kept fraction: they have the recipe of a coreset of their size."""
    return float(f"{share:.2g}")


def _reads(config: Config) -> set[str]:
    return {"select", "label" if config.data.oracle else "pseudolabel"}


def _costs(config: Config, counts: Counts) -> Iterator[Work]:
    """The trainings of each coreset size."""
    options, seeds = config.retrain, len(config.retrain.seeds)
    sizes = {keep: selectors.coreset_size(counts.n, keep) for keep in config.select.keep}
    selections = len(settings.selection_names(config))
    parts = [(f"retrain keep {keep:g}", keep, size, selections) for keep, size in sizes.items()]
    parts += [("retrain full", 1.0, counts.n, 1)] if options.full else []
    if options.labelled_only:
        budget = counts.known + counts.held_out * config.data.oracle  # pseudo-labels never replace what is held out
        parts.append(("retrain labelled_only", _as_keep((counts.known + counts.held_out) / counts.n), budget, 1))
    cost = costs.network_cost(config, config.model.retrain, counts.classes)
    for name, keep, size, times in parts:
        batch = settings.retrain_batch(config, keep)
        steps, every = retrain_steps(options, size, batch), options.eval_every_epochs * math.ceil(size / batch)
        tested, count = costs.evaluations(counts, steps, every), times * seeds
        yield costs.supervised(
            f"{name} x {count}", cost, size=size, batch=batch, steps=steps, times=count, tested=tested
        )


def _warnings(context: Context) -> Iterator[str]:
    config, n = context.config, len(context.store.load(EXAMPLES)["label"])
    steps = min(
        retrain_steps(config.retrain, selectors.coreset_size(n, keep), settings.retrain_batch(config, keep))
        for keep in config.select.keep
    )
    yield from slow_averages(context, "retrain", "retrain", steps, {"bn_momentum": "batch statistics"})


STAGE = Stage("retrain", run, _reads, is_goal=lambda config: True, costs=_costs, warnings=_warnings)
