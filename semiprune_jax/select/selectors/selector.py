"""A selector as a record: its function, and everything that the rest of the program needs to know about it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from semiprune_jax.field import AT_LEAST_ONE, Field, OneOf, is_open
from semiprune_jax.select.scores import SCORES

Spec: TypeAlias = Mapping[str, Any]  # the settings of a selection: name, selector, keep, seed, and those named below

# The arguments of selectors that a run provides, besides keep.
Read: TypeAlias = Literal[
    "score",  # [N], the selection's own
    "mean_probability",  # f32[N], of the label, over the epochs of the score
    "easiness",  # f32[N], AUM
    "classes",  # i32[N], known or pseudo-labels
    "features",  # f32[N, D], embeddings
    "probabilities",  # f32[N, C], predictions of the network whose embeddings are given
    "n",  # the number of examples
    "clusters",  # the number of classes
    "seed",
    "tiebreak",  # u64[N], hashes of the examples' keys
    "noise",  # f64[N] in (0, 1), drawn by the examples' keys and the selection's name
]

END = Field("hard", "the end of the score that is kept.", OneOf(("hard", "easy")))
NEIGHBOURS = Field(10, "the number of neighbours of each example in the graph.", AT_LEAST_ONE)
SCORE = Field("aum", "The score that the selector reads.", OneOf(SCORES))
EXTRAPOLATE = Field(
    "none",
    "How the scores of labelled examples are carried over to the others: by nearest neighbours, by a graph network, or "
    "not at all.",
    OneOf(("none", "neighbours", "graph")),
)


class Shared(NamedTuple):
    """The part of a selector's work that serves all kept fractions, and takes most of the time.

    An order of choice is as long as the largest coreset, and smaller coresets are its beginning.
    """

    argument: str  # of the selector's function
    make: Callable[..., Any]
    reads: tuple[str, ...]  # the arguments of ``make``; ``keep`` is the largest one


class Sweep(NamedTuple):
    """One setting that a search may choose, by trying several values of it."""

    field: str
    start: float  # its value while settings before it are chosen
    # (options of the search, kept fraction) -> values to try; options are those of config.search, and window and epochs
    values: Callable[[Mapping[str, Any], float], Sequence[float]]
    kind: Callable[[float], float] = float  # the type of the setting: int or float
    option: str = ""  # the field of config.search that gives the values, if one does
    at_largest: bool = False  # whether its trials are at the largest kept fraction only
    title: str = ""  # in a log and in the report; "": the field


class Search(NamedTuple):
    """The settings that may be searched for, one sweep after the other."""

    sweeps: tuple[Sweep, ...]
    together: bool  # whether all kept fractions share the values that are chosen

    def open(self, spec: Spec) -> list[Sweep]:
        """The sweeps whose settings are open in a selection that uses them."""
        return [sweep for sweep in self.sweeps if sweep.field in spec and is_open(spec[sweep.field])]


def _no_problems(spec: Spec, keeps: Sequence[float]) -> Iterator[tuple[str, str]]:
    del spec, keeps
    return iter(())


def _no_cuts(spec: Spec, score: np.ndarray, kept: np.ndarray) -> list[float]:
    del spec, score, kept
    return []


class Selector(NamedTuple):
    """One selector.

    Attributes:
      name: its name in configs.
      function: numpy in, kept ids out; its arguments are ``keep``, those that it reads, and its settings.
      reads: the arguments that a run provides.
      settings: its own fields of a selection. A setting that is a tuple has one value, or one for each kept fraction,
        and the function receives the value of its fraction.
      orientation: how it expects its score: "easiness" (low is hard), "end" (the end that the setting ``end`` names is
        high), or "" (as it is).
      problems: (settings, kept fractions) -> fields that do not fit together, and the values that are expected of them.
      shared: work that serves all kept fractions.
      search: the settings that may be searched for.
      cuts: (settings, score [N] in this orientation, kept bool[N]) -> values of that score at which it cuts; the report
        draws them.
    """

    name: str
    function: Callable[..., np.ndarray]
    reads: tuple[Read, ...]
    settings: Mapping[str, Field] = {}
    orientation: Literal["easiness", "end", ""] = ""
    problems: Callable[[Spec, Sequence[float]], Iterator[tuple[str, str]]] = _no_problems
    shared: Shared | None = None
    search: Search | None = None
    cuts: Callable[[Spec, np.ndarray, np.ndarray], list[float]] = _no_cuts

    def fields(self) -> dict[str, Field]:
        """The fields of a selection that decide what this selector keeps, apart from those of its score."""
        return ({"end": END} if self.orientation == "end" else {}) | dict(self.settings)

    def at(self, spec: Spec, keeps: Sequence[float], keep: float) -> dict[str, Any]:
        """The settings that may differ between kept fractions, with their values at one fraction, unless open."""
        several = [name for name, field in self.settings.items() if isinstance(field.default, tuple)]
        return {name: at_keep(spec[name], keeps, keep) for name in several if not is_open(spec[name])}

    def select(self, arguments: Mapping[str, Any]) -> np.ndarray:
        """The kept ids, from a mapping that may hold more than this selector takes."""
        optional = [self.shared.argument] if self.shared and self.shared.argument in arguments else []
        return self.function(**{name: arguments[name] for name in ("keep", *self.reads, *self.settings, *optional)})

    def share(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The work that serves ``keep`` and every smaller fraction, to be added to the arguments of ``select``."""
        if self.shared is None:
            return {}
        return {self.shared.argument: self.shared.make(**{name: arguments[name] for name in self.shared.reads})}


def at_keep(values: Sequence[Any], keeps: Sequence[float], keep: float) -> Any:
    """The value at a kept fraction; ``values`` holds one for all fractions, or one for each.

    >>> at_keep((0.1,), (0.5, 0.3), 0.3), at_keep((0.1, 0.2), (0.5, 0.3), 0.3)
    (0.1, 0.2)
    """
    return values[0] if len(values) == 1 else values[list(keeps).index(keep)]
