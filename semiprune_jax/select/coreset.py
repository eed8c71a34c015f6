"""From a run's dynamics to a coreset: score, orient, select; and the files that it leaves."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.randomness import hash_keys, hash_uniform
from semiprune_jax.select import scores, selectors
from semiprune_jax.workdir import formats


def keep_text(keep: float) -> str:
    """A kept fraction in the name of a directory: two digits, more where they are needed to tell it apart.

    >>> keep_text(0.3), keep_text(0.125)
    ('0.30', '0.125')
    """
    return f"{keep:.2f}" if abs(keep - round(keep, 2)) < 1e-9 else f"{keep:g}"


def relevant(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of a selection that its selector and its score use; what the coreset depends on.

    Args:
      spec: name, selector, score, keep, seed, and any parameters of selectors and scores by their own names.
    """
    used = {"name", "selector", "keep", "seed", *selectors.parameters(spec["selector"])}
    if "score" in used and spec.get("extrapolate", "none") != "none":
        used |= {"extrapolate", "neighbours"}
    if "score" in used:
        used |= set(scores.SCORES[spec["score"]].options)
        used |= {"horizon"} if "mean_probability" in used else set()
        used |= {"end"} if selectors.ORIENTATION.get(spec["selector"]) == "end" else set()
    return {key: value for key, value in spec.items() if key in used}


def reads(spec: Mapping[str, Any]) -> frozenset[str]:
    """The stages whose results a selection reads: "pseudolabel", "score" and "embed"."""
    taken = selectors.parameters(spec["selector"])
    found = {"pseudolabel"} if "classes" in taken else set()
    found |= {"score"} if "score" in taken else set()
    found |= {"embed"} if "features" in taken or "extrapolate" in spec else set()
    return frozenset(found)


def choose(
    spec: Mapping[str, Any],
    dynamics: Mapping[str, np.ndarray],
    keys: Sequence[str],
    classes: np.ndarray | None = None,
    embeddings: Mapping[str, np.ndarray] | None = None,
    *,
    known: np.ndarray | None = None,
    clusters: int = 0,
    memo: dict[Any, Any] | None = None,
    largest: float | None = None,
) -> tuple[np.ndarray | None, np.ndarray]:
    """The selection's own score f32[N] (None where it uses none) and the kept examples bool[N].

    Args:
      spec: what ``relevant`` returned.
      dynamics: the fields of ``Dynamics``, [N, T]; empty where the selector takes no score.
      keys: N stable names, to which ties and draws are tied.
      classes: i32[N], what each example is taken for; read by some selectors.
      embeddings: "features" f32[N, D], and "probabilities" f32[N, C] if they are a network's; None where the selector
        takes none.
      known: bool[N], examples whose score is one; read where the spec extrapolates.
      clusters: how many of them there are, for selectors that look for clusters.
      memo: what does not depend on ``keep`` is put there, and taken from there when another one is chosen with.
      largest: the largest ``keep`` that the memo is to serve with the same cutoff; None: the one of ``spec``.

    Raises:
      ArgumentError: a parameter does not fit the record.
    """
    taken, memo = selectors.parameters(spec["selector"]), {} if memo is None else memo
    arguments = dict(spec) | {"n": len(keys), "classes": classes, "clusters": clusters} | dict(embeddings or {})
    # Hashing a million keys takes seconds, so only what this selector takes.
    if "tiebreak" in taken:
        arguments["tiebreak"] = hash_keys(spec["seed"], "tie", keys)
    if "noise" in taken:  # keyed by the selection, so that two of them do not draw alike
        arguments["noise"] = hash_uniform(spec["seed"], f"select/{spec['name']}", keys)
    score = None
    if "score" in spec:
        if "score" not in memo:
            memo["score"] = _score(spec, dynamics, embeddings, known)
        score = memo["score"]
        if "mean_probability" in taken:
            arguments["mean_probability"] = scores.mean_probability(dynamics["p_label"], _horizon(spec))
        if "easiness" in taken and spec["cutoff"]:
            arguments["easiness"] = scores.compute("aum", dynamics, {})
        arguments["score"] = _oriented(spec, score)
    shared = ("shared", spec.get("cutoff"))  # which may be another one for each kept fraction
    if shared not in memo:
        memo[shared] = selectors.prepare(spec["selector"], arguments | {"keep": largest or spec["keep"]})
    kept = np.zeros(len(keys), bool)
    kept[selectors.select(spec["selector"], arguments | memo[shared])] = True
    return score, kept


def _score(
    spec: Mapping[str, Any],
    dynamics: Mapping[str, np.ndarray],
    embeddings: Mapping[str, np.ndarray] | None,
    known: np.ndarray | None,
) -> np.ndarray:
    """The selection's score f32[N], carried over to examples that have none if the spec says so."""
    score = scores.compute(spec["score"], dynamics, dict(spec) | {"horizon": _horizon(spec)})
    if "extrapolate" not in spec:
        return score
    from semiprune_jax.features import extrapolation

    assert known is not None
    assert embeddings is not None
    carry = extrapolation.METHODS[spec["extrapolate"]]
    return carry(embeddings["features"], known, score, spec["neighbours"], spec["seed"])


def _horizon(spec: Mapping[str, Any]) -> int | None:
    return spec.get("horizon") or None  # 0 in a config: all epochs


def write(
    directory: Path, spec: Mapping[str, Any], columns: Mapping[str, Any], score: np.ndarray | None, kept: np.ndarray
) -> list[Path]:
    """Writes the coreset's files and returns them.

    coreset.parquet has all rows: ``columns`` (id and key among them), ``score`` (what this selection went by), and
    ``kept``. kept.txt and dropped.txt are keys; to_label.txt those kept whose label is not known yet.
    """
    table = dict(columns) | ({} if score is None else {"score": score}) | {"kept": kept}
    formats.write_table(directory / "coreset.parquet", table)
    lists = {"kept.txt": kept, "dropped.txt": ~kept, "to_label.txt": kept & (columns["label"] < 0)}
    for name, rows in lists.items():
        text = "".join(f"{columns['key'][i]}\n" for i in np.flatnonzero(rows))
        formats.write_atomically(directory / name, text.encode())
    sizes = {"kept": int(kept.sum()), "of": len(kept), "pruned": round(1 - spec["keep"], 6)}
    formats.write_json(directory / "spec.json", dict(spec) | sizes)
    return [directory / name for name in ("coreset.parquet", *lists, "spec.json")]


def alike(directories: Iterable[Path]) -> list[list[str]]:
    """Names of the coresets that keep the same images, in groups of two and more; whole pools are no surprise."""
    groups: dict[str, list[str]] = {}
    for directory in directories:
        if (directory / "dropped.txt").stat().st_size:
            groups.setdefault(formats.hash_file(directory / "kept.txt"), []).append(directory.name)
    return [sorted(names) for names in groups.values() if len(names) > 1]


def _oriented(spec: Mapping[str, Any], score: np.ndarray) -> np.ndarray:
    """The score turned the way the selector wants it."""
    wanted = selectors.ORIENTATION.get(spec["selector"])
    if wanted is None:
        return score
    hard_is_high = wanted == "end" and spec["end"] == "hard"
    return score if scores.SCORES[spec["score"]].high_is_hard == hard_is_high else -score
