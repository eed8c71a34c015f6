"""Recipes that the paper's experiments share (its tables 7 and 8), and variants of a config: ``NAME:VARIANT``.

Importing this module does not import JAX.
"""

from typing import Any, NamedTuple

from semiprune_jax.config.schema import Config
from semiprune_jax.models.networks import PRETRAINED

VARIANTS = ("passes", "usb", "published", "smoke")

# The paper's comparisons, for the pool of any config: the selections that each makes, and the fields that it sets.
BASELINES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "random": (("random",), {}),
    "supervised": (("semi_dual",), {"label.rule": "given"}),  # DUAL and Beta sampling on every true label
    # The embeddings are those of SwAV's ResNet-50.
    "prototypicality": (
        ("prototypicality", "balanced_prototypicality"),
        {"embed.source": "weights", "embed.network": "resnet50"},
    ),
    # ZCore's own embeddings are CLIP's and a ResNet-18's side by side, which need embed.source = "file".
    "zcore": (("zcore",), {"embed.source": "weights"}),
    # The scorer is the proxy, with its recipe; docs/method.md has the released one's.
    "extrapolation": (("extrapolated",), {"proxy.examples": "labelled"}),
    "elfs": (
        ("semi_aum",),
        {"embed.source": "weights", "pseudolabel.source": "clusters", "select.semi_aum.cutoff": ()},
    ),
    "elfs_swav": (
        ("semi_aum",),
        {"embed.source": "swav", "pseudolabel.source": "clusters", "select.semi_aum.cutoff": ()},
    ),
    "semi_aum": (("semi_aum",), {}),
    "semi_dual": (("semi_dual",), {}),
    # Table 6 compares scores under double-end cutoff, and pseudo-labels; pseudolabel.source = "clusters" has ELFS's.
    "ablation": (("semi_aum", "semi_forgetting", "semi_el2n"), {}),
}


def supervised(config: Config, **fields: Any) -> None:
    """Sets fields in the recipes of both the proxy and the retrainings."""
    for section in (config.proxy, config.retrain):
        section.update(fields)


def large_images(config: Config) -> None:
    """The recipes of all pools but CIFAR's: ResNet-50 for FixMatch, and plain SGD after it.

    FixMatch's weight decay is USB's for ImageNet; the authors' for these pools is not known. EL2N sums SemiPrune's
    eleven epochs. SwAV follows its own ImageNet recipe, with ELFS's batch of 64 images on each of four devices. ELFS
    does not give its learning rate, so ours is scaled with the batch. The 3,000 prototypes are SwAV's for batches of
    4,096 images.
    """
    config.model.ssl = "resnet50"
    config.ssl.mu = 1
    config.ssl.weight_decay = 3e-4
    config.ssl.bn_momentum = 0.9
    supervised(config, nesterov=False, weight_decay=1e-4)
    config.score.last = 11
    config.swav.network = "resnet50"
    config.swav.epochs = 200
    config.swav.batch_size = 256
    config.swav.learning_rate, config.swav.final_learning_rate = 0.3, 3e-4
    config.swav.prototypes = 3000
    config.swav.temperature = 0.1
    config.swav.frozen_steps = 313
    config.swav.crop_area = (0.14, 1.0)
    config.swav.small_crops = 6


def imagenet_crops(config: Config) -> None:
    """Networks see 224 pixels: windows of squares of 256, random parts, or centres."""
    config.data.crops = "resized"
    config.data.image_size = 224
    config.data.square_size = 256


def cifar(config: Config) -> None:
    """The proxy and the retrainings see images normalised by CIFAR-10's statistics, as in ELFS; FixMatch as in USB."""
    config.data.supervised_mean = (0.4914, 0.4822, 0.4465)
    config.data.supervised_std = (0.2470, 0.2435, 0.2616)


def cifar100(config: Config) -> None:
    """CIFAR-100 of TFDS, and the networks and scores that its three experiments share."""
    config.data.source = "tfds"
    config.data.name = "cifar100"
    config.data.expected = (50_000, 10_000, 100)
    config.data.oracle = True
    config.data.mean = (0.507, 0.487, 0.441)
    config.data.std = (0.267, 0.256, 0.276)
    cifar(config)
    config.model.ssl = "wrn_28_8"
    config.ssl.weight_decay = 1e-3
    config.score.last = 20  # SemiPrune's EL2N window


def tiny_imagenet(config: Config) -> None:
    """Tiny-ImageNet's folder at 64 pixels; the clean and the corrupted pool share the recipe."""
    config.data.source = "folder"
    config.data.expected = (100_000, 10_000, 200)
    config.data.oracle = True
    config.data.image_size = 64
    config.model.proxy = config.model.retrain = "resnet34"
    large_images(config)
    supervised(config, epochs=90, batch_size=256)
    config.ssl.batch_size = 128
    config.ssl.steps = 51_200  # 50 epochs of USB's 1,024 steps; passes of 781 steps would be fewer
    config.swav.network = "resnet50_cifar"
    config.swav.small_crop_size = 28  # about the ratio of 96 to 224


class Published(NamedTuple):
    """The settings of selections that the paper, or the authors' scripts, have for a pool."""

    cutoff: tuple[float, ...]  # of semi_aum, at each of the default kept fractions
    horizon: int  # of semi_dual
    c_d: float


TINY_IMAGENET = Published((0.2, 0.4, 0.6, 0.7, 0.8), horizon=50, c_d=3.0)


def varied(
    config: Config, variant: str, *, passes: int = 0, usb: int = 0, published: Published | None = None
) -> Config:
    """Changes the config to some of VARIANTS and one of BASELINES, and returns it.

    Args:
      variant: their names, separated by commas. "passes" and "usb" read the paper's epochs of FixMatch as passes over
        the pool, or as USB's 1,024 steps each. "published" takes the settings that the paper has for this pool instead
        of choosing them by trials, and uses the whole budget as labels. "smoke" shrinks everything to a minute on a
        laptop, see ``smoke``. For baselines see ``baseline``.
      passes, usb: FixMatch's steps in these variants; 0: there is no such variant.
      published: the paper's settings; None: there is no such variant.

    Raises:
      ValueError: there is no such variant.
    """
    there = {"passes": passes, "usb": usb, "published": published, "smoke": True}
    known = [name for name in VARIANTS if there[name]]
    parts = [part for part in variant.split(",") if part]
    for part in parts:
        if part not in (*known, *BASELINES):
            raise ValueError(
                f"no variant {part!r} of this config; expected {' or '.join(known)} or a baseline "
                f"({', '.join(BASELINES)}), after a colon, or none"
            )
    config.select.include_labelled = not config.data.oracle  # the paper's experiments choose from the whole pool
    if published and "published" in parts:
        config.label.held_out = 0.0
        config.select.semi_aum.cutoff = published.cutoff
        for selection in ("semi_forgetting", "semi_el2n"):  # the paper has no cutoffs for these
            config.select[selection].cutoff = published.cutoff
        config.select.semi_dual.update({"horizon": published.horizon, "c_d": published.c_d, "exponent": 1.0})
    for part in parts:
        if part in BASELINES:
            baseline(config, part)
        config.ssl.steps = {"passes": passes, "usb": usb}.get(part, config.ssl.steps)
    if "smoke" in parts:
        smoke(config)
    return config


def baseline(config: Config, name: str) -> None:
    """Sets the selections and fields of one of BASELINES; pool, networks and recipes stay those of the config."""
    config.select.names, fields = BASELINES[name]
    for field, value in fields.items():
        *sections, key = field.split(".")
        section = config
        for part in sections:
            section = section[part]
        section[key] = value


def smoke(config: Config) -> None:
    """Shrinks images, networks, pool and trainings; sources, crops, streams and stages stay those of the config."""
    resized = config.data.crops == "resized"
    config.data.expected = ()
    config.data.limit_per_class = 4 if resized else 20
    config.data.image_size = min(config.data.image_size, 32)
    config.data.square_size = 36 if resized else config.data.square_size

    config.model.ssl = "wrn_10_1"
    config.model.proxy = config.model.retrain = "resnet8"
    config.label.budget = 0.25
    config.ssl.steps = 10
    config.ssl.batch_size = 8
    config.ssl.mu = min(config.ssl.mu, 2)
    config.ssl.threshold = 0.0  # no network is sure after so few steps
    config.ssl.ema_decay = config.ssl.bn_momentum = 0.5
    config.ssl.eval_every_steps = 10
    config.proxy.epochs = 10
    config.proxy.batch_size = config.retrain.batch_size = 32
    config.retrain.epochs = 2
    config.retrain.seeds = (0,)
    config.proxy.bn_momentum = config.retrain.bn_momentum = 0.5
    config.score.last = 10
    config.select.keep = (0.5,)
    for name in ("semi_aum", "semi_forgetting", "semi_el2n"):
        config.select[name].cutoff = config.select[name].cutoff[:1]
    config.select.zcore.samples = 1000
    config.swav.update({"network": "resnet8", "epochs": 2, "batch_size": 32, "warm_up_epochs": 1, "frozen_steps": 2})
    config.swav.prototypes = 30
    config.swav.small_crop_size = min(config.swav.small_crop_size, config.data.image_size)
    config.temi.heads, config.temi.neighbours, config.temi.epochs, config.temi.warm_up_epochs = 2, 5, 4, 1
    patch = PRETRAINED[config.embed.network].multiple
    config.embed.image_size = 32 // patch * patch
    config.select.dual_hardest.horizon = 10
    config.select.semi_dual.horizon = min(config.select.semi_dual.horizon, 10)
    config.runtime.workers = 2
