"""Selectors: functions from scores, and some from embeddings, to the ids that are kept; numpy in and out.

Every selector returns the kept ids sorted, int64, exactly ``coreset_size(N, keep)`` of them, and raises
ArgumentError, a ValueError, with what it got, what it allows and what to do. ``keep`` is the fraction kept.

Ties and random draws can be tied to examples instead of positions: ``tiebreak`` is any sortable array [N]
(smaller first), ``noise`` f64[N] in (0, 1). The pipeline passes hashes of (seed, key), so that a new image
changes nothing that was drawn for the others; without them ties go by position and draws by ``seed``.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from semiprune_jax.errors import ArgumentError

_SAMPLE, _CHUNK = 1 << 14, 1 << 15  # values that a rank is guessed from; rows computed with at a time


def coreset_size(n: int, keep: float) -> int:
    """floor(n * keep + 1e-9): the size of every coreset and of every cutoff.

    The 1e-9 keeps 0.1 * 50,000 at 5,000 where binary fractions would lose one (DUAL's sampler keeps 4,999).

    >>> coreset_size(50_000, 0.1)
    5000
    """
    if not 0.0 < keep <= 1.0:
        raise ArgumentError(f"keep = {keep} is not in (0, 1]; keep is the fraction that stays, 0.1 for 90% pruned")
    size = int(np.floor(n * keep + 1e-9))
    if size < 1:
        raise ArgumentError(f"keep = {keep} of {n} examples keeps none; keep at least {1 / max(n, 1):.2g}")
    return size


def random(n: int, keep: float, seed: int = 0, noise: np.ndarray | None = None) -> np.ndarray:
    """A uniform draw of ``coreset_size(n, keep)`` ids out of n.

    >>> len(random(100, keep=0.3, seed=0))
    30
    """
    return np.flatnonzero(_smallest(_noise(n, seed, noise), coreset_size(n, keep)))


def top(score: np.ndarray, keep: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """The ids with the largest scores, score [N].

    >>> top(np.array([0.1, 0.9, 0.5, 0.7]), keep=0.5)
    array([1, 3])
    """
    score = _checked(score)
    return np.flatnonzero(_smallest(-score, coreset_size(len(score), keep), _matching(tiebreak, score)))


def balanced_random(classes: np.ndarray, keep: float, seed: int = 0, noise: np.ndarray | None = None) -> np.ndarray:
    """A uniform draw from each class, of each its share; classes i64[N], any whole numbers.

    >>> kept = balanced_random(np.repeat([0, 1], [80, 20]), keep=0.1)
    >>> int(np.sum(kept < 80)), int(np.sum(kept >= 80))
    (8, 2)
    """
    classes = _class_numbers(classes)
    return _of_each_class(_noise(len(classes), seed, noise), classes, keep, None)


def balanced_top(score: np.ndarray, classes: np.ndarray, keep: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """The largest scores of each class, of each its share, score [N] and classes i64[N].

    A class' share of the coreset is its share of the pool, what rounding leaves going to the largest remainders.
    (CCS' ``monotonic`` with its balance; the released code takes the last class' count for all, D2's does not.)

    >>> balanced_top(np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1]), np.array([0, 0, 0, 0, 1, 1]), keep=0.5)
    array([0, 1, 4])
    """
    score, classes = _checked(score), _class_numbers(classes)
    if score.shape != classes.shape:
        raise ArgumentError(f"score has shape {score.shape} but classes {classes.shape}; both must be [N]")
    return _of_each_class(-score, classes, keep, _matching(tiebreak, score))


def double_end(score: np.ndarray, keep: float, cutoff: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """Drops the ``cutoff`` fraction of lowest scores, keeps the next ``keep``, drops the rest.

    With AUM (low is hard) this is SemiPrune's AUM+Cutoff: the hardest, likely mislabelled examples go, and so do
    the easiest. ``cutoff`` is a fraction of the whole pool; cutoff + keep = 1 drops nothing at the easy end but
    what rounding leaves (the released slice ``[mis:-0]`` is empty there).

    Raises:
      ArgumentError: cutoff is negative, or cutoff + keep leaves too few examples.

    >>> double_end(np.arange(10), keep=0.3, cutoff=0.2)
    array([2, 3, 4])
    """
    score = _checked(score)
    size, skipped = coreset_size(len(score), keep), _cutoff_size(len(score), keep, cutoff)
    tiebreak = _matching(tiebreak, score)
    return np.flatnonzero(_smallest(score, skipped + size, tiebreak) & ~_smallest(score, skipped, tiebreak))


def beta_parameters(
    mu: float, keep: float, c_d: float, concentration: float = 15.0, form: str = "code"
) -> tuple[float, float]:
    """(a, b) of the Beta density that ``beta`` weighs examples with.

    b = C (1 - mu) (1 - r^c_D) with r = 1 - keep; a = C + 1 - b in DUAL's code (the default, which the published
    numbers depend on), a = C - b in SemiPrune's text. mu is the mean probability of the most uncertain examples.

    >>> a, b = beta_parameters(mu=0.4, keep=0.3, c_d=4.0)
    >>> round(a, 4), round(b, 4)
    (9.1609, 6.8391)
    """
    if form not in ("code", "paper"):
        raise ArgumentError(f"form = {form!r} is neither 'code' (a = C + 1 - b) nor 'paper' (a = C - b)")
    if not concentration > 0.0 or not c_d > 0.0:
        raise ArgumentError(f"concentration = {concentration} and c_d = {c_d} must both be positive")
    b = concentration * (1.0 - mu) * (1.0 - (1.0 - keep) ** c_d)
    return concentration + (1.0 if form == "code" else 0.0) - b, b


def beta(
    score: np.ndarray,
    mean_probability: np.ndarray,
    keep: float,
    c_d: float,
    seed: int = 0,
    concentration: float = 15.0,
    form: str = "code",
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """DUAL's Beta sampling: draws without replacement with weights BetaPDF(q; a, b) * score.

    Args:
      score: [N], non-negative; DUAL. Examples of score 0 come last.
      mean_probability: [N], q: mean p(label) over the same epochs as the score.
      keep, c_d, concentration, form: see ``beta_parameters``; mu is the mean of q over the 10 highest scores.
      seed: of the draw, where ``noise`` is not given.

    Gumbel top-n on the log weights, which has the distribution of successive renormalised draws and needs no
    density to stay above the smallest double. (Cho et al., arXiv:2502.06905, ``data_subset.py``.)

    Raises:
      ArgumentError: shapes differ, a score is negative, or a parameter is out of range.

    >>> q = np.linspace(0.1, 0.9, 100)  # mean p(label)
    >>> kept = beta(score=q * (1 - q), mean_probability=q, keep=0.3, c_d=4.0, seed=0)
    >>> len(kept), bool(q[kept].mean() > 0.5)  # the easier ones, at 70% pruned
    (30, True)
    """
    score, q = _checked(score), _checked(mean_probability)
    if score.shape != q.shape:
        raise ArgumentError(f"score has shape {score.shape} but mean_probability {q.shape}; both must be [N]")
    if np.any(score < 0):
        raise ArgumentError(f"beta weighs by the score, which must not be negative; got {score.min():g}; use DUAL")
    size = coreset_size(len(score), keep)
    uniform = _noise(len(score), seed, noise)
    most_uncertain = ~_smallest(score, max(len(score) - 10, 0), uniform)
    mu = float(np.mean(q[most_uncertain], dtype=np.float64))
    a, b = beta_parameters(mu, keep, c_d, concentration, form)
    late = np.empty(len(score))  # minus the log weight plus Gumbel noise; the smallest are drawn
    for rows in _chunks(len(score)):
        p = np.clip(q[rows].astype(np.float64), 1e-8, 1.0 - 1e-8)
        with np.errstate(divide="ignore"):  # log 0 = -inf is the weight of a score of 0
            log_score = np.log(score[rows].astype(np.float64))
        late[rows] = np.log(-np.log(uniform[rows])) - (a - 1.0) * np.log(p) - (b - 1.0) * np.log1p(-p) - log_score
    # Where every weight left is 0, the noise alone decides, so the size is exact whatever the scores.
    return np.flatnonzero(_smallest(late, size, uniform))


def stratified(
    score: np.ndarray,
    keep: float,
    cutoff: float,
    seed: int = 0,
    strata: int = 50,
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """CCS: drops the ``cutoff`` fraction of lowest scores, then spreads the budget over equal-width strata.

    Strata are filled from the emptiest on: each gives min(its count, budget left // strata left), drawn at
    random inside it. (Zheng et al., arXiv:2210.15809.) The top stratum includes the maximum, where the released
    ``max * 1.0001`` loses it for scores below zero.

    Raises:
      ArgumentError: cutoff is negative, cutoff + keep leaves too few examples, or strata < 1.

    >>> score = np.r_[np.linspace(0.0, 0.1, 90), np.linspace(0.9, 1.0, 10)]
    >>> kept = stratified(score, keep=0.2, cutoff=0.0, strata=2)
    >>> int(np.sum(score[kept] > 0.5))  # half of the budget, for a tenth of the pool
    10
    """
    score = _checked(score)
    if strata < 1:
        raise ArgumentError(f"strata = {strata}; at least one stratum is needed")
    size, skipped = coreset_size(len(score), keep), _cutoff_size(len(score), keep, cutoff)
    uniform = _noise(len(score), seed, noise)
    rest = np.flatnonzero(~_smallest(score, skipped, uniform))
    values = score[rest].astype(np.float64)
    low = values.min()
    width = (values.max() - low) / strata
    # All equal: one stratum. Otherwise half-open strata, the last one closed.
    stratum = np.zeros(len(rest), np.int64) if width <= 0 else np.minimum((values - low) / width, strata - 1)
    members = [rest[stratum.astype(np.int64) == s] for s in range(strata)]
    kept, budget = [], size
    for left, ids in zip(range(strata, 0, -1), sorted(members, key=len), strict=True):
        take = min(len(ids), budget // left)
        kept.append(ids[np.argsort(uniform[ids], kind="stable")[:take]])
        budget -= take
    return np.sort(np.concatenate(kept))


def moderate(features: np.ndarray, classes: np.ndarray, keep: float, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """Moderate: those in the middle, by Euclidean distance from the median of their class, of all classes together.

    Args:
      features: f32[N, D].
      classes: i64[N].

    Sorted by distance, positions round(N (1/2 - keep/2)) and on are kept. (Xia et al., ICLR 2023; the released function
    returns what it drops.)

    >>> moderate(np.array([[0.0], [1.0], [2.0], [4.0], [8.0]]), np.zeros(5, int), keep=0.4)
    array([0, 3])
    """
    from semiprune_jax.features.blocks import checked

    features, classes = checked(features), _class_numbers(classes)
    distance = np.empty(len(features))
    for c in range(classes.max() + 1):
        own = features[classes == c]
        distance[classes == c] = np.linalg.norm(own - np.median(own, axis=0), axis=1)
    size = coreset_size(len(features), keep)
    first = min(max(round(len(features) * (0.5 - keep / 2)), 0), len(features) - size)
    tiebreak = _matching(tiebreak, distance)
    return np.flatnonzero(_smallest(distance, first + size, tiebreak) & ~_smallest(distance, first, tiebreak))


def prototypicality(
    features: np.ndarray, keep: float, clusters: int, seed: int = 0, balanced: bool = False,
    tiebreak: np.ndarray | None = None, clustering: Any = None,
) -> np.ndarray:  # fmt: skip
    """Those farthest from the centroid of their own k-means cluster (Sorscher et al., arXiv:2206.14486).

    Args:
      features: f32[N, D].
      clusters: k; as many as there are classes.
      balanced: of each cluster its share, instead of the farthest of all.
      clustering: of ``features.kmeans.fit``, if it has been made already.

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
    """Greedy k-centre: a drawn example, then each time the one farthest from those kept (arXiv:1708.00489).

    Args:
      features: f32[N, D].
      noise: f64[N]; the example of the least number is the first.
      order: i64[n], of choice, if it has been made already for a larger coreset; see ``prepare``.

    >>> k_centre(np.array([[0.0], [0.1], [0.2], [9.0]]), keep=0.5, noise=np.array([0.1, 0.5, 0.5, 0.5]))
    array([0, 3])
    """
    order = _k_centre_order(features, keep, seed, noise) if order is None else order
    return _first(order, len(features), keep)


def d2(
    score: np.ndarray, features: np.ndarray, keep: float, neighbours: int = 10, gamma: float = 0.1, cutoff: float = 0.0,
    easiness: np.ndarray | None = None, order: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """D2 pruning: score and diversity, by messages on a graph of nearest neighbours (arXiv:2310.07931).

    Args:
      score: [N], high is worth keeping; where some are negative all are shifted, so that the least is 0.
      features: f32[N, D].
      neighbours, gamma: see ``features.graph.message_passing``.
      cutoff: fraction of the pool that is left out beforehand: the lowest ``easiness`` [N] (AUM), likely mislabelled.
      order: i64[n], of choice, if it has been made already for a larger coreset; see ``prepare``.

    >>> d2(np.array([1.0, 0.9, 0.8, 0.3]), np.array([[0.0], [0.1], [0.2], [9.0]]), keep=0.5, neighbours=2, gamma=1.0)
    array([1, 3])
    """
    order = _d2_order(score, features, keep, neighbours, gamma, cutoff, easiness) if order is None else order
    return _first(order, len(features), keep)


def zcore(
    features: np.ndarray, keep: float, seed: int = 0, samples: int = 1_000_000, noise: np.ndarray | None = None,
    coverage: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """The largest ZCore scores, ``coverage`` f32[N] if it has been made already; see ``features.zcore.zcore``.

    >>> zcore(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), keep=0.7, samples=100)  # of twins, one
    array([0, 2])
    """
    return top(_coverage(features, seed, samples, noise) if coverage is None else coverage, keep)


def badge(
    probabilities: np.ndarray, features: np.ndarray, keep: float, seed: int = 0, order: np.ndarray | None = None
) -> np.ndarray:
    """BADGE: k-means++ on the gradients of the last layer, were predictions labels (arXiv:1906.03671).

    Args:
      probabilities: f32[N, C], of the network whose ``features`` f32[N, D] these are.
      order: i64[n], of choice, if it has been made already for a larger coreset; see ``prepare``.

    >>> p = np.array([[0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])
    >>> 0 in badge(p, np.ones((3, 2)), keep=0.7)  # the least certain comes first
    True
    """
    order = _badge_order(probabilities, features, keep, seed) if order is None else order
    return _first(order, len(features), keep)


SELECTORS: dict[str, Callable[..., np.ndarray]] = {
    "random": random,
    "top": top,
    "balanced_random": balanced_random,
    "balanced_top": balanced_top,
    "double_end": double_end,
    "beta": beta,
    "stratified": stratified,
    "moderate": moderate,
    "prototypicality": prototypicality,
    "k_centre": k_centre,
    "d2": d2,
    "zcore": zcore,
    "badge": badge,
}

# Which way a selector wants its score turned: "easiness" (low is hard), or so that the wanted "end" is high. Others
# take it as it is.
ORIENTATION = {"top": "end", "balanced_top": "end", "double_end": "easiness", "stratified": "easiness", "d2": "end"}


def _coverage(features: np.ndarray, seed: int, samples: int, noise: np.ndarray | None) -> np.ndarray:
    from semiprune_jax.features.zcore import zcore

    return zcore(features, seed, samples=samples, noise=noise)


def _clustering(features: np.ndarray, clusters: int, seed: int) -> Any:
    from semiprune_jax.features import kmeans

    return kmeans.fit(features, clusters, seed)


def _k_centre_order(features: np.ndarray, keep: float, seed: int, noise: np.ndarray | None) -> np.ndarray:
    from semiprune_jax.features import centres

    first = int(np.argmin(_noise(len(features), seed, noise)))
    return centres.farthest_first(features, coreset_size(len(features), keep), first)


def _badge_order(probabilities: np.ndarray, features: np.ndarray, keep: float, seed: int) -> np.ndarray:
    from semiprune_jax.features import centres

    return centres.badge(probabilities, features, coreset_size(len(features), keep), seed)


def _d2_order(
    score: np.ndarray, features: np.ndarray, keep: float, neighbours: int, gamma: float, cutoff: float,
    easiness: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    from semiprune_jax.features import graph

    score = _checked(score).astype(np.float64)
    size, skipped = coreset_size(len(score), keep), _cutoff_size(len(score), keep, cutoff)
    rest = np.arange(len(score))
    if skipped:
        if easiness is None:
            raise ArgumentError(f"cutoff = {cutoff} leaves out the lowest easiness, which is not given")
        rest = np.flatnonzero(~_smallest(_checked(easiness), skipped))
    worth = score[rest] - min(score[rest].min(), 0.0)
    return rest[graph.message_passing(worth, np.asarray(features)[rest], size, neighbours=neighbours, gamma=gamma)]


def _first(order: np.ndarray, n: int, keep: float) -> np.ndarray:
    return np.sort(order[: coreset_size(n, keep)])


# What takes a selector its time and serves all kept fractions: an argument of it, and how to make it of others. Orders
# of choice are as long as the largest coreset, of which smaller ones are the beginning.
SHARED: dict[str, tuple[str, Callable[..., Any]]] = {
    "zcore": ("coverage", _coverage),
    "prototypicality": ("clustering", _clustering),
    "k_centre": ("order", _k_centre_order),
    "badge": ("order", _badge_order),
    "d2": ("order", _d2_order),
}


def prepare(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the named selector has in ``SHARED``, to be handed to ``select`` with ``keep`` or any smaller one.

    >>> given = {"features": np.array([[0.0], [1.0], [9.0]]), "clusters": 2, "seed": 0}
    >>> prepare("prototypicality", given)["clustering"].distance
    array([0.5, 0.5, 0. ], dtype=float32)
    >>> prepare("random", given)
    {}
    """
    if name not in SHARED:
        return {}
    argument, make = SHARED[name]
    return {argument: make(**{key: arguments.get(key) for key in inspect.signature(make).parameters})}


def parameters(name: str) -> frozenset[str]:
    """Names of the arguments that the named selector takes."""
    return frozenset(inspect.signature(SELECTORS[name]).parameters)


def select(name: str, arguments: Mapping[str, Any]) -> np.ndarray:
    """Runs the named selector on those of ``arguments`` that it takes, matched by parameter name."""
    taken = parameters(name)
    return SELECTORS[name](**{key: value for key, value in arguments.items() if key in taken})


def _checked(score: np.ndarray) -> np.ndarray:
    score = np.asarray(score)
    if score.dtype not in (np.float32, np.float64):
        score = score.astype(np.float64)
    if score.ndim != 1 or len(score) == 0:
        raise ArgumentError(f"scores have shape {score.shape}; expected [N] with N >= 1")
    if not np.all(np.isfinite(score)):
        raise ArgumentError(f"{int(np.sum(~np.isfinite(score)))} of {len(score)} scores are not finite")
    return score


def _class_numbers(classes: np.ndarray) -> np.ndarray:
    """The classes, numbered 0, 1, ... in the order of their numbers."""
    if np.ndim(classes) != 1 or len(classes) == 0:
        raise ArgumentError(f"classes have shape {np.shape(classes)}; expected [N] with N >= 1")
    return np.unique(classes, return_inverse=True)[1]


def _of_each_class(values: np.ndarray, classes: np.ndarray, keep: float, tiebreak: np.ndarray | None) -> np.ndarray:
    """ids, sorted: of each class its share, those of the smallest values."""
    counts, size = np.bincount(classes), coreset_size(len(values), keep)
    share = size * counts / len(values)
    sizes = np.floor(share + 1e-9).astype(np.int64)
    sizes[np.argsort(sizes - share, kind="stable")[: size - sizes.sum()]] += 1
    first = np.arange(len(values)) if tiebreak is None else tiebreak
    order = np.lexsort((first, values, classes))
    place = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its class
    return np.sort(order[place < np.repeat(sizes, counts)])


def _noise(n: int, seed: int, noise: np.ndarray | None) -> np.ndarray:
    if noise is None:
        # Drawn in (0, 1]: turned round, so that log never sees 0; 1 is nudged inside.
        return np.clip(1.0 - np.random.default_rng(seed).random(n), 1e-300, 1.0 - 2.0**-53)
    if np.shape(noise) != (n,):
        raise ArgumentError(f"noise has shape {np.shape(noise)}; expected one number an example, ({n},)")
    return np.asarray(noise, np.float64)


def _matching(tiebreak: np.ndarray | None, score: np.ndarray) -> np.ndarray | None:
    if tiebreak is not None and np.shape(tiebreak) != score.shape:
        raise ArgumentError(f"tiebreak has shape {np.shape(tiebreak)}; expected one an example, {score.shape}")
    return None if tiebreak is None else np.asarray(tiebreak)


def _smallest(values: np.ndarray, size: int, tiebreak: np.ndarray | None = None) -> np.ndarray:
    """bool[N]: the ``size`` smallest values; of equal ones those of smaller tiebreak, then those that come first."""
    if size == 0:
        return np.zeros(len(values), bool)
    last = _at_rank(values, size - 1)
    chosen = values <= last
    if excess := np.count_nonzero(chosen) - size:
        tied = np.flatnonzero(values == last)
        if tiebreak is not None:
            tied = tied[np.argsort(tiebreak[tied], kind="stable")]
        chosen[tied[-excess:]] = False
    return chosen


def _at_rank(values: np.ndarray, rank: int) -> Any:
    """The value that sorting would put at ``rank``, exactly, without sorting or copying all of them.

    A sample says roughly where it lies, so that only the values near there need be ordered (Floyd and Rivest's
    SELECT); where the sample misleads, all are.
    """
    n = len(values)
    sample = np.sort(values[:: max(1, n // _SAMPLE)])
    place, margin = rank * len(sample) // n, int(2 * np.sqrt(len(sample)))
    low = sample[place - margin] if place >= margin else -np.inf
    high = sample[place + margin] if place + margin < len(sample) else np.inf
    below, near = 0, []
    for rows in _chunks(n):
        part = values[rows]
        below += np.count_nonzero(part < low)
        near.append(part[(part >= low) & (part <= high)])
    candidates = np.concatenate(near)
    if not 0 <= rank - below < len(candidates):
        candidates, below = values, 0
    return np.partition(candidates, rank - below)[rank - below]


def _chunks(n: int) -> Iterator[slice]:
    """Parts of n rows, small enough that what is computed of one stays in a processor's cache."""
    return (slice(first, first + _CHUNK) for first in range(0, n, _CHUNK))


def _cutoff_size(n: int, keep: float, cutoff: float) -> int:
    skipped = int(np.floor(n * cutoff + 1e-9))
    if cutoff < 0.0 or skipped + coreset_size(n, keep) > n:
        raise ArgumentError(
            f"cutoff = {cutoff} with keep = {keep}: together they must lie in 0..1; "
            f"lower the cutoff to at most {1.0 - keep:.4g} or keep less"
        )
    return skipped
