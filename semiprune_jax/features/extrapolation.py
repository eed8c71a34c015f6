"""Scores of a whole pool from the scores of a few examples.

An example gets the mean score of its nearest scored examples, or the prediction of a graph network that is trained on
the scored examples. (Schmidt et al., Effective Data Pruning through Score Extrapolation.)
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from semiprune_jax.errors import ArgumentError
from semiprune_jax.features.blocks import checked
from semiprune_jax.features.neighbours import nearest

HIDDEN = (512, 256)  # widths of the graph network's two hidden layers
DROPOUT = 0.5
LEARNING_RATE = 1e-3
STEPS = 500  # each on the whole graph
_VALIDATED_EVERY = 10  # steps
_VALIDATION = 0.1  # share of the scored examples


def by_neighbours(
    features: np.ndarray, known: np.ndarray, score: np.ndarray, neighbours: int = 10, seed: int = 0
) -> np.ndarray:
    """f32[N]: scored examples keep their score; others get the mean score of their nearest scored examples.

    Means are weighted by exp(-distance).

    Args:
      features: f32[N, D]; distances are Euclidean, and features are not normalised.
      known: bool[N], which examples have a score.
      score: f[N], read where it is known.
      seed: unused; ``by_graph`` draws numbers with it.

    Raises:
      ArgumentError: shapes do not match, ``neighbours`` is not in 1 .. known - 1, or a value that is read is not
        finite.

    >>> by_neighbours(np.array([[0.0], [1.0], [9.0], [0.5]]), np.array([True, True, True, False]),
    ...               np.array([1.0, 2.0, 7.0, 0.0]), neighbours=2)
    array([1. , 2. , 7. , 1.5], dtype=float32)
    """
    del seed
    features, known, score = _checked(features, known, score)
    ids, distances = nearest(features, neighbours, among=np.flatnonzero(known))
    # The smallest distance cancels in the mean; without it all weights could underflow.
    weights = np.exp(distances[:, :1].astype(np.float64) - distances)
    mean = np.sum(weights * score[ids], axis=1) / np.sum(weights, axis=1)
    return np.where(known, score, mean).astype(np.float32)


def by_graph(
    features: np.ndarray, known: np.ndarray, score: np.ndarray, neighbours: int = 10, seed: int = 0
) -> np.ndarray:
    """f32[N]: scored examples keep their score; a graph network predicts the others. Arguments are the same.

    The network has three graph convolutions (D to 512, 256 and 1; ReLU and dropout between them). In the graph each
    example receives from its nearest neighbours, with weights exp(-distance / 2), and from itself. Adam minimises the
    squared error on nine tenths of the scored examples; the parameters whose predictions correlate best with the scores
    of the last tenth are kept.

    Unlike the released code, a step uses the whole graph instead of sampled neighbourhoods of 128 examples, scores are
    standardised so that the network need not learn their scale, and the labels of all examples are not an input.

    Raises:
      ArgumentError: as above; or fewer than 20 examples have a score, too few to validate on a tenth of them.
    """
    features, known, score = _checked(features, known, score)
    scored = np.flatnonzero(known)
    if len(scored) < 20:
        raise ArgumentError(f"{len(scored)} examples have a score; a graph network needs 20 or more to learn from")
    drawn = np.random.default_rng(seed).permutation(scored)
    held_out, learnt = np.split(drawn, [max(2, int(_VALIDATION * len(scored)))])
    mean, spread = float(np.mean(score[learnt])), float(np.std(score[learnt])) or 1.0
    graph = graph_of(features, neighbours)
    inputs = aggregate(graph, jnp.asarray(features))  # the first layer's aggregation is the same in all steps
    target = jnp.asarray((score - mean) / spread, jnp.float32)
    key = jax.random.key(seed, impl="threefry2x32")
    tx = optax.adam(LEARNING_RATE)
    params = init(jax.random.fold_in(key, 0), features.shape[1])
    opt_state, best, predicted = tx.init(params), -np.inf, np.zeros(len(features))
    learnt, validated = jnp.asarray(learnt), score[held_out]
    for step in range(1, STEPS + 1):
        key_now = jax.random.fold_in(key, step)
        params, opt_state = _train(params, opt_state, graph, inputs, target, learnt, key_now, tx=tx)
        if step % _VALIDATED_EVERY == 0 or step == STEPS:
            now = np.asarray(_predict(params, graph, inputs), np.float64)
            agreement = _correlation(now[held_out], validated)
            if agreement > best:
                best, predicted = agreement, now
    return np.where(known, score, mean + spread * predicted).astype(np.float32)


class Graph(NamedTuple):
    """The edges to each example, from its nearest neighbours and from itself."""

    near: jax.Array  # i32[N, k]
    weight: jax.Array  # f32[N, k]
    own: jax.Array  # f32[N], the weight of the example itself


def graph_of(features: np.ndarray, neighbours: int) -> Graph:
    """The graph of nearest neighbours, with the weights of D^-1/2 (A + I) D^-1/2, where A is exp(-distance / 2)."""
    ids, distances = nearest(features, neighbours)
    weight = np.exp(-0.5 * distances.astype(np.float64))
    degree = 1.0 + np.sum(weight, axis=1)
    norm = 1.0 / np.sqrt(degree)
    weight = norm[:, None] * weight * norm[ids]
    return Graph(jnp.asarray(ids), jnp.asarray(weight, jnp.float32), jnp.asarray(1.0 / degree, jnp.float32))


def aggregate(graph: Graph, x: jax.Array) -> jax.Array:
    """f32[N, D], the weighted sum of x f32[N, D] over the edges to each example.

    It adds one neighbour after another, because [N, k, D] would not fit into memory.
    """

    def add(total: jax.Array, edge: tuple[jax.Array, jax.Array]):
        near, weight = edge
        return total + weight[:, None] * x[near], None

    own = graph.own[:, None] * x
    return jax.lax.scan(add, own, (graph.near.T, graph.weight.T))[0]


def init(key: jax.Array, width: int) -> list[dict[str, jax.Array]]:
    """Fresh layers; weights are drawn by Glorot's rule, and biases are 0."""
    sizes = (width, *HIDDEN, 1)
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.nn.initializers.glorot_uniform()(k, (a, b)), "b": jnp.zeros((1, b))}
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def _outputs(params, graph: Graph, inputs: jax.Array, key: jax.Array | None) -> jax.Array:
    """Predictions f32[N] from ``inputs`` that are aggregated already; with a key there is dropout."""
    x = inputs @ params[0]["w"] + params[0]["b"]
    for layer, following in enumerate(params[1:]):
        x = jax.nn.relu(x)
        if key is not None:
            kept = jax.random.bernoulli(jax.random.fold_in(key, layer), 1.0 - DROPOUT, x.shape)
            x = jnp.where(kept, x / (1.0 - DROPOUT), 0.0)
        x = aggregate(graph, x @ following["w"]) + following["b"]
    return x[:, 0]


@partial(jax.jit, static_argnames="tx", donate_argnums=(0, 1))
def _train(params, opt_state, graph: Graph, inputs, target, learnt, key, *, tx):
    def loss(params):
        return jnp.mean((_outputs(params, graph, inputs, key)[learnt] - target[learnt]) ** 2)

    updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


@jax.jit
def _predict(params, graph: Graph, inputs: jax.Array) -> jax.Array:
    return _outputs(params, graph, inputs, None)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; 0 if one of both does not vary."""
    # np.corrcoef warns and returns NaN then, and forgetting scores of a few held-out examples may all be equal.
    a, b = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0


METHODS = {"neighbours": by_neighbours, "graph": by_graph}


def _checked(features: np.ndarray, known: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, known, score = checked(features), np.asarray(known, bool), np.asarray(score, np.float64)
    if known.shape != (len(features),) or score.shape != (len(features),):
        raise ArgumentError(
            f"{len(features)} embeddings, known {known.shape} and score {score.shape}: each example needs one of each"
        )
    if not np.all(np.isfinite(score[known])):
        raise ArgumentError(f"{int(np.sum(~np.isfinite(score[known])))} known scores are not finite")
    return features, known, score
