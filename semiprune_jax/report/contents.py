"""What a report is made from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Contents:
    """The artifacts of a run. Rows of all tables are ids."""

    classes: tuple[str, ...]
    examples: Table
    pseudolabels: Table | None  # if the run needed any
    truth: np.ndarray | None  # i32[N], with the oracle only
    coresets: dict[str, dict[str, Any]]  # directory name -> {"spec": ..., "table": ...}, in the order to show
    results: dict[str, dict[str, Any]]  # directory name -> result.json, in the order to show
    lines: list[dict[str, Any]]  # metrics.jsonl
    quality: dict[str, dict[str, float]] | None  # of the pseudo-labels, with the oracle only
    search: dict[str, Any] | None  # what was chosen by trials, and what they cost
    same_images: list[list[str]]  # coresets that keep the same images
    images: Callable[[np.ndarray], np.ndarray]  # ids -> u8[n, S, S, 3]
    examples_a_row: int
    config: dict[str, Any]

    @property
    def clustered(self) -> bool:
        """Whether what images are taken for are clusters, which have numbers, not names."""
        return self.pseudolabels is not None and bool(np.any(self.pseudolabels["label_source"] == "clusters"))

    @property
    def labels(self) -> np.ndarray:
        """i32[N]: the truth where it is known, else pseudo-labels, or known labels and -1 where these are clusters."""
        if self.truth is not None:
            return self.truth
        if self.clustered:
            return self.examples["label"]
        assert self.pseudolabels is not None
        return self.pseudolabels["pseudo_label"]

    @property
    def groups(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """i32[N] and names: the classes as well as they are known, else the clusters."""
        if self.truth is None and self.clustered:
            assert self.pseudolabels is not None
            return self.pseudolabels["pseudo_label"], tuple(f"cluster {c}" for c in range(len(self.classes)))
        return self.labels, self.classes
