"""The networks by name: those that a run trains, and those with weights from a file. Importing this imports no JAX.

A new network is a file beside this one and a line here.
"""

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from semiprune_jax.errors import ArgumentError


class Architecture(NamedTuple):
    """A network that a run trains."""

    module: str  # where its flax module is
    constructor: str  # name of the flax module, which has the fields num_classes, bn_momentum, dtype and:
    fields: Mapping[str, Any]
    has_variants: bool = False  # whether it has the field ``variant`` too

    def create(self, num_classes: int, *, bn_momentum: float, dtype: Any, variant: str = "usb") -> Any:
        """The flax module; ``variant`` counts only if it has variants."""
        constructor = getattr(import_module(self.module), self.constructor)
        fields = {**self.fields, "variant": variant} if self.has_variants else self.fields
        return constructor(num_classes=num_classes, **fields, bn_momentum=bn_momentum, dtype=dtype)


class Pretrained(NamedTuple):
    """A network that computes features with weights from a file."""

    kind: str  # "vit" or "resnet"; decides the names of the weights, see ``pretrained``
    multiple: int  # the sides of images are multiples of this: the side of a patch, or the total stride of a ResNet
    fields: Mapping[str, Any]  # of the flax module


def _resnet(*stage_sizes: int, channels: int = 64, **fields: Any) -> Architecture:
    fields = {"stage_sizes": stage_sizes, "channels": channels, **fields}
    return Architecture("semiprune_jax.models.resnet", "ResNet", fields)


def vit(patch: int, width: int, depth: int, heads: int, grid: int, layer_scale: bool = False) -> Pretrained:
    """A vision transformer; the arguments are the fields of ``VisionTransformer``."""
    fields = {"width": width, "depth": depth, "heads": heads, "grid": grid, "layer_scale": layer_scale}
    return Pretrained("vit", patch, {"patch": patch, **fields})


# The plain names are torchvision's layout, for images of 64 pixels and more.
NETWORKS = {
    "resnet8": _resnet(1, 1, 1, channels=16),  # He et al.'s 6n + 2 layout for small images, n = 1
    "resnet18_cifar": _resnet(2, 2, 2, 2),  # the paper's for CIFAR
    "resnet50_cifar": _resnet(3, 4, 6, 3, bottleneck=True),  # and for SwAV on CIFAR
    "resnet18": _resnet(2, 2, 2, 2, stem="torchvision"),
    "resnet34": _resnet(3, 4, 6, 3, stem="torchvision"),
    "resnet50": _resnet(3, 4, 6, 3, stem="torchvision", bottleneck=True),
}
_WIDE = re.compile(r"wrn_(10|16|22|28|34|40)_([1-9]\d*)")

NETWORK_NAMES = " | ".join(("wrn_<depth>_<width> of depth 10, 16, 22, 28, 34 or 40", *NETWORKS))

PRETRAINED = {
    "vit_s16": vit(16, 384, 12, heads=6, grid=14),  # DINO: 224 pixels
    "vit_b16": vit(16, 768, 12, heads=12, grid=14),
    "vit_s14": vit(14, 384, 12, heads=6, grid=37, layer_scale=True),  # DINOv2: 518 pixels
    "vit_b14": vit(14, 768, 12, heads=12, grid=37, layer_scale=True),
    "resnet50": Pretrained("resnet", 32, NETWORKS["resnet50"].fields),
}


def is_network(name: str) -> bool:
    """Whether a run can train the named network.

    >>> is_network("wrn_28_2"), is_network("wrn_27_2")
    (True, False)
    """
    return name in NETWORKS or _WIDE.fullmatch(name) is not None


def architecture(name: str) -> Architecture:
    """The record of the named network; ArgumentError, which lists the names, if there is none.

    >>> dict(architecture("wrn_28_2").fields)
    {'depth': 28, 'width': 2}
    """
    if match := _WIDE.fullmatch(name):
        fields = {"depth": int(match[1]), "width": int(match[2])}
        return Architecture("semiprune_jax.models.wide_resnet", "WideResNet", fields, has_variants=True)
    if name not in NETWORKS:
        raise ArgumentError(f"network {name!r}: expected {NETWORK_NAMES}")
    return NETWORKS[name]
