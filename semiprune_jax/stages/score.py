"""Score: trains the proxy on pseudo-labels, or on the budget alone, and scores examples by the recorded dynamics."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.field import is_open
from semiprune_jax.select import coreset, scores
from semiprune_jax.select.selectors import SELECTORS, horizons
from semiprune_jax.stages import costs
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.costs import Counts, Work
from semiprune_jax.stages.label import EXAMPLES
from semiprune_jax.stages.pseudolabel import PSEUDOLABELS, pseudo_labels
from semiprune_jax.stages.settings import selection_names, training, used
from semiprune_jax.stages.stage import Stage
from semiprune_jax.stages.warnings import slow_averages
from semiprune_jax.train.supervised import proxy
from semiprune_jax.train.training import Job
from semiprune_jax.workdir import artifacts
from semiprune_jax.workdir.artifacts import Inputs, Table
from semiprune_jax.workdir.tasks import Outcome, Task, View

DYNAMICS = artifacts.arrays("score/dynamics.npz", "score")  # the fields of ``Dynamics``, [N, T] each
# id, key, and every score by name; a view of the dynamics
SCORES = replace(artifacts.table("score/scores.parquet", "score"), derived=True)
NETWORK = artifacts.network("score")

_RECORD = 13  # bytes of dynamics per example and epoch: two probabilities, whether it was right, EL2N


def run(context: Context) -> None:
    """Trains the proxy and scores the examples."""
    context.runner.run(task(context))


def task(context: Context) -> Task:
    """The one task of this stage. Scores are a view of the dynamics: scoring again trains nothing."""
    config = context.config
    of_all = config.proxy.examples == "all"

    def work(inputs: Inputs) -> Outcome:
        labels = pseudo_labels(inputs[PSEUDOLABELS]) if of_all else inputs[EXAMPLES]["label"]
        ids = None if of_all else np.flatnonzero(labels >= 0)
        job = Job("score", config.seed, config.model.proxy, config.proxy)
        record, network = proxy(context.trainer, job, labels, ids, epochs=recorded_epochs(config))
        megabytes = sum(value.nbytes for value in record.values()) / 1e6
        summary = f"{recorded_epochs(config)} epochs, {megabytes:.1f} MB of dynamics"
        return Outcome({NETWORK: network, DYNAMICS: record}, summary)

    scored = schema.settings(config.score) | {"examples": config.proxy.examples}
    view = View(SCORES, (EXAMPLES, DYNAMICS), lambda inputs: _score(config, inputs), scored)
    return Task("score", settings(config), (PSEUDOLABELS if of_all else EXAMPLES,), work, view=view)


def settings(config: Config) -> dict[str, Any]:
    """The settings of the proxy's training."""
    found = training(config, "proxy", "eval_every_epochs") | {"seed": config.seed}
    recorded = recorded_epochs(config)
    return found if recorded == config.proxy.epochs else found | {"recorded_epochs": recorded}


def recorded_epochs(config: Config) -> int:
    """The epochs that the proxy trains: where all selections read only the first ones, no more than those.

    Its schedule stays that of all epochs. (DUAL's authors stop their proxy so, arXiv:2502.06905.)
    """
    epochs = config.proxy.epochs
    needed = [_needed_epochs(config, name) for name in selection_names(config)]
    if config.embed.source == "proxy" and any(
        "embed" in coreset.reads(used(config, n)) for n in selection_names(config)
    ):
        needed.append(epochs)
    return max(needed) or epochs


def _needed_epochs(config: Config, name: str) -> int:
    """The epochs of dynamics that a selection reads."""
    spec, epochs = used(config, name), config.proxy.epochs
    reads = SELECTORS[spec["selector"]].reads
    if "easiness" in reads or ("score" in spec and "horizon" not in scores.SCORES[spec["score"]].options):
        return epochs
    if "score" not in spec:
        return 0
    if not is_open(spec["horizon"]):
        return spec["horizon"] or epochs
    return max(config.search.horizons or horizons(config.score.window, epochs))


def dynamics_bytes(config: Config, n: int) -> int:
    """Bytes of the dynamics of ``n`` examples."""
    asked = config.proxy.record_entropy + config.proxy.record_kl + config.proxy.record_grad_norm
    return (_RECORD + 4 * asked) * n * recorded_epochs(config)


def record_bytes(config: Config, counts: Counts) -> int:
    """Bytes of the record on the devices: the dynamics, and the probabilities that TDDS compares each visit with."""
    return dynamics_bytes(config, counts.n) + 4 * config.proxy.record_kl * counts.n * counts.classes


def _score(config: Config, inputs: Inputs) -> Table:
    """Every score that the record allows, over all recorded epochs."""
    options, dynamics, examples = schema.settings(config.score), inputs[DYNAMICS], inputs[EXAMPLES]
    names = [name for name in scores.SCORES if scores.recorded(name, dynamics, options)]
    found = {name: scores.compute(name, dynamics, options) for name in names}
    if config.proxy.examples == "labelled":  # the record has nothing about the others
        known = examples["label"] >= 0
        found = {name: np.where(known, values, np.float32(np.nan)) for name, values in found.items()}
    return {"id": np.arange(len(examples["key"])), "key": examples["key"], **found}


def _reads(config: Config) -> set[str]:
    return {"pseudolabel" if config.proxy.examples == "all" else "label"}


def _length(config: Config, n: int, known: int) -> tuple[int, int]:
    """The examples and the steps of an epoch, of a pool of ``n`` examples with ``known`` labels."""
    size = n if config.proxy.examples == "all" else known
    return size, math.ceil(size / config.proxy.batch_size)


def _costs(config: Config, counts: Counts) -> Iterator[Work]:
    recipe = config.proxy
    size, steps_per_epoch = _length(config, counts.n, counts.known)
    steps = recorded_epochs(config) * steps_per_epoch
    tested = costs.evaluations(counts, steps, recipe.eval_every_epochs * steps_per_epoch)
    cost = costs.network_cost(config, config.model.proxy, counts.classes)
    yield costs.supervised("score", cost, size=size, batch=recipe.batch_size, steps=steps, tested=tested)


def _warnings(context: Context) -> Iterator[str]:
    labels = context.store.load(EXAMPLES)["label"]
    _, steps_per_epoch = _length(context.config, len(labels), int(np.sum(labels >= 0)))
    steps = recorded_epochs(context.config) * steps_per_epoch
    yield from slow_averages(context, "score", "proxy", steps, {"bn_momentum": "batch statistics"})


STAGE = Stage("score", run, _reads, costs=_costs, warnings=_warnings)
