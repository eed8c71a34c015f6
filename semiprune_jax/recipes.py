"""What the paper's experiments share (its tables 7 and 8), and the variants of a config: ``configs/NAME.py:VARIANT``.

Importing this module imports neither JAX nor the rest of the package.
"""

from typing import Any

from semiprune_jax.config import Config

VARIANTS = ("", "usb", "smoke")


def supervised(config: Config, **fields: Any) -> None:
    """Sets fields of the proxy's and of the retrainings' recipe alike."""
    for section in (config.proxy, config.retrain):
        section.update(fields)


def large_images(config: Config) -> None:
    """ResNet-50 for FixMatch, plain SGD after it: the recipes of all pools but CIFAR's.

    FixMatch's weight decay is USB's for ImageNet; the authors' for these pools is not known. EL2N sums SemiPrune's
    eleven epochs.
    """
    config.model.fixmatch = "resnet50"
    config.fixmatch.mu = 1
    config.fixmatch.weight_decay = 3e-4
    config.fixmatch.bn_momentum = 0.9
    supervised(config, nesterov=False, weight_decay=1e-4)
    config.score.last = 11


def imagenet_crops(config: Config) -> None:
    """Networks see 224 pixels: windows of squares of 256, random parts, or centres."""
    config.data.crops = "resized"
    config.data.image_size = 224
    config.data.square_size = 256


def cifar100(config: Config) -> None:
    """CIFAR-100 of TFDS, and the networks and dynamics that its three experiments share."""
    config.data.source = "tfds"
    config.data.name = "cifar100"
    config.data.expected = (50_000, 10_000, 100)
    config.data.oracle = True
    config.data.mean = (0.507, 0.487, 0.441)
    config.data.std = (0.267, 0.256, 0.276)
    config.model.fixmatch = "wrn_28_8"
    config.fixmatch.weight_decay = 1e-3
    config.score.last = 20  # SemiPrune's EL2N window
    config.select.semi_dual.c_d = 4.0


def tiny_imagenet(config: Config) -> None:
    """Tiny-ImageNet's folder at 64 pixels: clean or corrupted, the recipe is one."""
    config.data.source = "folder"
    config.data.expected = (100_000, 10_000, 200)
    config.data.oracle = True
    config.data.image_size = 64
    config.model.proxy = config.model.retrain = "resnet34"
    large_images(config)
    supervised(config, epochs=90, batch_size=256)
    config.fixmatch.batch_size = 128
    config.fixmatch.steps = 39_050  # 50 passes of 781 steps
    config.select.semi_aum.cutoff = (0.2, 0.4, 0.6, 0.7, 0.8)
    config.select.semi_dual.horizon = 50
    config.select.semi_dual.c_d = 3.0


def varied(config: Config, variant: str, *, usb_steps: int = 0) -> Config:
    """The config in one of VARIANTS.

    Args:
      variant: "": as it is, the paper's epochs of FixMatch read as passes over the pool. "usb": read as USB's 1,024
        steps. "smoke": everything, in small, within a minute on a laptop; see ``smoke``.
      usb_steps: FixMatch's steps in "usb"; 0: there is no such variant.

    Raises:
      ValueError: there is no such variant.
    """
    known = [name for name in VARIANTS if name and (name != "usb" or usb_steps)]
    if variant and variant not in known:
        raise ValueError(
            f"no variant {variant!r} of this config; expected {' or '.join(known)}, after a colon, or none"
        )
    if variant == "usb":
        config.fixmatch.steps = usb_steps
    if variant == "smoke":
        smoke(config)
    return config


def smoke(config: Config) -> None:
    """Shrinks images, networks, pool and trainings; sources, crops, streams and stages stay those of the config."""
    resized = config.data.crops == "resized"
    config.data.expected = ()
    config.data.limit_per_class = 4 if resized else 20
    config.data.image_size = min(config.data.image_size, 32)
    config.data.square_size = 36 if resized else config.data.square_size

    config.model.fixmatch = "wrn_10_1"
    config.model.proxy = config.model.retrain = "resnet8"
    config.label.budget = 0.25
    config.fixmatch.steps = 10
    config.fixmatch.batch_size = 8
    config.fixmatch.mu = min(config.fixmatch.mu, 2)
    config.fixmatch.threshold = 0.0  # no network is sure after so few steps
    config.fixmatch.ema_decay = config.fixmatch.bn_momentum = 0.5
    config.fixmatch.eval_every_steps = 10
    config.proxy.epochs = 10
    config.proxy.batch_size = config.retrain.batch_size = 32
    config.retrain.epochs = 2
    config.retrain.seeds = (0,)
    config.proxy.bn_momentum = config.retrain.bn_momentum = 0.5
    config.score.last = 10
    config.select.keep = (0.5,)
    config.select.semi_aum.cutoff = config.select.ccs.cutoff = (0.1,)
    config.select.semi_dual.horizon = config.select.dual_hardest.horizon = 10
    config.runtime.workers = 2
