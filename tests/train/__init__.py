"""A network, views and batches that steps are tested on, small enough to be computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.models import Network
from semiprune_jax.train import state


def linear(classes=3):
    """A network of one matrix and no batch norm, so that losses can be computed by hand."""

    def init(key, image_shape):
        return {"w": jax.random.normal(key, (int(np.prod(image_shape)), classes)) / 10}, {}

    def apply(params, batch_stats, x, *, train, mask=None, axis_name=None):
        flat = x.reshape(x.shape[0], -1)
        return flat @ params["w"], flat, batch_stats

    return Network(init, apply)


def scaled(factor):
    """A view that multiplies, so that views can be told apart."""
    return lambda keys, images: images.astype(jnp.float32) / 255 * factor


def optimizer(lr=0.1, total=100, **options):
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "decay_matrices_only": True} | options
    return state.sgd(state.cosine_to(0.0), learning_rate=lr, total_steps=total, **settings)


def begin(network, tx, key, ema):
    return jax.jit(lambda key: state.create(network, tx, key, (8, 8, 3), ema=ema))(key)


def batch_of(images, labels, ids, mask=None):
    return {
        "image": jnp.array(images[ids]),
        "label": jnp.array(labels[ids]),
        "id": jnp.array(ids),
        "mask": jnp.ones(len(ids), bool) if mask is None else jnp.array(mask),
    }
