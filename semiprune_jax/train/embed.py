"""Embeddings of the pool, by a network that this run has trained or by one whose weights are in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.augment import views
from semiprune_jax.models import Network, pretrained
from semiprune_jax.train import steps
from semiprune_jax.train.context import TrainContext
from semiprune_jax.train.inference import Inference
from semiprune_jax.train.state import TrainState


def embed_trained(
    context: TrainContext, inference: Inference, network_name: str, bn_momentum: float, restore: Callable[[Any], Any]
) -> dict[str, np.ndarray]:
    """features f32[N, D] and probabilities f32[N, C] of the pool, by a network of this run.

    Args:
      inference: with the views of the network's training.
      network_name, bn_momentum: see ``models.create``.
      restore: loads the saved {"params", "batch_stats"} into the structure of the tree that it gets.
    """
    network = context.network(network_name, bn_momentum)
    shapes = jax.eval_shape(lambda key: network.init(key, context.image_shape), jax.random.key(0))
    params, batch_stats = context.layout.abstract(shapes)
    saved = restore({"params": params, "batch_stats": batch_stats})
    trained = TrainState(jnp.int32(0), saved["params"], saved["batch_stats"], None, None)
    return inference.over_pool(steps.embedding_step, network, trained)


def embed_pretrained(context: TrainContext, name: str, path: Path, side: int) -> dict[str, np.ndarray]:
    """features f32[N, D] of the pool, by a network with the weights of a file.

    Args:
      name: one of ``models.networks.PRETRAINED``.
      side: pixels that images are resized to.
    """
    apply, variables = pretrained.load(name, path)

    def features(params: Any, batch_stats: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array, Any]:
        assert not train
        found = apply(params, x)
        return found[:, :1], found, batch_stats  # it has no classes

    view = jax.vmap(views.enlarged_view(side)), side
    trained = TrainState(jnp.int32(0), context.layout.replicate(variables), {}, None, None)
    network = Network(lambda key, shape: (variables, {}), features)
    return {"features": context.inference.over_pool(steps.embedding_step, network, trained, view)["features"]}
