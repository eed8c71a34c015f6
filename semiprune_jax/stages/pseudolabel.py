"""Pseudolabel: a label and a confidence for every example, by FixMatch or by clusters of embeddings."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from semiprune_jax.baselines.temi import cluster
from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.stages import costs
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.costs import Counts, Work
from semiprune_jax.stages.embed import EMBEDDINGS
from semiprune_jax.stages.label import EXAMPLES, ORACLE
from semiprune_jax.stages.settings import training
from semiprune_jax.stages.stage import Stage
from semiprune_jax.stages.warnings import slow_averages
from semiprune_jax.train.fixmatch import fixmatch, images_per_step
from semiprune_jax.train.quality import pseudo_label_quality
from semiprune_jax.train.training import Job
from semiprune_jax.workdir import artifacts
from semiprune_jax.workdir.artifacts import Artifact, Inputs
from semiprune_jax.workdir.tasks import Outcome, Task

# id, key, pseudo_label (known labels kept), label_source, prediction, confidence
PSEUDOLABELS = artifacts.table("pseudolabel/pseudolabels.parquet", "pseudolabel")
NETWORK = artifacts.network("pseudolabel")
QUALITY = artifacts.json("pseudolabel/quality.json", "pseudolabel")  # by part of the pool; with data.oracle only

_PARTS = {"unlabelled": "on the unlabelled", "pool": "on the pool", "pseudo_label": "with the known labels"}


def pseudo_labels(table: artifacts.Table) -> np.ndarray:
    """i32[N], from the value of ``PSEUDOLABELS``."""
    return table["pseudo_label"].astype(np.int32)


def run(context: Context) -> None:
    """Labels the pool.

    FixMatch keeps known labels as they are, and trains nothing if every label is known. Clusters have no names and need
    no labels.
    """
    context.runner.run(task(context))


def task(context: Context) -> Task:
    """The one task of this stage."""
    config = context.config
    clusters = _is_clustered(config)
    reads = (EXAMPLES, *([EMBEDDINGS] if clusters else []), *([ORACLE] if config.data.oracle else []))

    def work(inputs: Inputs) -> Outcome:
        labels = inputs[EXAMPLES]["label"]
        known = np.zeros(len(labels), bool) if clusters else labels >= 0
        outputs: dict[Artifact, Any] = {}
        if clusters:
            found = _cluster(context, inputs)
        elif np.all(known):
            found = {"prediction": labels.astype(np.int32), "confidence": np.ones(len(labels), np.float32)}
        else:
            job = Job("pseudolabel", config.seed, config.model.ssl, config.ssl)
            found, outputs[NETWORK] = fixmatch(context.trainer, job, labels)
        outputs[PSEUDOLABELS] = {
            "id": np.arange(len(labels)),
            "key": inputs[EXAMPLES]["key"],
            "pseudo_label": np.where(known, labels, found["prediction"]),
            "label_source": np.where(known, "budget", config.pseudolabel.source),
            **found,
        }
        if np.all(known):
            return Outcome(outputs, "every label is known")
        if ORACLE not in inputs:
            return Outcome(outputs, f"mean confidence {found['confidence'].mean():.3f}")
        outputs[QUALITY] = _quality(context, outputs[PSEUDOLABELS], inputs[ORACLE]["label"], known)
        key = "matched_accuracy" if clusters else "accuracy"
        shown = (f"{100 * values[key]:.1f}% {_PARTS[part]}" for part, values in outputs[QUALITY].items())
        return Outcome(outputs, f"{key.replace('_', ' ')} {', '.join(shown)}")

    return Task("pseudolabel", settings(config), reads, work)


def settings(config: Config) -> dict[str, Any]:
    """The settings of FixMatch, or of the clustering of embeddings."""
    if _is_clustered(config):
        return {"temi": schema.settings(config.temi), "seed": config.seed}
    return training(config, "ssl", "eval_every_steps") | {"seed": config.seed}


def _is_clustered(config: Config) -> bool:
    return config.pseudolabel.source == "clusters"


def _cluster(context: Context, inputs: Inputs) -> dict[str, np.ndarray]:
    config, trainer = context.config, context.trainer
    truth = inputs[ORACLE]["label"] if config.temi.select == "oracle" else None
    features, classes = inputs[EMBEDDINGS]["features"], len(trainer.classes)
    with context.feature_devices():
        return cluster(trainer, config.temi, features, classes, name="pseudolabel", seed=config.seed, truth=truth)


def _quality(
    context: Context, table: artifacts.Table, truth: np.ndarray, known: np.ndarray
) -> dict[str, dict[str, float]]:
    """Quality of pseudo-labels, by part; also written to the metrics.

    Returns:
      For the keys of ``_PARTS``: of the predictions for the images without a label, of those for the whole pool, and of
      the column pseudo_label, which has the known labels in it as in the paper's tables. Clusters have no names that
      could be right or wrong, and the column holds all of them, so that "pool" alone is left.
    """
    quality, clusters = {}, _is_clustered(context.config)
    step = max((line["step"] for line in context.metrics.lines("pseudolabel")), default=0)
    parts = {"pool": (table["prediction"], truth)}
    if not clusters:
        parts = {"unlabelled": (table["prediction"][~known], truth[~known])} | parts
        parts |= {"pseudo_label": (table["pseudo_label"], truth)}
    for part, (labels, true) in parts.items():
        values = pseudo_label_quality(labels, true, len(context.dataset.classes))
        wanted = ("nmi", "ari", *(key for key in values if key.startswith("matched") == clusters))
        quality[part] = {key: value for key, value in values.items() if key in wanted}
        context.metrics.write("pseudolabel", step, {f"{part}_{key}": value for key, value in quality[part].items()})
    return quality


def _costs(config: Config, counts: Counts) -> Iterator[Work]:
    if _is_clustered(config) or counts.known >= counts.n:
        return
    f, images = config.ssl, images_per_step(config.ssl)
    predicted = counts.n + costs.evaluations(counts, f.steps, f.eval_every_steps)
    decoded = f.steps * f.batch_size * (1 + f.mu) + counts.n
    cost = costs.network_cost(config, config.model.ssl, counts.classes)
    yield Work("pseudolabel", images, f.steps, f.steps * images, predicted, decoded, cost)


def _warnings(context: Context) -> Iterator[str]:
    f = context.config.ssl
    if not _is_clustered(context.config) and np.any(context.store.load(EXAMPLES)["label"] < 0):
        averages = {"ema_decay": "weights", "bn_momentum": "batch statistics"}
        yield from slow_averages(context, "pseudolabel", "ssl", f.steps, averages)


STAGE = Stage(
    "pseudolabel",
    run,
    reads=lambda config: {"embed" if _is_clustered(config) else "label"},
    costs=_costs,
    warnings=_warnings,
)
