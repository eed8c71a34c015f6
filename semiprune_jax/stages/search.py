"""Search: chooses cutoffs, horizons and c_D by trials that are trained and tested on pseudo-labels."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.randomness import hash_keys
from semiprune_jax.select import coreset, search, selectors
from semiprune_jax.select.search import Chosen, Trials, Try
from semiprune_jax.stages import costs, settings
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.costs import Counts, Work
from semiprune_jax.stages.label import EXAMPLES, HELD_OUT, bought
from semiprune_jax.stages.pool import read_pool, sources
from semiprune_jax.stages.pseudolabel import PSEUDOLABELS, pseudo_labels
from semiprune_jax.stages.stage import Stage
from semiprune_jax.train.supervised import retrain_steps, trials
from semiprune_jax.workdir import artifacts
from semiprune_jax.workdir.artifacts import Artifact, Inputs
from semiprune_jax.workdir.tasks import Outcome, Task


def run(context: Context) -> None:
    """Chooses the open settings of every selection, at each kept fraction or for all together."""
    shared: dict[str, Any] = {}
    for name in searched_names(context.config):
        with context.runner.line(f"search/{name}") as line:
            for keeps in _parts(context.config, name):
                context.runner.run(_task(context, name, keeps, shared), line)


def chosen(context: Context, name: str) -> Chosen | None:
    """The settings that the search has chosen for a selection; None if none were open."""
    if name not in searched_names(context.config):
        return None
    found = [context.store.load(chosen_file(context.config, name, keeps)) for keeps in _parts(context.config, name)]
    return Chosen.of(found)


def searched_names(config: Config) -> list[str]:
    """The selections that have open settings."""
    return [name for name in settings.selection_names(config) if search.open_sweeps(settings.used(config, name))]


def chosen_file(config: Config, name: str, keeps: Sequence[float]) -> Artifact[Any]:
    """The result of a search: name, the settings of ``search.sweeps``, and trials, steps and seconds."""
    selector = config.select[name].selector
    task = f"search/{search.directory(name, selector, keeps)}"
    fields = [sweep.field for sweep in search.open_sweeps(settings.used(config, name))]
    return artifacts.json(f"{task}/chosen.json", task, "name", *fields)


def search_settings(config: Config, name: str, keeps: Sequence[float]) -> dict[str, Any]:
    """The settings of one selection's trials at these kept fractions, and of the selection that they start from."""
    options, spec = config.search, settings.used(config, name)
    trials = {"held_out": options.held_out, "cost": options.cost, "seeds": list(options.seeds)}
    return settings.retraining(config) | {
        "selection": spec | {"keep": list(keeps)},
        "batch": [settings.retrain_batch(config, keep) for keep in keeps],
        "search": trials | search.grids(spec, _options(config)),
    }


def _share(config: Config, n: int, budget: int) -> Callable[[float], float]:
    """The share that selectors keep of those that they choose from, by kept fraction of ``n`` images."""
    return (lambda keep: coreset.share_to_choose(n, budget, keep)) if config.select.include_labelled else float


def _parts(config: Config, name: str) -> list[tuple[float, ...]]:
    return search.parts(config.select[name].selector, config.select.keep)


def _options(config: Config) -> dict[str, Any]:
    """The options that the grids depend on."""
    share = len(settings.selection_names(config)) / max(1, len(searched_names(config)))
    own = {"window": config.score.window, "epochs": config.proxy.epochs, "share": share}
    return schema.settings(config.search) | own


def _visits(config: Config, n: int) -> Callable[[float], float]:
    """The images that a retraining trains on, over all its steps, by kept fraction of ``n`` images."""

    def visits(keep: float) -> float:
        size = selectors.coreset_size(n, keep)
        steps = retrain_steps(config.retrain, size, settings.retrain_batch(config, keep))
        return steps * size / math.ceil(size / settings.retrain_batch(config, keep))

    return visits


def _task(context: Context, name: str, keeps: tuple[float, ...], shared: dict[str, Any]) -> Task:
    """The search of one selection, at one kept fraction or for all of them.

    Args:
      shared: a cache for all searches of this run: the split of the pool, and the compiled training.
    """
    config = context.config
    spec, output = settings.used(config, name), chosen_file(config, name, keeps)
    depends = search_settings(config, name, keeps)
    reads = sources(coreset.reads(depends["selection"]) | {"pseudolabel"})

    def work(inputs: Inputs) -> Outcome:
        path = context.workdir / "search" / "trials.csv"
        made = Trials(path, _attempt(context, inputs, shared), config.search.seeds)
        budget = bought(inputs[EXAMPLES], inputs[HELD_OUT])
        visits = _visits(config, len(budget))
        # Cutoffs must fit the whole pool and the part of it that trials choose from.
        shares = [_share(config, len(part), int(part.sum())) for part in (budget, budget[shared["rows"]])]

        def share(keep: float) -> float:
            return max(one(keep) for one in shares) if shares[0](keep) > 0 else 0.0

        found = search.tune(spec, keeps, made, _options(config), visits, share)
        cost = made.cost(name, keeps)
        return Outcome({output: {"name": name} | found.to_json() | cost}, f"{found} of {cost['trials']} trials")

    return Task(output.task, depends, reads, work)


def _attempt(context: Context, inputs: Inputs, shared: dict[str, Any]) -> Try:
    """The function that makes a trial: it selects outside the held-out part, trains, and tests on that part."""
    config = context.config
    if not shared:
        labels, keys = pseudo_labels(inputs[PSEUDOLABELS]), list(inputs[EXAMPLES]["key"])
        held_out = search.hold_out(len(keys), config.search.held_out, hash_keys(config.seed, "search", keys))
        tested = np.flatnonzero(held_out)
        shared["rows"] = np.flatnonzero(~held_out)
        shared["train"] = trials(context.trainer, config.retrain, config.model.retrain, labels, tested)
    rows, train = shared["rows"], shared["train"]
    pool = read_pool(inputs, rows)

    def attempt(name: str, changes: Mapping[str, Any], keep: float, trial_seed: int, length: float) -> dict[str, float]:
        spec = coreset.relevant(settings.selection(config, name) | dict(changes) | {"keep": keep})
        with context.feature_devices():
            _, kept = coreset.choose(spec, pool)
        point = "_".join(f"{key}{value:g}" for key, value in changes.items())
        trial = f"search/{name}_keep{coreset.keep_text(keep)}_{point}_seed{trial_seed}_length{length:.3g}"
        batch_size = settings.retrain_batch(config, keep)
        return train(trial, rows[kept], batch_size=batch_size, seed=trial_seed, length=length)

    return attempt


def _reads(config: Config) -> set[str]:
    names = searched_names(config)
    return {"pseudolabel"}.union(*(coreset.reads(settings.used(config, name)) for name in names))


def _costs(config: Config, counts: Counts) -> Iterator[Work]:
    """The trials at each kept fraction; each trains as long as they do on average."""
    options, lengths = config.search, {keep: list[float]() for keep in config.select.keep}
    for name in searched_names(config):
        for keeps in _parts(config, name):
            spec, visits = settings.used(config, name), _visits(config, counts.n)
            share = _share(config, counts.n, counts.known + counts.held_out)
            for _, at, made in search.plan(spec, keeps, _options(config), visits, share):
                for keep in at:
                    lengths[keep] += [now.length for now in made for _ in range(now.points * len(options.seeds))]
    for keep, found in lengths.items():
        if found:
            size = selectors.coreset_size(counts.n - int(counts.n * options.held_out), keep)
            batch = settings.retrain_batch(config, keep)
            yield costs.supervised(
                f"search keep {keep:g} x {len(found)}",
                costs.network_cost(config, config.model.retrain, counts.classes),
                size=size,
                batch=batch,
                steps=max(1, round(retrain_steps(config.retrain, size, batch) * sum(found) / len(found))),
                times=len(found),
                tested=math.ceil(options.held_out * counts.n),
            )


STAGE = Stage("search", run, _reads, is_goal=lambda config: bool(searched_names(config)), costs=_costs)
