"""Choosing what a selection leaves open, on pseudo-labels alone (arXiv:2605.23198, appendix).

The pseudo-labelled pool is split nine to one. A trial selects from the nine parts, trains a network on what it
selected, with pseudo-labels, and counts how many of the tenth's pseudo-labels that network finds. No label outside the
budget and no test label is read. Each trial's number is written as it ends, and a search that was killed goes on from
there.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.errors import ArgumentError, DataError
from semiprune_jax.workdir import formats

COLUMNS = ("name", "keep", "cutoff", "horizon", "c_d", "seed", "examples", "steps", "seconds", "accuracy")
_POINT = COLUMNS[:6]

# (fields of the selection that this trial changes, keep, seed) -> accuracy on the held-out part, and examples and steps
Try = Callable[[str, Mapping[str, Any], float, int], Mapping[str, float]]


class Chosen(NamedTuple):
    """What a search found for one selection."""

    cutoff: dict[float, float]  # by kept fraction; empty where the selection has none
    horizon: int | None
    c_d: float | None

    @classmethod
    def of(cls, saved: Sequence[Mapping[str, Any]]) -> "Chosen":
        """From JSON, whose names are texts: of one search, or of one a kept fraction."""
        cutoff = {float(keep): cutoff for part in saved for keep, cutoff in part["cutoff"].items()}
        return cls(cutoff, saved[0]["horizon"], saved[0]["c_d"])

    def __str__(self) -> str:
        cutoffs = [f"cutoff {cutoff:g} at {keep:g}" for keep, cutoff in self.cutoff.items()]
        return ", ".join(cutoffs) or f"horizon {self.horizon}, c_D {self.c_d:g}"

    def at(self, keep: float) -> dict[str, Any]:
        """Fields of the selection at a kept fraction, those of them that were searched for."""
        found = {"cutoff": self.cutoff.get(keep), "horizon": self.horizon, "c_d": self.c_d}
        return {key: value for key, value in found.items() if value is not None}


def parts(selector: str, keeps: Sequence[float]) -> list[tuple[float, ...]]:
    """The kept fractions that are searched for together: cutoffs each alone, Beta sampling's horizon and c_D for all.

    >>> parts("double_end", (0.5, 0.3)), parts("beta", (0.5, 0.3))
    ([(0.5,), (0.3,)], [(0.5, 0.3)])
    """
    return [tuple(keeps)] if selector == "beta" else [(keep,) for keep in keeps]


def searched(selector: str) -> tuple[str, ...]:
    """Fields of a selection whose configured values a search does not read."""
    return ("horizon",) if selector == "beta" else ("cutoff",)


def hold_out(n: int, share: float, order: np.ndarray) -> np.ndarray:
    """bool[N]: the part that is held out, floor(share * n) examples and one at least, the first in ``order`` [N]."""
    held = np.zeros(n, bool)
    held[np.argsort(order, kind="stable")[: max(1, int(share * n + 1e-9))]] = True
    return held


def cutoffs(keep: float) -> list[float]:
    """The paper's grid at a kept fraction: 0, 0.1, ..., up to the pruned one.

    >>> cutoffs(0.7), len(cutoffs(0.1))
    ([0.0, 0.1, 0.2, 0.3], 10)
    """
    return [round(0.1 * i, 1) for i in range(int(np.floor((1.0 - keep) * 10 + 1e-9)) + 1)]


def horizons(window: int, epochs: int) -> list[int]:
    """Where none are named: every ten epochs from the window on, and all that were recorded.

    >>> horizons(10, 45)
    [10, 20, 30, 40, 45]
    """
    return [*range(window, epochs, 10), epochs]


class Trials:
    """The trials of a search, each made once; ``trials.csv`` holds those that have ended.

    Args:
      path: of the CSV.
      attempt: makes one; see ``Try``.
      seeds: each point is tried with each.
    """

    def __init__(self, path: Path, attempt: Try, seeds: Sequence[int]):
        self._path, self._attempt, self._seeds = path, attempt, seeds
        self.rows = _read(path)

    def mean(self, name: str, changes: Mapping[str, Any], keep: float) -> float:
        """The accuracy of a point, over seeds."""
        return float(np.mean([self._one(name, changes, keep, seed) for seed in self._seeds]))

    def best(self, name: str, points: Iterable[Mapping[str, Any]], keeps: Sequence[float]) -> Mapping[str, Any]:
        """The point of the highest mean accuracy over the kept fractions; of equal ones the first."""
        scored = [(np.mean([self.mean(name, point, keep) for keep in keeps]), point) for point in points]
        return max(scored, key=lambda pair: pair[0])[1]

    def cost(self, name: str, keeps: Sequence[float]) -> dict[str, float]:
        """How many trials a selection has had at these kept fractions, and their steps and seconds in all."""
        own = [row for row in self.rows if row["name"] == name and float(row["keep"]) in keeps]
        return {"trials": len(own)} | {key: sum(float(row[key]) for row in own) for key in ("steps", "seconds")}

    def _one(self, name: str, changes: Mapping[str, Any], keep: float, seed: int) -> float:
        point = {"name": name, "keep": keep, **{key: changes.get(key, "") for key in ("cutoff", "horizon", "c_d")}}
        point = {key: str(value) for key, value in (point | {"seed": seed}).items()}
        for row in self.rows:
            if all(row[key] == point[key] for key in _POINT):
                return float(row["accuracy"])
        found = self._attempt(name, changes, keep, seed)
        self.rows.append(point | {key: str(found[key]) for key in COLUMNS[6:]})
        formats.write_csv(self._path, COLUMNS, self.rows)
        return float(found["accuracy"])


def tune(
    spec: Mapping[str, Any], keeps: Sequence[float], trials: Trials, horizons: Sequence[int], c_ds: Sequence[float]
) -> Chosen:
    """Searches for one selection.

    A cutoff is chosen for each kept fraction, from the grid 0, 0.1, ... Beta sampling's horizon is chosen at the
    largest kept fraction (the paper: 30% pruned), with the c_D that is configured, and then its c_D by the mean over
    all kept fractions, which the paper does not say.

    Raises:
      ArgumentError: the selector has nothing to choose.
    """
    name, selector = spec["name"], spec["selector"]
    if selector in ("double_end", "stratified"):
        best = {
            keep: trials.best(name, [{"cutoff": cutoff} for cutoff in cutoffs(keep)], [keep])["cutoff"]
            for keep in keeps
        }
        return Chosen(best, None, None)
    if selector != "beta":
        raise ArgumentError(f"{name}: {selector} has nothing to search for; expected double_end, stratified or beta")
    given = spec["c_d"]
    horizon = trials.best(name, [{"horizon": horizon, "c_d": given} for horizon in horizons], [max(keeps)])["horizon"]
    c_d = trials.best(name, [{"horizon": horizon, "c_d": c_d} for c_d in c_ds], keeps)["c_d"]
    return Chosen({}, int(horizon), float(c_d))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS or any(None in row or None in row.values() for row in rows):
        raise DataError(f"{path} is not what was written; remove it, and its trials are made anew")
    return rows
