"""From a run's dynamics to a coreset: compute the score, orient it for the selector, select."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.randomness import hash_keys, hash_uniform
from semiprune_jax.select import scores, selectors
from semiprune_jax.select.selectors import SELECTORS, Spec
from semiprune_jax.workdir import formats


class Pool(NamedTuple):
    """The data of a pool of N examples that selections read; a selection needs only the parts that ``reads`` names."""

    keys: Sequence[str]  # stable names, whose hashes decide ties and draws
    dynamics: Mapping[str, np.ndarray] = {}  # the fields of ``Dynamics``, [N, T]
    classes: np.ndarray | None = None  # i32[N], known or pseudo-labels
    embeddings: Mapping[str, np.ndarray] | None = None  # features f32[N, D], probabilities f32[N, C] of a network
    known: np.ndarray | None = None  # bool[N], the labelled examples, whose scores may be extrapolated
    clusters: int = 0  # the number of clusters to look for: that of the classes
    bought: np.ndarray | None = None  # bool[N], the examples whose labels are paid for; those held out are among them


def keep_text(keep: float) -> str:
    """A kept fraction in the name of a directory: with two digits, or with more if it has more.

    >>> keep_text(0.3), keep_text(0.125)
    ('0.30', '0.125')
    """
    return f"{keep:.2f}" if abs(keep - round(keep, 2)) < 1e-9 else f"{keep:g}"


def relevant(spec: Spec) -> dict[str, Any]:
    """The settings of a selection that its selector and its score use, on which the coreset depends.

    Args:
      spec: name, selector, score, keep, seed, include_labelled, and any settings of selectors and scores by their own
        names.
    """
    used = {"name", "selector", "keep", "seed", *selectors.used_fields(spec)}
    used |= {"include_labelled"} if spec.get("include_labelled") else set()
    return {key: value for key, value in spec.items() if key in used}


def reads(spec: Spec) -> frozenset[str]:
    """The stages whose results a selection reads: "pseudolabel", "score" and "embed"."""
    read = SELECTORS[spec["selector"]].reads
    found = {"pseudolabel"} if "classes" in read else set()
    found |= {"score"} if "score" in read else set()
    found |= {"embed"} if "features" in read or "extrapolate" in spec else set()
    return frozenset(found)


def choose(
    spec: Spec, pool: Pool, memo: dict[Any, Any] | None = None, largest: float | None = None
) -> tuple[np.ndarray | None, np.ndarray]:
    """The selection's own score f32[N] (None where it uses none) and the kept examples bool[N].

    With ``include_labelled`` the coreset holds all examples that are bought, and the selector chooses among the others
    until it has its size. Where that is no more than are bought, it chooses among these.

    Args:
      spec: as ``relevant`` returns it.
      memo: holds this selection's results that do not depend on ``keep``, for its other kept fractions.
      largest: the largest ``keep`` that the memo will serve with the same other settings; None: that of ``spec``.

    Raises:
      ArgumentError: a setting does not fit the pool.
    """
    selector, memo = SELECTORS[spec["selector"]], {} if memo is None else memo
    arguments = dict(spec) | {"n": len(pool.keys), "classes": pool.classes, "clusters": pool.clusters}
    arguments |= dict(pool.embeddings or {})
    # Hashing a million keys takes seconds, so only selectors that read the hashes get them.
    if "tiebreak" in selector.reads:
        arguments["tiebreak"] = hash_keys(spec["seed"], "tie", pool.keys)
    if "noise" in selector.reads:  # keyed by the selection, so that no two draw the same
        arguments["noise"] = hash_uniform(spec["seed"], f"select/{spec['name']}", pool.keys)
    score = None
    if "score" in spec:
        if "score" not in memo:
            memo["score"] = _score(spec, pool)
        score = memo["score"]
        arguments["score"] = orientation(spec) * score
    if "mean_probability" in selector.reads:
        arguments["mean_probability"] = scores.mean_probability(pool.dynamics["p_label"], _horizon(spec))
    if "easiness" in selector.reads:
        arguments["easiness"] = scores.compute("aum", pool.dynamics, {})
    kept, rows, keep = _given(spec, pool, spec["keep"])
    if not len(rows):
        return score, kept
    arguments = _among(rows, arguments)
    shared = (*sorted((key, value) for key, value in spec.items() if key != "keep"), len(rows))
    if shared not in memo:
        _, others, most = _given(spec, pool, largest or spec["keep"])
        memo[shared] = selector.share(arguments | {"keep": most if len(others) == len(rows) else 1.0})
    kept[rows[selector.select(arguments | memo[shared] | {"keep": keep})]] = True
    return score, kept


def _given(spec: Spec, pool: Pool, keep: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The examples kept in any case, bool[N], the ids to choose from, i64[n], and the share of these to keep."""
    n = len(pool.keys)
    if not spec.get("include_labelled"):
        return np.zeros(n, bool), np.arange(n), keep
    assert pool.bought is not None
    bought = int(np.sum(pool.bought))
    share, size = share_to_choose(n, bought, keep), selectors.coreset_size(n, keep)
    if size < bought:
        return np.zeros(n, bool), np.flatnonzero(pool.bought), share
    rows = np.flatnonzero(~pool.bought) if size > bought else np.zeros(0, np.int64)
    return pool.bought.copy(), rows, share


def share_to_choose(n: int, bought: int, keep: float) -> float:
    """The share that a selector keeps of those that it chooses from, with ``include_labelled``.

    Args:
      n: examples of the pool.
      bought: those of them whose labels are paid for.

    >>> share_to_choose(100, 10, 0.55), share_to_choose(100, 10, 0.05), share_to_choose(100, 10, 0.1)
    (0.5, 0.5, 0.0)
    """
    size = selectors.coreset_size(n, keep)
    return size / bought if size < bought else (size - bought) / max(1, n - bought)


def _among(rows: np.ndarray, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a selector for the examples ``rows`` alone."""
    n = arguments["n"]
    if len(rows) == n:
        return dict(arguments)
    per_example = {key: value[rows] for key, value in arguments.items() if np.ndim(value) and len(value) == n}
    return {**arguments, **per_example, "n": len(rows)}


def orientation(spec: Spec) -> int:
    """The factor, 1 or -1, that orients the score as the selector expects it."""
    wanted = SELECTORS[spec["selector"]].orientation
    if not wanted:
        return 1
    hard_is_high = wanted == "end" and spec["end"] == "hard"
    return 1 if scores.SCORES[spec["score"]].high_is_hard == hard_is_high else -1


def _score(spec: Spec, pool: Pool) -> np.ndarray:
    """The selection's score f32[N], carried over to the examples without one if the spec asks for it."""
    score = scores.compute(spec["score"], pool.dynamics, dict(spec) | {"horizon": _horizon(spec)})
    if "extrapolate" not in spec:
        return score
    from semiprune_jax.features import extrapolation

    assert pool.known is not None
    assert pool.embeddings is not None
    carry = extrapolation.METHODS[spec["extrapolate"]]
    return carry(pool.embeddings["features"], pool.known, score, spec["neighbours"], spec["seed"])


def _horizon(spec: Spec) -> int | None:
    return spec.get("horizon") or None  # 0 in a config: all epochs


def same_images(directories: Iterable[Path]) -> list[list[str]]:
    """Groups of two or more names of coresets that keep the same images; whole pools are left out."""
    groups: dict[str, list[str]] = {}
    for directory in directories:
        if (directory / "dropped.txt").stat().st_size:
            groups.setdefault(formats.hash_file(directory / "kept.txt"), []).append(directory.name)
    return [sorted(names) for names in groups.values() if len(names) > 1]
