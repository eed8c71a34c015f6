"""Select: makes a coreset for every named selection at every kept fraction."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from semiprune_jax.config.schema import Config
from semiprune_jax.errors import ArgumentError, ConfigError
from semiprune_jax.select import coreset
from semiprune_jax.select.search import Chosen
from semiprune_jax.select.selectors import SELECTORS
from semiprune_jax.stages import settings
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.label import EXAMPLES, HELD_OUT, bought
from semiprune_jax.stages.pool import read_pool, sources
from semiprune_jax.stages.pseudolabel import PSEUDOLABELS
from semiprune_jax.stages.score import SCORES
from semiprune_jax.stages.search import chosen
from semiprune_jax.stages.stage import Stage
from semiprune_jax.workdir import artifacts
from semiprune_jax.workdir.artifacts import Artifact, Inputs, Table
from semiprune_jax.workdir.tasks import Outcome, Task, View

# Columns of ``PSEUDOLABELS`` that a coreset's table repeats.
_GUESSES = ("pseudo_label", "confidence", "label_source")


def table_of(task: str) -> Artifact[Table]:
    """The coreset of a task: id, key, label, pseudo-labels, every score, score (its own), and kept."""
    return replace(artifacts.table(f"{task}/coreset.parquet", task), cached=False)  # fifteen tables take gigabytes


def choice_of(task: str) -> Artifact[Table]:
    """The columns kept, bool[N], and score, f32[N] (if the selection uses one), of a task's coreset."""
    return artifacts.columns(table_of(task), "kept", "score")


def spec_of(task: str) -> Artifact[Any]:
    """The settings of a coreset, and its sizes: kept, of, pruned."""
    return artifacts.json(f"{task}/spec.json", task, "name", "keep")


def run(context: Context) -> None:
    """Makes the coresets, and points out those that keep the same images."""
    for name in settings.selection_names(context.config):
        memo: dict[str, Any] = {}  # results that all kept fractions share
        with context.runner.line(f"select/{name}") as line:
            found = chosen(context, name)
            for keep in context.config.select.keep:
                context.runner.run(_task(context, name, keep, found, memo), line)
    directories = [context.workdir / task for task in tasks(context.config)]
    for names in coreset.same_images(directories):
        context.runner.log(f"note: {' and '.join(names)} keep the same images")


def tasks(config: Config) -> list[str]:
    """The directories of all coresets."""
    names, keeps = settings.selection_names(config), config.select.keep
    return [f"select/{name}_keep{coreset.keep_text(keep)}" for name in names for keep in keeps]


def _task(context: Context, name: str, keep: float, found: Chosen | None, memo: dict[str, Any]) -> Task:
    task = f"select/{name}_keep{coreset.keep_text(keep)}"
    spec, largest = _spec(context.config, name, keep, found)
    table = table_of(task)

    def work(inputs: Inputs) -> Outcome:
        pool = read_pool(inputs)
        try:
            with context.feature_devices() if pool.embeddings else nullcontext():
                score, kept = coreset.choose(spec, pool, memo, largest)
        except ArgumentError as error:  # more neighbours than images, embeddings that do not vary, ...
            raise ConfigError(f"config.select.{name}: {error}") from None
        outputs: dict[Artifact, Any] = {table: ({} if score is None else {"score": score}) | {"kept": kept}}
        budget = bought(inputs[EXAMPLES], inputs[HELD_OUT])
        for part, rows in {"kept": kept, "dropped": ~kept, "to_label": kept & ~budget}.items():
            outputs[artifacts.lines(f"{task}/{part}.txt", task)] = [pool.keys[int(i)] for i in np.flatnonzero(rows)]
        outputs[spec_of(task)] = spec | {"kept": int(kept.sum()), "of": len(kept), "pruned": round(1 - keep, 6)}
        return Outcome(outputs, f"{kept.sum():,} at {coreset.keep_text(keep)}")

    view = View(table, (EXAMPLES, PSEUDOLABELS, SCORES), lambda inputs: _columns(inputs, task))
    return Task(task, spec, sources(coreset.reads(spec)), work, view=view)


def _spec(config: Config, name: str, keep: float, found: Chosen | None) -> tuple[dict[str, Any], float]:
    """The relevant settings of a coreset, and the largest kept fraction that shares its order of choice."""
    options, keeps = settings.selection(config, name), config.select.keep
    selector = SELECTORS[options["selector"]]
    at = {each: selector.at(options, keeps, each) | (found.at(each) if found else {}) for each in keeps}
    spec = coreset.relevant(options | at[keep] | {"keep": keep})
    return spec, max(each for each in keeps if at[each] == at[keep])


def _columns(inputs: Inputs, task: str) -> Table:
    """The table of a coreset: its own columns, and those of the pool as they are now."""
    examples, own = inputs[EXAMPLES], inputs[choice_of(task)]
    guesses, scores = inputs.get(PSEUDOLABELS) or {}, inputs.get(SCORES) or {}
    return {
        **{key: examples[key] for key in ("id", "key", "label")},
        **{key: guesses[key] for key in _GUESSES if key in guesses},
        **{key: column for key, column in scores.items() if key not in ("id", "key")},
        **{key: own[key] for key in ("score", "kept") if key in own},
    }


def _reads(config: Config) -> set[str]:
    return {"label"}.union(*(coreset.reads(settings.used(config, name)) for name in settings.selection_names(config)))


STAGE = Stage("select", run, _reads, is_goal=lambda config: True)
