"""The method: its stages in order, and the loop that runs them.

A finished stage is skipped, an unfinished one resumes, and one that nothing reads does not run. Stages pass their
results to each other as files of the work directory.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from semiprune_jax.config.schema import Config
from semiprune_jax.stages import ORDER
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.stage import Stage
from semiprune_jax.workdir.record import verify

STAGES: tuple[Stage, ...] = tuple(import_module(f"semiprune_jax.stages.{name}").STAGE for name in ORDER)


def run(config: Config, workdir: Path, *, until: str = "report", log: Callable[[str], None] = print) -> None:
    """Runs the stages up to and including ``until``, each task at most once per work directory."""
    context = Context(config, workdir, log)
    try:
        needed = needed_stages(config)
        for stage in _ordered(STAGES, config):
            if stage in needed:
                stage.run(context)
            if stage.name == until:
                return
            if stage is STAGES[0]:  # the pool is known now, and nothing has been trained yet
                for warning in (text for other in needed for text in other.warnings(context)):
                    context.runner.log(f"warning: {warning}")
    finally:
        context.close()


def remake_report(config: Config, workdir: Path, *, log: Callable[[str], None] = print) -> None:
    """Writes only the report, for a run whose label stage is done."""
    verify(workdir)
    context = Context(config, workdir, log)
    try:
        STAGES[-1].run(context)
    finally:
        context.close()


def needed_stages(config: Config) -> list[Stage]:
    """This config's goals and the stages that they read from, directly or through others; each after its sources.

    >>> from semiprune_jax.config.schema import base_config
    >>> config = base_config()
    >>> config.data.oracle, config.select.names, config.embed.source = True, ("zcore",), "file"
    >>> [stage.name for stage in needed_stages(config)]
    ['label', 'embed', 'select', 'retrain', 'report']
    """
    goals = [stage for stage in STAGES if stage.is_goal(config)]
    needed = _ordered(goals, config)
    return [stage for stage in _ordered(STAGES, config) if stage in needed]


def _ordered(stages: Sequence[Stage], config: Config) -> list[Stage]:
    """The stages and those that they read from, each after its sources."""
    return list(dict.fromkeys(source for stage in stages for source in _with_sources(stage, config)))


def _with_sources(stage: Stage, config: Config) -> Iterator[Stage]:
    """The stage, after the stages that it reads from."""
    for source in STAGES:
        if source.name in stage.reads(config):
            yield from _with_sources(source, config)
    yield stage
