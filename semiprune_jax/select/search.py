"""Search: chooses the open settings of a selection, on pseudo-labels alone (arXiv:2605.23198, appendix).

A tenth of the pseudo-labelled pool is held out. A trial selects from the rest, trains a network on the selected
examples with pseudo-labels, and counts how many pseudo-labels of the tenth it predicts. A search reads no label outside
the budget and no test label. It writes each result at once, so that a killed search resumes after its last trial. The
record of each selector says which settings may be searched for, and how.

The paper trains every point at full length. Here the trials of a run may cost no more than a multiple of what they
serve, its retrainings on coresets: short trials compare all points, and longer ones the best of them (successive
halving, Jamieson and Talwalkar, arXiv:1502.07943).
"""

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.errors import ArgumentError, DataError
from semiprune_jax.select.coreset import keep_text
from semiprune_jax.select.selectors import SELECTORS, Search, Spec, Sweep
from semiprune_jax.workdir import formats

# (name of the selection, fields of it that this trial changes, keep, seed, length as a share of a retraining's) ->
# accuracy on the held-out part, and examples, steps and seconds
Try = Callable[[str, Mapping[str, Any], float, int, float], Mapping[str, float]]

_FACTOR = 3  # a round keeps one of so many points


class Round(NamedTuple):
    """Trials of one length."""

    points: int
    length: float  # of each, as a share of a retraining's


def sweeps() -> dict[str, tuple[Sweep, bool]]:
    """Every setting that some selector searches for: its sweep, and whether all kept fractions share its value.

    >>> {field: together for field, (_, together) in sweeps().items()}
    {'cutoff': False, 'horizon': True, 'c_d': True, 'exponent': True}
    """
    searches = [selector.search for selector in SELECTORS.values() if selector.search]
    return {sweep.field: (sweep, search.together) for search in searches for sweep in search.sweeps}


def columns() -> tuple[str, ...]:
    """The columns of trials.csv."""
    return ("name", "keep", *sweeps(), "seed", "length", "examples", "steps", "seconds", "accuracy")


def searched(selector: str) -> Search:
    """The search that a selector declares; ArgumentError if it declares none."""
    found = SELECTORS[selector].search
    if found is None:
        names = [name for name, each in SELECTORS.items() if each.search]
        raise ArgumentError(f"{selector} has nothing to search for; expected {', '.join(names[:-1])} or {names[-1]}")
    return found


def open_sweeps(spec: Spec) -> list[Sweep]:
    """The sweeps of a selection's settings that have no value yet; ``spec`` holds only settings that it uses."""
    search = SELECTORS[spec["selector"]].search
    return search.open(spec) if search else []


def rounds(points: int, budget: float) -> list[Round]:
    """The rounds of trials that find the best of some points.

    Args:
      budget: of all trials together, in full-length trainings; 0: no limit.

    >>> rounds(8, budget=2.0)
    [Round(points=8, length=0.125), Round(points=3, length=0.3333333333333333)]
    >>> rounds(3, budget=3.0), rounds(9, budget=0)
    ([Round(points=3, length=1.0)], [Round(points=9, length=1.0)])
    """
    if not budget or points <= budget:
        return [Round(points, 1.0)]
    counts = [points]
    while counts[-1] > _FACTOR:
        counts.append(math.ceil(counts[-1] / _FACTOR))
    return [Round(count, min(1.0, budget / len(counts) / count)) for count in counts]


class Chosen(NamedTuple):
    """The settings that a search has found for one selection."""

    apart: dict[float, dict[str, float]]  # kept fraction -> field -> value
    together: dict[str, float]  # field -> value at every kept fraction

    def at(self, keep: float) -> dict[str, float]:
        """Fields of the selection at a kept fraction."""
        return self.together | self.apart.get(keep, {})

    def __str__(self) -> str:
        titles = {field: sweep.title or field for field, (sweep, _) in sweeps().items()}
        shown = [
            f"{titles[field]} {value:g} at {keep:g}" for keep, at in self.apart.items() for field, value in at.items()
        ]
        return ", ".join([*shown, *(f"{titles[field]} {value:g}" for field, value in self.together.items())])

    def to_json(self) -> dict[str, Any]:
        """field -> value, or field -> {kept fraction: value} if each has its own; None or {} if not searched for."""
        found: dict[str, Any] = {}
        for field, (_, together) in sweeps().items():
            own = {keep: at[field] for keep, at in self.apart.items() if field in at}
            found[field] = self.together.get(field) if together else own
        return found

    @classmethod
    def of(cls, saved: Sequence[Mapping[str, Any]]) -> "Chosen":
        """The settings in results of ``to_json``: from one search, or from one for each kept fraction."""
        apart: dict[float, dict[str, float]] = {}
        together: dict[str, float] = {}
        for part in saved:
            for field, (_, is_shared) in sweeps().items():
                value = part.get(field)  # None in the file of a selector that has no such setting
                if is_shared and value is not None:
                    together[field] = value
                elif not is_shared:
                    for keep, one in (value or {}).items():
                        apart.setdefault(float(keep), {})[field] = one
        return cls(apart, together)


def parts(selector: str, keeps: Sequence[float]) -> list[tuple[float, ...]]:
    """The kept fractions that are searched together.

    >>> parts("double_end", (0.5, 0.3)), parts("beta", (0.5, 0.3))
    ([(0.5,), (0.3,)], [(0.5, 0.3)])
    """
    return [tuple(keeps)] if searched(selector).together else [(keep,) for keep in keeps]


def directory(name: str, selector: str, keeps: Sequence[float]) -> str:
    """The name of the directory of one part of a selection's search."""
    return name if searched(selector).together else f"{name}_keep{keep_text(keeps[0])}"


def grids(spec: Spec, options: Mapping[str, Any]) -> dict[str, list[float]]:
    """Option of the search -> the values that it gives to an open setting."""
    return {sweep.option: list(sweep.values(options, 1.0)) for sweep in open_sweeps(spec) if sweep.option}


def plan(
    spec: Spec,
    keeps: Sequence[float],
    options: Mapping[str, Any],
    visits: Callable[[float], float],
    share: Callable[[float], float] = float,
) -> Iterator[tuple[Sweep, list[float], list[Round]]]:
    """Yields each sweep of a search, the kept fractions of its trials, and their rounds.

    The budget of a run is shared out equally among its searches, and in proportion to kept fractions; that of a search
    equally among its sweeps.

    Args:
      keeps: the kept fractions that are searched together.
      options: the fields of config.search, window and epochs of the proxy's dynamics, and share: the number of
        selections that are retrained for each that is searched for.
      visits: the images that a retraining at a kept fraction trains on, over all its steps.
      share: the share that a selector keeps, at a kept fraction, of the examples that it chooses from.
    """
    sweeps = open_sweeps(spec)
    for sweep in sweeps:
        at = [max(keeps)] if sweep.at_largest else list(keeps)
        training = sum(map(visits, at)) * len(options["seeds"])
        budget = options["cost"] * options["share"] * sum(map(visits, keeps)) / len(sweeps) / training
        count = len(values_of(sweep, keeps, options, share))
        yield sweep, at, rounds(count, budget) if count > 1 else []


def values_of(
    sweep: Sweep, keeps: Sequence[float], options: Mapping[str, Any], share: Callable[[float], float]
) -> list[float]:
    """The values that a sweep tries; its start value alone where nothing is left to choose. Arguments: see ``plan``."""
    largest = share(max(keeps))
    return list(sweep.values(options, largest)) if largest > 0 else [sweep.start]


def hold_out(n: int, share: float, order: np.ndarray) -> np.ndarray:
    """bool[N], the part that is held out: the first floor(share * n) examples in ``order`` [N], at least one."""
    held = np.zeros(n, bool)
    held[np.argsort(order, kind="stable")[: max(1, int(share * n + 1e-9))]] = True
    return held


class Trials:
    """The trials of a search, each made once; ``trials.csv`` holds the finished ones.

    Args:
      path: of the CSV.
      attempt: makes one trial; see ``Try``.
      seeds: each point is tried with each seed.
    """

    def __init__(self, path: Path, attempt: Try, seeds: Sequence[int]):
        self._path, self._attempt, self._seeds = path, attempt, seeds
        self.rows = _read(path)

    def mean(self, name: str, changes: Mapping[str, Any], keep: float, length: float) -> float:
        """The mean accuracy of a point over seeds."""
        return float(np.mean([self._one(name, changes, keep, seed, length) for seed in self._seeds]))

    def best(
        self, name: str, points: Sequence[Mapping[str, Any]], keeps: Sequence[float], made: Sequence[Round]
    ) -> Mapping[str, Any]:
        """The point with the highest mean accuracy over the kept fractions in the last of some rounds.

        Each round tries the best points of the round before. Among equal points the first is better.
        """
        ranked = list(points)
        for now in made:
            scored = {
                i: np.mean([self.mean(name, point, keep, now.length) for keep in keeps])
                for i, point in enumerate(ranked[: now.points])
            }
            ranked = [ranked[i] for i in sorted(scored, key=lambda i, scored=scored: (-scored[i], i))]
        return ranked[0]

    def cost(self, name: str, keeps: Sequence[float]) -> dict[str, float]:
        """The number of a selection's trials at these kept fractions, and their steps and seconds in all."""
        own = [row for row in self.rows if row["name"] == name and float(row["keep"]) in keeps]
        return {"trials": len(own)} | {key: sum(float(row[key]) for row in own) for key in ("steps", "seconds")}

    def _one(self, name: str, changes: Mapping[str, Any], keep: float, seed: int, length: float) -> float:
        point = {"name": name, "keep": keep, **{field: changes.get(field, "") for field in sweeps()}, "seed": seed}
        point = {key: str(value) for key, value in (point | {"length": f"{length:.6g}"}).items()}
        for row in self.rows:
            if all(row[key] == value for key, value in point.items()):
                return float(row["accuracy"])
        found = self._attempt(name, changes, keep, seed, length)
        self.rows.append(point | {key: str(found[key]) for key in ("examples", "steps", "seconds", "accuracy")})
        formats.write_csv(self._path, columns(), self.rows)
        return float(found["accuracy"])


def tune(
    spec: Spec,
    keeps: Sequence[float],
    trials: Trials,
    options: Mapping[str, Any],
    visits: Callable[[float], float],
    share: Callable[[float], float] = float,
) -> Chosen:
    """Searches for the open settings of one selection, at kept fractions that are searched together.

    One sweep follows the other. Each tries its values together with the chosen values of earlier sweeps and the start
    values of later ones.

    Args:
      spec: the settings that the selection uses; see ``coreset.relevant``.
      keeps, options, visits, share: see ``plan``.

    Raises:
      ArgumentError: the selector declares no search.
    """
    try:
        search = searched(spec["selector"])
    except ArgumentError as error:
        raise ArgumentError(f"{spec['name']}: {error}") from None
    now: dict[str, Any] = {sweep.field: sweep.start for sweep in search.open(spec)}
    for sweep, at, made in plan(spec, keeps, options, visits, share):
        points = [now | {sweep.field: sweep.kind(value)} for value in values_of(sweep, keeps, options, share)]
        now = dict(trials.best(spec["name"], points, at, made))
    return Chosen({}, now) if search.together else Chosen({keep: now for keep in keeps}, {})


def summary(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The results of all searches of a run, from the files of their parts: ``to_json``, name, and ``Trials.cost``.

    Returns:
      {"chosen": {name: {field: value, or {kept fraction: value} where each has its own}}, "trials", "steps", "seconds"}
    """
    apart = [field for field, (_, together) in sweeps().items() if not together]

    def rank(part: Mapping[str, Any]) -> tuple[str, list[float]]:  # by name, the largest kept fraction first
        return part["name"], sorted(-float(keep) for field in apart for keep in part.get(field) or {})

    chosen: dict[str, dict[str, Any]] = {}
    for part in sorted(parts, key=rank):
        one = chosen.setdefault(part["name"], {field: part.get(field) for field in sweeps()})
        for field in apart:
            one[field] = (one[field] or {}) | (part.get(field) or {})
    return {"chosen": chosen} | {key: sum(part[key] for part in parts) for key in ("trials", "steps", "seconds")}


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of trials.csv, with "" in columns of settings that are newer than the file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    known, found = columns(), set(reader.fieldnames or ())
    complete = set(known) - set(sweeps()) <= found <= set(known)
    if not complete or any(None in row or None in row.values() for row in rows):
        raise DataError(f"{path} is not what was written; remove it, and its trials are made again")
    return [{column: row.get(column, "") for column in known} for row in rows]
