"""Embed: embeds the pool with a network of this run or with given weights, or reads given embeddings."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.baselines.swav import swav
from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.features import embeddings
from semiprune_jax.stages import costs
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.costs import Counts, Work
from semiprune_jax.stages.label import EXAMPLES
from semiprune_jax.stages.settings import views
from semiprune_jax.stages.stage import Stage
from semiprune_jax.train.embed import embed_pretrained, embed_trained
from semiprune_jax.workdir import artifacts, formats
from semiprune_jax.workdir.artifacts import Artifact, Inputs
from semiprune_jax.workdir.tasks import Outcome, Task

# features f32[N, D], and probabilities f32[N, C] if the network predicts classes
EMBEDDINGS = artifacts.arrays("embed/embeddings.npz", "embed")

# embed.source -> the stage that trains the network, and the config section of its training
_NETWORKS = {"proxy": ("score", "proxy"), "fixmatch": ("pseudolabel", "ssl")}


def run(context: Context) -> None:
    """Embeds the pool."""
    context.runner.run(task(context))


def task(context: Context) -> Task:
    """The one task of this stage."""
    options, source = context.config.embed, context.config.embed.source
    outside = {}
    if source in ("file", "weights"):
        outside["file"] = formats.hash_file(embeddings.existing(options.path, source, options.network))
    network = artifacts.network(_NETWORKS[source][0]) if source in _NETWORKS else None

    def work(inputs: Inputs) -> Outcome:
        found = _embed(context, inputs, network)
        summary = f"{found['features'].shape[1]:,} numbers an image, from {source}"
        return Outcome({EMBEDDINGS: found}, summary + _collapse(context))

    reads = (network,) if network else (EXAMPLES,)
    return Task("embed", settings(context.config), reads, work, outside=outside)


def settings(config: Config) -> dict[str, Any]:
    """The settings of the embeddings' source; a network of this run is an input instead."""
    found: dict[str, Any] = {"source": config.embed.source}
    if config.embed.source == "swav":
        found |= views(config) | {"swav": schema.settings(config.swav), "seed": config.seed}
    elif config.embed.source == "weights":
        found |= schema.settings(config.embed, "path")
    return {"embed": found}


def _embed(context: Context, inputs: Inputs, network: Artifact | None) -> dict[str, np.ndarray]:
    config, options = context.config, context.config.embed
    if network:
        section = _NETWORKS[options.source][1]
        trainer, momentum = context.trainer, config[section].bn_momentum
        inference = trainer.inference if section == "ssl" else trainer.supervised_inference
        return embed_trained(trainer, inference, config.model[section], momentum, inputs[network])
    if options.source == "file":
        return {"features": embeddings.read(Path(options.path), list(inputs[EXAMPLES]["key"]))}
    if options.source == "weights":
        return embed_pretrained(context.trainer, options.network, Path(options.path), options.image_size)
    return swav(context.trainer, config.swav, name="embed", seed=config.seed)


def _collapse(context: Context) -> str:
    """SwAV's loss beside that of chance; the two are equal if the training has collapsed."""
    losses = [line["loss"] for line in context.metrics.lines("embed") if "loss" in line]
    if context.config.embed.source != "swav" or not losses:
        return ""
    return f", loss {losses[-1]:.3f} ({math.log(context.config.swav.prototypes):.3f} by chance)"


def _reads(config: Config) -> set[str]:
    return {_NETWORKS[config.embed.source][0] if config.embed.source in _NETWORKS else "label"}


def _costs(config: Config, counts: Counts) -> Iterator[Work]:
    options, n = config.swav, counts.n
    if config.embed.source == "swav":
        cost, seen = costs.network_cost(config, options.network, counts.classes), options.epochs * n
        # Crops of an image; a small crop counts by its number of pixels.
        crops = 2 + options.small_crops * (options.small_crop_size / config.data.image_size) ** 2
        batch, steps = round(options.batch_size * crops), options.epochs * math.ceil(n / options.batch_size)
        yield Work("embed", batch, steps, seen * crops, n, seen + n, cost)
    elif config.embed.source == "weights":
        yield Work("embed", 0, 0, 0, n, n, costs.pretrained_cost(config))
    elif config.embed.source != "file":
        cost = costs.network_cost(config, config.model[_NETWORKS[config.embed.source][1]], counts.classes)
        yield Work("embed", 0, 0, 0, n, n, cost)


STAGE = Stage("embed", run, _reads, costs=_costs)
