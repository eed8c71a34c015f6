"""The cases, in one module for each kind of work. ``names`` lists the cases of a suite, ``build`` makes one."""

import importlib
from typing import Any

from benchmarks.protocol import Case

SUITES = ("cpu", "gpu", "smoke")  # smoke: all kinds in seconds, to check that they run
_MODULES = (
    "training_steps",
    "augmentation",
    "trajectories",
    "selection",
    "search",
    "devices",
    "surroundings",
    "optimisations",
    "convolutions",
)


def names(suite: str) -> list[str]:
    """The cases of a suite, in the order of its table."""
    return [name for module in _MODULES for name in _load(module).TASKS[suite]]


def build(suite: str, name: str) -> Case:
    """A case in the size of the suite."""
    for module in _MODULES:
        if name in _load(module).TASKS[suite]:
            return _load(module).build(suite, name)
    raise ValueError(f"no case {name!r} in the suite {suite!r}; it has {', '.join(names(suite))}")


def _load(module: str) -> Any:
    return importlib.import_module(f"benchmarks.cases.{module}")
