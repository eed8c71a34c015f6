"""Estimates of the costs of stages: steps, images and FLOPs. No accelerator is needed.

FLOPs are XLA's count for a forward pass; a training pass counts as three. The memory that a step holds per image is
estimated as the arrays that convolutions read and write. For gradients of a WRN-28-2, WRN-28-8, ResNet-18 and ResNet-50
on a CPU, XLA takes 0.93, 0.94, 1.07 and 1.1 times the estimate. FixMatch's step of 960 images on a WRN-28-8 took 7.6 GB
of an H200; the estimate is 7.9 GB.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from semiprune_jax import models
from semiprune_jax.config.schema import Config
from semiprune_jax.models import pretrained


class Counts(NamedTuple):
    """The amounts of data in a run."""

    n: int  # images of the pool
    known: int  # labelled images among them that trainings may read
    held_out: int  # other labelled images
    tests: int
    classes: int


class NetworkCost(NamedTuple):
    """The costs of a network."""

    flops: float  # for a forward pass of one image
    parameters: int
    held: int  # bytes that a training step holds per image until its gradients are made


class Work(NamedTuple):
    """One stage, or several trainings of one shape."""

    name: str
    batch: int  # images through forward and backward in a step
    steps: int
    trained: float  # images through forward and backward
    predicted: float  # images through forward only
    decoded: float  # images decoded, if nothing is cached or resident
    cost: NetworkCost


def evaluations(counts: Counts, steps: int, every: int) -> int:
    """The number of test images that a training predicts."""
    return counts.tests * math.ceil(steps / every)


def supervised(name: str, cost: NetworkCost, *, size: int, batch: int, steps: int, times: int = 1, tested: int) -> Work:
    """``times`` supervised trainings of ``size`` examples and ``steps`` steps each.

    Args:
      tested: images that each training predicts.
    """
    trained = times * steps * size / math.ceil(size / batch)  # the last batch of an epoch is smaller
    return Work(name, batch, times * steps, trained, times * tested, trained, cost)


def network_cost(config: Config, name: str, classes: int) -> NetworkCost:
    """The cost of the named network on this config's images."""
    dtype = config.runtime.compute_dtype
    dtype = "bfloat16" if dtype == "auto" else dtype
    return _network_cost(name, classes, config.data.image_size, config.model.wide_resnet, dtype)


@lru_cache
def _network_cost(name: str, classes: int, side: int, variant: str, dtype: str) -> NetworkCost:
    network = models.create(name, num_classes=classes, bn_momentum=0.9, variant=variant, dtype=jnp.dtype(dtype))
    params, stats = jax.eval_shape(lambda key: network.init(key, (side, side, 3)), jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    forward = jax.jit(lambda params, stats, x: network.apply(params, stats, x, train=False)[0])
    training = jax.make_jaxpr(lambda params, stats, x: network.apply(params, stats, x, train=True)[0])
    held = sum(_convolved(training(params, stats, x).jaxpr).values())
    return NetworkCost(_flops(forward, params, stats, x), _size(params), held)


def pretrained_cost(config: Config) -> NetworkCost:
    """The cost of ``embed.network`` on images of ``embed.image_size``."""
    side = config.embed.image_size
    apply, variables = pretrained.shapes(config.embed.network)
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return NetworkCost(_flops(jax.jit(apply), variables, x), _size(variables), 0)


def _flops(forward: Any, *arguments: Any) -> float:
    return forward.lower(*arguments).cost_analysis()["flops"]


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _convolved(jaxpr: Any) -> dict[Any, int]:
    """Bytes of each array that a convolution reads or writes.

    A compiled step holds these for its gradients, and XLA recomputes norms and ReLUs from them. All arrays that
    autodiff lists as kept would take up to three times as much.
    """
    found = {}
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            for array in (equation.invars[0], equation.outvars[0]):
                found[array] = array.aval.size * array.aval.dtype.itemsize
        for inner in jaxprs_in_params(equation.params):
            found |= _convolved(inner)
    return found
