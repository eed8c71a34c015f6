"""Work on embeddings as loops over examples."""

import numpy as np


def nearest_by_sorting(features, k, metric):
    """The ids and distances, each [N, k], of the nearest others, by sorting the distances of all pairs."""
    x = features.astype(np.float64)
    if metric == "cosine":
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    away = np.sum((x[:, None] - x[None]) ** 2, axis=-1)
    away = away / 2 if metric == "cosine" else np.sqrt(away)
    np.fill_diagonal(away, np.inf)
    order = np.argsort(away, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(away, order, axis=1)


def knn_mean(features, known, score, neighbours):
    """Scores of examples without one: the mean of their nearest scored examples, weighted by exp(-distance)."""
    made = np.array(score, float)
    for i in np.flatnonzero(~known):
        away = [(np.linalg.norm(features[i] - features[j]), j) for j in np.flatnonzero(known)]
        near = sorted(away)[:neighbours]
        weights = [np.exp(-distance) for distance, _ in near]
        made[i] = sum(w * score[j] for w, (_, j) in zip(weights, near, strict=True)) / sum(weights)
    return made


def normalised_adjacency(features, neighbours):
    """D^-1/2 (A + I) D^-1/2, dense; A[i, j] is exp(-distance / 2) if j is one of the nearest of i, else 0."""
    n = len(features)
    a = np.eye(n)
    for i in range(n):
        away = sorted((np.linalg.norm(features[i] - features[j]), j) for j in range(n) if j != i)
        for distance, j in away[:neighbours]:
            a[i, j] = np.exp(-distance / 2)
    degree = a.sum(axis=1)
    return a / np.sqrt(degree[:, None] * degree[None])


def temi_loss(p1, p2, q1, q2, prior, beta):
    """TEMI's loss of each head, by sums over pairs, heads and clusters; probabilities [H, B, C], prior [H, C]."""
    heads, batch, clusters = p1.shape
    losses = np.zeros(heads)
    for i in range(batch):
        weight = np.mean([sum(q1[h, i, c] * q2[h, i, c] for c in range(clusters)) for h in range(heads)])
        for h in range(heads):
            one = -np.log(sum((p2[h, i, c] * q1[h, i, c]) ** beta / prior[h, c] for c in range(clusters)))
            two = -np.log(sum((p1[h, i, c] * q2[h, i, c]) ** beta / prior[h, c] for c in range(clusters)))
            losses[h] += 0.5 * weight * (one + two) / batch
    return losses


def sinkhorn(scores, epsilon, rounds):
    """SwAV's codes: each round gives all prototypes equal shares, then makes each row sum to 1."""
    q = np.exp((scores - scores.max()) / epsilon)
    for _ in range(rounds):
        for column in range(q.shape[1]):
            q[:, column] /= sum(q[row, column] for row in range(len(q)))
        for row in range(len(q)):
            q[row] /= sum(q[row])
    return q


def swapped_loss(crops, temperature, epsilon):
    """SwAV's loss, a mean over the images; crops is a list of scores [B, K] whose first two give the codes."""
    total = 0.0
    for own in (0, 1):
        code, terms = sinkhorn(crops[own], epsilon, 3), []
        for other, scores in enumerate(crops):
            if other == own:
                continue
            p = np.exp(scores / temperature)
            p /= p.sum(axis=1, keepdims=True)
            terms.append(np.mean([-sum(code[i] * np.log(p[i])) for i in range(len(p))]))
        total += np.mean(terms)
    return total / 2
