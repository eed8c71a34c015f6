"""The parts of a config that several stages depend on, as plain values for their fingerprints."""

from typing import Any

from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config

# Fields of config.data that say how stages see images.
VIEWS = ("mean", "std", "padding", "flip", "crops", "square_size")

# Fingerprints keep the former names of sections, so that older work directories stay valid.
_HASHED_AS = {"ssl": "fixmatch"}


def training(config: Config, name: str, *without: str) -> dict[str, Any]:
    """A training's network, its options except those in ``without``, and the fields that decide its views."""
    return views(config, *([] if name == "ssl" else ["supervised_crops"])) | {
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


def views(config: Config, *more: str) -> dict[str, Any]:
    """The fields of config.data that decide how stages see images: ``VIEWS``, and ``more``."""
    data = schema.settings(config.data)
    return {"data": {key: data[key] for key in (*VIEWS, *more)}}


def selection(config: Config, name: str) -> dict[str, Any]:
    """The fields of a selection and of config.score, with its name and the seed."""
    spec = schema.settings(config.select[name]) | schema.settings(config.score)
    return spec | {"name": name, "seed": config.seed}
