"""A stage of the method, as a record. The file of each stage declares one."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from semiprune_jax.config.schema import Config
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.costs import Counts, Work


def _nothing(*arguments: object) -> Iterator:
    del arguments
    return iter(())


class Stage(NamedTuple):
    """One stage.

    Attributes:
      name: the name of the stage and of its directory.
      run: does its tasks, each at most once.
      reads: the names of the stages that it reads from, under a config.
      is_goal: whether a run wants it for its own sake; another stage runs only if a needed one reads from it.
      costs: its costs, for ``plan``.
      warnings: warnings to log before anything is trained.
    """

    name: str
    run: Callable[[Context], None]
    reads: Callable[[Config], set[str]]
    is_goal: Callable[[Config], bool] = lambda config: False
    costs: Callable[[Config, Counts], Iterator[Work]] = _nothing
    warnings: Callable[[Context], Iterator[str]] = _nothing
