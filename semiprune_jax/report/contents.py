"""The contents of a report: the artifacts of a run that it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from semiprune_jax.report.verdict import Verdict

Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Contents:
    """The artifacts of a run. In every table, an example's row is its id."""

    classes: tuple[str, ...]
    examples: Table
    pseudolabels: Table | None  # None if the run needed none
    truth: np.ndarray | None  # i32[N], with the oracle only
    coresets: dict[str, dict[str, Any]]  # directory name -> {"spec": ..., "table": ...}, in the order to show
    results: dict[str, dict[str, Any]]  # directory name -> result.json, in the order to show
    lines: list[dict[str, Any]]  # of metrics.jsonl
    quality: dict[str, dict[str, float]] | None  # of the pseudo-labels, with the oracle only
    search: dict[str, Any] | None  # see select.search.summary; None without any search
    same_images: list[list[str]]  # groups of coresets that keep the same images
    images: Callable[[np.ndarray], np.ndarray]  # ids -> u8[n, S, S, 3]
    examples_per_row: int
    config: dict[str, Any]
    held_out: int = 0  # labels of the budget that ``examples`` does not show
    verdict: Verdict | None = None  # None if no label is held out

    @property
    def clustered(self) -> bool:
        """Whether pseudo-labels are clusters, which have numbers and no names."""
        return self.pseudolabels is not None and bool(np.any(self.pseudolabels["label_source"] == "clusters"))

    @property
    def labels(self) -> np.ndarray:
        """i32[N]: the truth if it is known, else pseudo-labels; if these are clusters, known labels and -1."""
        if self.truth is not None:
            return self.truth
        if self.clustered:
            return self.examples["label"]
        assert self.pseudolabels is not None
        return self.pseudolabels["pseudo_label"]

    @property
    def groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """i32[N] and names: ``labels`` and the classes, or clusters and their numbers if the truth is not known."""
        if self.truth is None and self.clustered:
            assert self.pseudolabels is not None
            return self.pseudolabels["pseudo_label"], tuple(f"cluster {c}" for c in range(len(self.classes)))
        return self.labels, self.classes
