"""The parts of a config that several stages depend on, as plain values for their fingerprints."""

from typing import Any

from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.config.selections import UNIFORM
from semiprune_jax.select import coreset

# Fields of config.data that say how stages see images.
VIEWS = ("mean", "std", "padding", "flip", "crops", "square_size")
SUPERVISED_VIEWS = ("supervised_mean", "supervised_std", "supervised_crops")  # of the proxy and the retrainings only

# Fingerprints keep the former names of sections, so that older work directories stay valid.
_HASHED_AS = {"ssl": "fixmatch"}


def training(config: Config, name: str, *without: str) -> dict[str, Any]:
    """A training's network, its options except those in ``without``, and the fields that decide its views."""
    return (views(config) if name == "ssl" else _supervised_views(config)) | {
        _HASHED_AS.get(name, name): schema.settings(config[name], *without),
        "network": config.model[name],
        "wide_resnet": config.model.wide_resnet,
    }


def retraining(config: Config) -> dict[str, Any]:
    """The recipe that all retrainings share; the batch size depends on the kept fraction."""
    not_shared = ("seeds", "full", "labelled_only", "save_model", "batch_rule", "batch_size", "eval_every_epochs")
    return training(config, "retrain", *not_shared)


def retrain_batch(config: Config, keep: float) -> int:
    """Examples per step of a retraining at a kept fraction."""
    return schema.paper_batch_size(config.retrain.batch_size, keep, config.retrain.batch_rule)


def views(config: Config) -> dict[str, Any]:
    """The fields of config.data that decide how stages see images."""
    data = schema.settings(config.data)
    return {"data": {key: data[key] for key in VIEWS}}


def _supervised_views(config: Config) -> dict[str, Any]:
    """The same for the proxy and the retrainings."""
    own = {"mean": list(supervised_mean(config)), "std": list(supervised_std(config))}
    return {"data": views(config)["data"] | own | {"supervised_crops": config.data.supervised_crops}}


def supervised_mean(config: Config) -> tuple[float, ...]:
    """The mean that the proxy and the retrainings subtract from images."""
    return tuple(config.data.supervised_mean or config.data.mean)


def supervised_std(config: Config) -> tuple[float, ...]:
    """The standard deviation by which the proxy and the retrainings divide images."""
    return tuple(config.data.supervised_std or config.data.std)


def selection_names(config: Config) -> tuple[str, ...]:
    """The selections to make; a uniform draw, which others are compared with, is always among them."""
    names = tuple(config.select.names)
    drawn = any(config.select[name].selector == UNIFORM for name in names)
    return names if drawn else (UNIFORM, *names)


def used(config: Config, name: str) -> dict[str, Any]:
    """The settings of a selection that its selector and its score use, without the kept fraction."""
    return coreset.relevant(selection(config, name))


def selection(config: Config, name: str) -> dict[str, Any]:
    """The fields of a selection and of config.score, with its name and the seed."""
    spec = schema.settings(config.select[name]) | schema.settings(config.score)
    return spec | {"name": name, "seed": config.seed, "include_labelled": config.select.include_labelled}
