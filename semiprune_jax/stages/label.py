"""Label: lists the pool, and draws the label budget once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.data.budget import draw, hold_out
from semiprune_jax.data.sources import KINDS
from semiprune_jax.errors import ArgumentError, ConfigError, DataError
from semiprune_jax.select import selectors
from semiprune_jax.stages import images
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.settings import SUPERVISED_VIEWS, VIEWS
from semiprune_jax.stages.stage import Stage
from semiprune_jax.workdir import artifacts
from semiprune_jax.workdir.artifacts import Artifact, Inputs
from semiprune_jax.workdir.directory import record_start
from semiprune_jax.workdir.tasks import Outcome, Task

# id, key, label: -1 outside the budget, and where it is held out
EXAMPLES = artifacts.table("examples.parquet", "label")
# id, key, label of the budget's held-out part, and weight: the share of the pool that each stands for, 1 on average
HELD_OUT = artifacts.table("label/held_out.parquet", "label")
ORACLE = artifacts.table("oracle.parquet", "label")  # id, key, label: every true label; with data.oracle only
CLASSES = artifacts.json("label/classes.json", "label")  # names
CORRUPTION = artifacts.table("label/corruption.parquet", "label")  # id, key, corruption: a name, or empty

# Fields of config.data that cannot change results: where images lie, and how many there should be.
PLACES = ("path", "labels", "test_path", "test_labels", "pool", "cache", "expected", "follow_links")


def bought(examples: artifacts.Table, held_out: artifacts.Table) -> np.ndarray:
    """bool[N], the examples whose labels are in the budget; those that are held out count."""
    found = examples["label"] >= 0
    found[held_out["id"]] = True
    return found


def run(context: Context) -> None:
    """Draws the budget, and then records this start, since the work directory has accepted it."""
    context.runner.run(task(context))
    record_start(context.workdir, context.config.to_json(), oracle=context.config.data.oracle)


def task(context: Context) -> Task:
    """The one task of this stage."""
    dataset = context.dataset
    contents = {"pool": dataset.train.content, "test": dataset.test.content if dataset.test else ""}
    contents["classes"] = "\n".join(dataset.classes)

    def work(inputs: Inputs) -> Outcome:
        del inputs
        return _label(context)

    return Task("label", settings(context.config), (), work, outside=contents)


def settings(config: Config) -> dict[str, Any]:
    """The settings that decide which images and labels there are; paths and views do not."""
    data = schema.settings(config.data, *PLACES, *VIEWS, *SUPERVISED_VIEWS)
    return {"data": data, "label": schema.settings(config.label), "seed": config.seed}


def _label(context: Context) -> Outcome:
    dataset, options = context.dataset, context.config.data
    labels = _draw(context)
    rows: Mapping[str, Any] = {"id": np.arange(len(labels)), "key": list(dataset.train.keys)}
    held_out = hold_out(labels, rows["key"], context.config.label.held_out, context.config.seed)
    read = labels.copy()
    read[held_out] = -1
    outputs: dict[Artifact, Any] = {EXAMPLES: rows | {"label": read}, CLASSES: list(dataset.classes)}
    outputs[HELD_OUT] = _held_out(dataset.train.labels, labels, held_out, rows["key"])
    summary = f"{len(labels):,} images, {len(dataset.classes)} classes, {np.sum(labels >= 0):,} labelled"
    summary += f" ({len(held_out):,} held out)" * bool(len(held_out))
    summary += f"; {len(dataset.test.keys) if dataset.test else 0:,} to test"
    if options.oracle:
        outputs[ORACLE] = rows | {"label": dataset.train.labels}
    if dataset.corruption is not None:
        outputs[CORRUPTION] = rows | {"corruption": np.array(["", *KINDS])[dataset.corruption + 1]}
    if options.skip_bad:
        outputs[images.SKIPPED] = [entry._asdict() for entry in dataset.skipped]
        summary += f"; {len(dataset.skipped):,} skipped"
    return Outcome(outputs, summary)


def _held_out(pool: np.ndarray, known: np.ndarray, ids: np.ndarray, keys: Sequence[str]) -> artifacts.Table:
    """The table of the held-out examples ``ids``.

    Args:
      pool: i32[N], the labels that the source has.
      known: i32[N], those of the budget.
    """
    labels = known[ids]
    # A class weighs as much as its examples: those in the pool if all labels are there, else those in the budget.
    sizes = np.bincount(known[known >= 0] if np.any(pool < 0) else pool)
    weights = sizes[labels] / np.bincount(labels, minlength=1)[labels]
    table = {"id": ids, "key": np.array([keys[int(i)] for i in ids], object), "label": labels}
    return table | {"weight": weights / weights.mean() if len(ids) else weights}


def _draw(context: Context) -> np.ndarray:
    """i32[N], -1 outside the budget."""
    config, pool, classes = context.config, context.dataset.train, context.dataset.classes
    if config.data.oracle and np.any(pool.labels < 0):
        raise DataError(
            f"data.oracle=True needs every label, but {int(np.sum(pool.labels < 0))} are unknown; set it to False"
        )
    for keep in config.select.keep:
        try:
            selectors.coreset_size(len(pool.keys), keep)
        except ArgumentError as error:
            raise ConfigError(f"config.select.keep: {error}") from None
    try:
        known = draw(config.label.rule, pool.labels, pool.keys, config.label.budget, config.seed)
    except ArgumentError as error:
        raise DataError(str(error)) from None
    labels = np.full(len(pool.keys), -1, np.int32)
    labels[known] = pool.labels[known]
    absent = [name for c, name in enumerate(classes) if not np.any(labels == c)]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(classes)} classes have no labelled example ({', '.join(absent[:5])}); "
            "label some of each, raise label.budget, or draw with label.rule=per_class"
        )
    return labels


STAGE = Stage("label", run, reads=lambda config: set(), is_goal=lambda config: True)
