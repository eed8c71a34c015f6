"""What each stage depends on of the config. Plain values: they become part of its fingerprint, see ``stage``."""

from collections.abc import Sequence
from typing import Any

from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.select import coreset, search

# Fields of config.data: where images lie and how many there should be, which changes nothing, and how stages view them.
_PLACES = ("path", "labels", "test_path", "test_labels", "pool", "cache", "expected", "follow_links")
_VIEWS = ("mean", "std", "padding", "flip", "crops", "square_size")


def of_label(config: Config) -> dict[str, Any]:
    """Which images and labels there are: neither paths nor how images are viewed."""
    data = schema.settings(config.data, *_PLACES, *_VIEWS, "supervised_crops")
    return {"data": data, "label": schema.settings(config.label), "seed": config.seed}


def of_pseudolabel(config: Config) -> dict[str, Any]:
    """FixMatch, or the clustering of embeddings."""
    if config.pseudolabel.source == "clusters":
        return {"temi": schema.settings(config.temi), "seed": config.seed}
    return _training(config, "fixmatch", "eval_every_steps") | {"seed": config.seed}


def of_score(config: Config) -> dict[str, Any]:
    """The proxy's training. Scores themselves are made anew each time."""
    return _training(config, "proxy", "eval_every_epochs") | {"seed": config.seed}


def of_embed(config: Config) -> dict[str, Any]:
    """Where embeddings come from; a network of the run is a stage of its own."""
    settings: dict[str, Any] = {"source": config.embed.source}
    if config.embed.source == "swav":
        settings |= _views(config) | {"swav": schema.settings(config.swav), "seed": config.seed}
    elif config.embed.source == "weights":
        settings |= schema.settings(config.embed, "path")
    return {"embed": settings}


def of_search(config: Config, name: str, keeps: Sequence[float], grid: Sequence[int]) -> dict[str, Any]:
    """The trials of one selection at these kept fractions, and those of its settings that they start from.

    Args:
      grid: horizons that are tried, where any are.
    """
    options, selector = config.search, config.select[name].selector
    spec = coreset.relevant(selection(config, name) | {"keep": list(keeps)})
    settings = _retraining(config) | {
        "selection": {key: value for key, value in spec.items() if key not in search.searched(selector)},
        "batch": [retrain_batch(config, keep) for keep in keeps],
        "search": {"held_out": options.held_out, "seeds": list(options.seeds)},
    }
    if selector == "beta":
        settings["search"] |= {"horizons": list(grid), "c_d": list(options.c_d)}
    return settings


def of_retrain(config: Config, keep: float, labels: str, seed: int) -> dict[str, Any]:
    """One retraining.

    Args:
      labels: which kind of them it is on.
    """
    return _retraining(config) | {"batch_size": retrain_batch(config, keep), "labels": labels, "seed": seed}


def selection(config: Config, name: str) -> dict[str, Any]:
    """What is configured for a selection, with what scores are configured with, its name and the seed."""
    spec = schema.settings(config.select[name]) | schema.settings(config.score)
    return spec | {"name": name, "seed": config.seed}


def retrain_batch(config: Config, keep: float) -> int:
    """Examples of a step of a retraining at a kept fraction."""
    return schema.paper_batch_size(config.retrain.batch_size, keep, config.retrain.batch_rule)


def _retraining(config: Config) -> dict[str, Any]:
    not_of_one = ("seeds", "full", "labelled_only", "save_model", "batch_rule", "batch_size", "eval_every_epochs")
    return _training(config, "retrain", *not_of_one)


def _training(config: Config, name: str, *without: str) -> dict[str, Any]:
    """A training's options less those named, its network, and how it sees images."""
    return _views(config, *([] if name == "fixmatch" else ["supervised_crops"])) | {
        name: schema.settings(config[name], *without),
        "network": config.model[name],
        "wide_resnet": config.model.wide_resnet,
    }


def _views(config: Config, *more: str) -> dict[str, Any]:
    data = schema.settings(config.data)
    return {"data": {key: data[key] for key in (*_VIEWS, *more)}}
