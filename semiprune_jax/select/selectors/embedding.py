"""Selectors that read embeddings."""

from typing import Any

import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.field import AT_LEAST_ONE, NOT_NEGATIVE, Field
from semiprune_jax.select.selectors.ranks import (
    checked_score,
    checked_tiebreak,
    class_numbers,
    coreset_size,
    cutoff_size,
    smallest,
    uniform_noise,
)
from semiprune_jax.select.selectors.selector import NEIGHBOURS, Selector, Shared
from semiprune_jax.select.selectors.threshold import balanced_top, cutoff_problems, top


def moderate(features: np.ndarray, classes: np.ndarray, keep: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """Moderate: the middle examples by Euclidean distance from the median of their class, of all classes together.

    Args:
      features: f32[N, D].
      classes: i64[N].

    The kept examples, sorted by distance, begin at position round(N (1/2 - keep/2)). (Xia et al., ICLR 2023; the
    released function returns the examples that it drops.)

    >>> moderate(np.array([[0.0], [1.0], [2.0], [4.0], [8.0]]), np.zeros(5, int), keep=0.4)
    array([0, 3])
    """
    from semiprune_jax.features.blocks import checked

    features, classes = checked(features), class_numbers(classes)
    distance = np.empty(len(features))
    for c in range(classes.max() + 1):
        own = features[classes == c]
        distance[classes == c] = np.linalg.norm(own - np.median(own, axis=0), axis=1)
    size = coreset_size(len(features), keep)
    first = min(max(round(len(features) * (0.5 - keep / 2)), 0), len(features) - size)
    tiebreak = checked_tiebreak(tiebreak, distance)
    return np.flatnonzero(smallest(distance, first + size, tiebreak) & ~smallest(distance, first, tiebreak))


def prototypicality(
    features: np.ndarray,
    keep: float,
    clusters: int,
    seed: int = 0,
    balanced: bool = False,
    tiebreak: np.ndarray | None = None,
    clustering: Any = None,
) -> np.ndarray:
    """The examples farthest from the centroid of their own k-means cluster (Sorscher et al., arXiv:2206.14486).

    Args:
      features: f32[N, D].
      clusters: k; the pipeline passes the number of classes.
      balanced: whether to keep the farthest of each cluster, in proportion to its size, instead of the farthest of all.
      clustering: the result of ``features.kmeans.fit``, if it has been made already.

    >>> prototypicality(np.array([[0.0], [1.0], [4.0], [50.0], [51.0]]), keep=0.4, clusters=2)
    array([0, 2])
    """
    from semiprune_jax.features import kmeans

    found = clustering or kmeans.fit(features, clusters, seed)
    if balanced:
        return balanced_top(found.distance, found.cluster, keep, tiebreak)
    return top(found.distance, keep, tiebreak)


def k_centre(
    features: np.ndarray, keep: float, seed: int = 0, noise: np.ndarray | None = None, order: np.ndarray | None = None
) -> np.ndarray:
    """Greedy k-centre: a random example, then always the one farthest from those kept (arXiv:1708.00489).

    Args:
      features: f32[N, D].
      noise: f64[N]; the example with the smallest number is the first.
      order: i64[n], ids in the order of choice, if it has been made already for a larger coreset.

    >>> k_centre(np.array([[0.0], [0.1], [0.2], [9.0]]), keep=0.5, noise=np.array([0.1, 0.5, 0.5, 0.5]))
    array([0, 3])
    """
    order = _k_centre_order(features, keep, seed, noise) if order is None else order
    return _first(order, len(features), keep)


def d2(
    score: np.ndarray,
    features: np.ndarray,
    keep: float,
    neighbours: int = 10,
    gamma: float = 0.1,
    cutoff: float = 0.0,
    easiness: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> np.ndarray:
    """D2 pruning: score and diversity, by messages on a graph of nearest neighbours (arXiv:2310.07931).

    Args:
      score: [N], high is worth keeping; if any score is negative, all are shifted so that the lowest is 0.
      features: f32[N, D].
      neighbours, gamma: see ``features.graph.message_passing``.
      cutoff: fraction of the pool that is left out first: the lowest ``easiness`` [N] (AUM), likely mislabelled.
      order: i64[n], ids in the order of choice, if it has been made already for a larger coreset.

    >>> d2(np.array([1.0, 0.9, 0.8, 0.3]), np.array([[0.0], [0.1], [0.2], [9.0]]), keep=0.5, neighbours=2, gamma=1.0)
    array([1, 3])
    """
    order = _d2_order(score, features, keep, neighbours, gamma, cutoff, easiness) if order is None else order
    return _first(order, len(features), keep)


def zcore(
    features: np.ndarray,
    keep: float,
    seed: int = 0,
    samples: int = 1_000_000,
    noise: np.ndarray | None = None,
    coverage: np.ndarray | None = None,
) -> np.ndarray:
    """The largest ZCore scores; see ``features.zcore.zcore``.

    Args:
      features: f32[N, D].
      samples: the number of points drawn.
      coverage: f32[N], the scores, if they have been made already.

    >>> zcore(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), keep=0.7, samples=100)  # one of the twins
    array([0, 2])
    """
    return top(_coverage(features, seed, samples, noise) if coverage is None else coverage, keep)


def badge(
    probabilities: np.ndarray, features: np.ndarray, keep: float, seed: int = 0, order: np.ndarray | None = None
) -> np.ndarray:
    """BADGE: k-means++ on the gradients of the last layer, with predictions as labels (arXiv:1906.03671).

    Args:
      probabilities: f32[N, C], of the network whose ``features`` f32[N, D] these are.
      order: i64[n], ids in the order of choice, if it has been made already for a larger coreset.

    >>> p = np.array([[0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])
    >>> 0 in badge(p, np.ones((3, 2)), keep=0.7)  # the least certain comes first
    True
    """
    order = _badge_order(probabilities, features, keep, seed) if order is None else order
    return _first(order, len(features), keep)


def _coverage(features: np.ndarray, seed: int, samples: int, noise: np.ndarray | None) -> np.ndarray:
    from semiprune_jax.features.zcore import zcore

    return zcore(features, seed, samples=samples, noise=noise)


def _clustering(features: np.ndarray, clusters: int, seed: int) -> Any:
    from semiprune_jax.features import kmeans

    return kmeans.fit(features, clusters, seed)


def _k_centre_order(features: np.ndarray, keep: float, seed: int, noise: np.ndarray | None) -> np.ndarray:
    from semiprune_jax.features import centres

    first = int(np.argmin(uniform_noise(len(features), seed, noise)))
    return centres.farthest_first(features, coreset_size(len(features), keep), first)


def _badge_order(probabilities: np.ndarray, features: np.ndarray, keep: float, seed: int) -> np.ndarray:
    from semiprune_jax.features import centres

    return centres.badge(probabilities, features, coreset_size(len(features), keep), seed)


def _d2_order(
    score: np.ndarray,
    features: np.ndarray,
    keep: float,
    neighbours: int,
    gamma: float,
    cutoff: float,
    easiness: np.ndarray | None,
) -> np.ndarray:
    from semiprune_jax.features import graph

    score = checked_score(score).astype(np.float64)
    size, skipped = coreset_size(len(score), keep), cutoff_size(len(score), keep, cutoff)
    rest = np.arange(len(score))
    if skipped:
        if easiness is None:
            raise ArgumentError(f"cutoff = {cutoff} leaves out the lowest easiness, which is not given")
        rest = np.flatnonzero(~smallest(checked_score(easiness), skipped))
    worth = score[rest] - min(score[rest].min(), 0.0)
    return rest[graph.message_passing(worth, np.asarray(features)[rest], size, neighbours=neighbours, gamma=gamma)]


def _first(order: np.ndarray, n: int, keep: float) -> np.ndarray:
    return np.sort(order[: coreset_size(n, keep)])


CUTOFF = Field((0.0,), "the fraction of lowest AUM that is dropped; one, or one for each kept fraction.")
GAMMA = Field(0.1, "how fast the effect of a choice falls with distance; 0: not at all.", NOT_NEGATIVE)
SAMPLES = Field(1_000_000, "the number of points drawn.", AT_LEAST_ONE)
BALANCED = Field(False, "whether each cluster gives its share of the coreset.")

MODERATE = Selector("moderate", moderate, ("features", "classes", "tiebreak"))
PROTOTYPICALITY = Selector(
    "prototypicality",
    prototypicality,
    ("features", "clusters", "seed", "tiebreak"),
    {"balanced": BALANCED},
    shared=Shared("clustering", _clustering, ("features", "clusters", "seed")),
)
K_CENTRE = Selector(
    "k_centre",
    k_centre,
    ("features", "seed", "noise"),
    shared=Shared("order", _k_centre_order, ("features", "keep", "seed", "noise")),
)
D2 = Selector(
    "d2",
    d2,
    ("score", "features", "easiness"),
    {"cutoff": CUTOFF, "neighbours": NEIGHBOURS, "gamma": GAMMA},
    orientation="end",
    problems=cutoff_problems,
    shared=Shared("order", _d2_order, ("score", "features", "keep", "neighbours", "gamma", "cutoff", "easiness")),
)
ZCORE = Selector(
    "zcore",
    zcore,
    ("features", "seed", "noise"),
    {"samples": SAMPLES},
    shared=Shared("coverage", _coverage, ("features", "seed", "samples", "noise")),
)
BADGE = Selector(
    "badge",
    badge,
    ("probabilities", "features", "seed"),
    shared=Shared("order", _badge_order, ("probabilities", "features", "keep", "seed")),
)
