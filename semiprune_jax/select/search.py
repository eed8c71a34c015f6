"""Search: chooses settings of a selection, on pseudo-labels alone (arXiv:2605.23198, appendix).

A tenth of the pseudo-labelled pool is held out. A trial selects from the rest, trains a network on the selected
examples with pseudo-labels, and counts how many pseudo-labels of the tenth it predicts. A search reads no label outside
the budget and no test label. It writes each result at once, so that a killed search resumes after its last trial. The
record of each selector says which settings may be searched for, and how.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.errors import ArgumentError, DataError
from semiprune_jax.select.coreset import keep_text
from semiprune_jax.select.selectors import SELECTORS, Search, Spec, Sweep
from semiprune_jax.workdir import formats

# (name of the selection, fields of it that this trial changes, keep, seed) -> accuracy on the held-out part, and
# examples, steps and seconds
Try = Callable[[str, Mapping[str, Any], float, int], Mapping[str, float]]


def sweeps() -> dict[str, tuple[Sweep, bool]]:
    """Every setting that some selector searches for: its sweep, and whether all kept fractions share its value.

    >>> {field: together for field, (_, together) in sweeps().items()}
    {'cutoff': False, 'horizon': True, 'c_d': True}
    """
    searches = [selector.search for selector in SELECTORS.values() if selector.search]
    return {sweep.field: (sweep, search.together) for search in searches for sweep in search.sweeps}


def columns() -> tuple[str, ...]:
    """The columns of trials.csv."""
    return ("name", "keep", *sweeps(), "seed", "examples", "steps", "seconds", "accuracy")


def searched(selector: str) -> Search:
    """The search that a selector declares; ArgumentError if it declares none."""
    found = SELECTORS[selector].search
    if found is None:
        names = [name for name, each in SELECTORS.items() if each.search]
        raise ArgumentError(f"{selector} has nothing to search for; expected {', '.join(names[:-1])} or {names[-1]}")
    return found


def fields(selector: str) -> list[str]:
    """The settings of a selector that are searched for."""
    return [sweep.field for sweep in searched(selector).sweeps]


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


def grids(selector: str, options: Mapping[str, Any]) -> dict[str, list[float]]:
    """Option of the search -> the values that it gives."""
    return {sweep.option: list(sweep.values(options, 1.0)) for sweep in searched(selector).sweeps if sweep.option}


def start(selector: str, spec: Spec) -> dict[str, Any]:
    """The settings that a search begins with: all except the one that it chooses first."""
    first = fields(selector)[0]
    return {key: value for key, value in spec.items() if key != first}


def trial_counts(selector: str, keeps: Sequence[float], options: Mapping[str, Any]) -> dict[float, int]:
    """Kept fraction -> the number of a selection's trials there, with one seed."""
    return {
        keep: sum(
            len(sweep.values(options, keep))
            for sweep in searched(selector).sweeps
            if not sweep.at_largest or keep == max(keeps)
        )
        for keep in keeps
    }


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

    def mean(self, name: str, changes: Mapping[str, Any], keep: float) -> float:
        """The mean accuracy of a point over seeds."""
        return float(np.mean([self._one(name, changes, keep, seed) for seed in self._seeds]))

    def best(self, name: str, points: Iterable[Mapping[str, Any]], keeps: Sequence[float]) -> Mapping[str, Any]:
        """The point with the highest mean accuracy over the kept fractions; among equal points, the first."""
        scored = [(np.mean([self.mean(name, point, keep) for keep in keeps]), point) for point in points]
        return max(scored, key=lambda pair: pair[0])[1]

    def cost(self, name: str, keeps: Sequence[float]) -> dict[str, float]:
        """The number of a selection's trials at these kept fractions, and their steps and seconds in all."""
        own = [row for row in self.rows if row["name"] == name and float(row["keep"]) in keeps]
        return {"trials": len(own)} | {key: sum(float(row[key]) for row in own) for key in ("steps", "seconds")}

    def _one(self, name: str, changes: Mapping[str, Any], keep: float, seed: int) -> float:
        point = {"name": name, "keep": keep, **{field: changes.get(field, "") for field in sweeps()}, "seed": seed}
        point = {key: str(value) for key, value in point.items()}
        for row in self.rows:
            if all(row[key] == value for key, value in point.items()):
                return float(row["accuracy"])
        found = self._attempt(name, changes, keep, seed)
        self.rows.append(point | {key: str(found[key]) for key in ("examples", "steps", "seconds", "accuracy")})
        formats.write_csv(self._path, columns(), self.rows)
        return float(found["accuracy"])


def tune(spec: Spec, keeps: Sequence[float], trials: Trials, options: Mapping[str, Any]) -> Chosen:
    """Searches for one selection, at kept fractions that are searched together.

    One sweep follows the other. Each tries its values together with the chosen values of earlier sweeps and the
    configured values of later ones.

    Args:
      options: the fields of config.search, and window and epochs of the proxy's dynamics.

    Raises:
      ArgumentError: the selector declares no search.
    """
    name = spec["name"]
    try:
        search = searched(spec["selector"])
    except ArgumentError as error:
        raise ArgumentError(f"{name}: {error}") from None
    now: dict[str, Any] = {sweep.field: spec.get(sweep.field) for sweep in search.sweeps}
    for sweep in search.sweeps:
        points = [now | {sweep.field: value} for value in sweep.values(options, max(keeps))]
        best = trials.best(name, points, [max(keeps)] if sweep.at_largest else keeps)
        now = now | {sweep.field: sweep.kind(best[sweep.field])}
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
