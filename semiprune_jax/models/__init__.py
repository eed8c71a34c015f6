"""Networks by name, behind two functions. The only package that imports flax.linen."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from semiprune_jax.models.resnet import ResNet
from semiprune_jax.models.swav import SwavNetwork
from semiprune_jax.models.wide_resnet import WideResNet

_DEEP = {"resnet18": ((2, 2, 2, 2), False), "resnet34": ((3, 4, 6, 3), False), "resnet50": ((3, 4, 6, 3), True)}

# name -> fields of ResNet. The plain names are torchvision's layout, for images of 64 pixels and more.
RESNETS = {
    "resnet8": {"stage_sizes": (1, 1, 1), "channels": 16},  # He et al.'s 6n + 2 layout for small images, n = 1
    "resnet18_cifar": {"stage_sizes": (2, 2, 2, 2), "channels": 64},  # the paper's for CIFAR
    "resnet50_cifar": {"stage_sizes": (3, 4, 6, 3), "channels": 64, "bottleneck": True},  # and for SwAV on CIFAR
    **{
        name: {"stage_sizes": sizes, "channels": 64, "bottleneck": bottleneck, "stem": "torchvision"}
        for name, (sizes, bottleneck) in _DEEP.items()
    },
}


class Network(NamedTuple):
    """A network as two pure functions over parameter and batch-statistics trees."""

    # (key, image shape (H, W, 3)) -> (params, batch_stats)
    init: Callable[[jax.Array, tuple[int, int, int]], tuple[Any, Any]]
    # (params, batch_stats, x f32[B, H, W, 3], *, train, mask=None, axis_name=None)
    #   -> (logits f32[B, C], features f32[B, D], batch_stats)
    apply: Callable[..., tuple[jax.Array, jax.Array, Any]]


def create(
    name: str, *, num_classes: int, bn_momentum: float, variant: str = "usb", dtype: jnp.dtype = jnp.float32
) -> Network:
    """The named network. ``variant`` concerns wide ResNets only; raises KeyError for an unknown name."""
    if wide := _wide(name):
        module = WideResNet(num_classes, *wide, variant=variant, bn_momentum=bn_momentum, dtype=dtype)
    else:
        module = ResNet(num_classes, **RESNETS[name], bn_momentum=bn_momentum, dtype=dtype)

    return _network(module)


def _network(module: Any) -> Network:
    def init(key: jax.Array, image_shape: tuple[int, int, int]):
        variables = module.init(key, jnp.zeros((1, *image_shape), jnp.float32), train=True)
        return variables["params"], variables["batch_stats"]

    def apply(params, batch_stats, x, *, train: bool, mask=None, axis_name=None) -> tuple[jax.Array, jax.Array, Any]:
        variables = {"params": params, "batch_stats": batch_stats}
        if not train:
            evaluated: Any = module.apply(variables, x, train=False)
            logits, features = evaluated
            return logits, features, batch_stats
        outputs: Any = module.apply(variables, x, train=True, mask=mask, axis_name=axis_name, mutable=["batch_stats"])
        (logits, features), updated = outputs
        return logits, features, updated["batch_stats"]

    return Network(init, apply)


def create_swav(name: str, *, prototypes: int, dtype: jnp.dtype = jnp.float32) -> Network:
    """The named ResNet under SwAV's head: its logits are scores of prototypes; raises KeyError for an unknown name."""
    module = SwavNetwork(ResNet(1, **RESNETS[name], dtype=dtype), prototypes)
    return _network(module)


def _wide(name: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"wrn_(\d+)_(\d+)", name)
    if not match or (int(match[1]) - 4) % 6 or int(match[1]) < 10 or int(match[2]) < 1:
        return None
    return int(match[1]), int(match[2])
