"""Selections on a graph of nearest neighbours."""

import heapq

import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.features.neighbours import nearest


def message_passing(
    score: np.ndarray, features: np.ndarray, count: int, *, neighbours: int = 10, gamma: float = 0.1
) -> np.ndarray:
    """Ids i64[count] in the order of choice, by D2's message passing (Maharana et al., arXiv:2310.07931).

    Two examples are joined if either is among the ``neighbours`` nearest of the other. First, exp(-distance) s_j of
    each neighbour j is added to the score s_i of example i. Then the example with the largest sum is kept, exp(-gamma
    distance) of its sum is subtracted from each of its neighbours, and so on. Of equal sums the lower id comes first.

    Args:
      score: f[N], high is worth keeping, never negative.
      features: f32[N, D]; distances are Euclidean, and features are not normalised.
      gamma: the larger it is, the shorter is the reach of a choice; with 0, every neighbour loses the whole sum.

    Raises:
      ArgumentError: shapes do not match, a score is negative or not finite, ``gamma`` is negative, ``count`` is not in
        1..N, or ``neighbours`` is not in 1..N - 1.
    """
    score = np.asarray(score, np.float64)
    if score.shape != (len(features),):
        raise ArgumentError(f"scores have shape {score.shape}; expected one per embedding, ({len(features)},)")
    if not np.all(np.isfinite(score)) or np.any(score < 0):
        raise ArgumentError(
            f"message passing needs finite scores, none negative; got {np.min(score):g} .. {np.max(score):g}"
        )
    if gamma < 0:
        raise ArgumentError(f"gamma = {gamma} is negative; expected 0 or more")
    if not 1 <= count <= len(score):
        raise ArgumentError(f"{count} of {len(score)} examples; expected 1 .. {len(score)}")
    start, joined, distance = _symmetric(*nearest(features, neighbours))
    worth = score + np.add.reduceat(np.append(np.exp(-distance) * score[joined], 0.0), start[:-1])
    heap = [(-value, i) for i, value in enumerate(worth)]
    heapq.heapify(heap)
    left, kept = np.ones(len(score), bool), []
    while len(kept) < count:
        value, i = heapq.heappop(heap)
        if not left[i] or -value != worth[i]:  # it is kept already, or it is worth less by now and has a later entry
            continue
        left[i] = False
        kept.append(i)
        edges = slice(start[i], start[i + 1])
        near, reach = joined[edges], np.exp(-gamma * distance[edges])
        for j, taken in zip(near[left[near]], reach[left[near]] * worth[i], strict=True):
            worth[j] -= taken
            heapq.heappush(heap, (-worth[j], j))
    return np.array(kept, np.int64)


def _symmetric(ids: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start i64[N + 1], neighbour i32[E], distance f64[E]); the edges of i are start[i] .. start[i + 1] - 1."""
    n, k = ids.shape
    one, other = np.repeat(np.arange(n), k), ids.ravel().astype(np.int64)
    pairs = np.concatenate([one * n + other, other * n + one])
    pairs, first = np.unique(pairs, return_index=True)
    distance = np.tile(distances.ravel(), 2)[first].astype(np.float64)
    start = np.searchsorted(pairs, np.arange(n + 1) * n)
    return start, (pairs % n).astype(np.int32), distance
