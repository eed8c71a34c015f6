"""A selector as a record: its function, and all that the rest of the program needs to know of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.field import Field

Spec = Mapping[str, Any]  # the settings of a selection: name, selector, keep, seed, and those of selector and score


class Shared(NamedTuple):
    """Work that serves all kept fractions, and that takes a selector most of its time.

    An order of choice is as long as the largest coreset, and smaller coresets are its beginning.
    """

    argument: str  # of the selector's function
    make: Callable[[Mapping[str, Any]], Any]  # from the other arguments, with the largest ``keep``


class Sweep(NamedTuple):
    """One setting that a search chooses, by trying several values of it."""

    field: str
    # (options of the search, kept fraction) -> values to try; options are those of config.search, and window and epochs
    values: Callable[[Mapping[str, Any], float], Sequence[float]]
    option: str = ""  # the field of config.search that gives the values, if one does
    at_largest: bool = False  # whether it is tried at the largest kept fraction alone
    title: str = ""  # in a log, where it is not the field


class Search(NamedTuple):
    """What may be searched for, one sweep after the other."""

    sweeps: tuple[Sweep, ...]
    together: bool  # whether all kept fractions share the values that are chosen


def _no_cuts(spec: Spec, score: np.ndarray, kept: np.ndarray) -> list[float]:
    del spec, score, kept
    return []


class Selector(NamedTuple):
    """One selector.

    Attributes:
      name: as configs have it.
      function: numpy in, kept ids out; its arguments are ``keep``, those that it reads, and its settings.
      reads: names of arguments that a run provides: score, mean_probability, easiness [N] (of AUM), classes, features,
        probabilities, n, clusters (how many classes there are), seed, tiebreak, noise.
      settings: its own fields of a selection, with their defaults.
      orientation: how it takes its score: "easiness" (low is hard), "end" (high is wanted: the end that the setting of
        that name says), or "" (as it is).
      not_negative: whether its score must not be negative.
      shared: work that serves all kept fractions.
      search: what may be searched for.
      cuts: (spec, score [N] as it takes it, kept bool[N]) -> values of that score at which it cuts, for the report.
    """

    name: str
    function: Callable[..., np.ndarray]
    reads: tuple[str, ...]
    settings: Mapping[str, Field] = {}
    orientation: str = ""
    not_negative: bool = False
    shared: Shared | None = None
    search: Search | None = None
    cuts: Callable[[Spec, np.ndarray, np.ndarray], list[float]] = _no_cuts

    def select(self, arguments: Mapping[str, Any]) -> np.ndarray:
        """The kept ids, from a mapping that may hold more than this selector takes."""
        names = ["keep", *self.reads, *(name for name in self.settings if name != "end")]
        optional = [self.shared.argument] if self.shared and self.shared.argument in arguments else []
        return self.function(**{name: arguments[name] for name in (*names, *optional)})

    def share(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The work that serves ``keep`` and every smaller fraction, to be added to the arguments of ``select``."""
        return {self.shared.argument: self.shared.make(arguments)} if self.shared else {}
