"""Every score as a plain loop from its formula (methods of arXiv:2605.23198 and the papers it cites)."""

import itertools
import math


def aum(p_label, p_other):
    return [sum(a - b for a, b in zip(x, y, strict=True)) for x, y in zip(p_label, p_other, strict=True)]


def forgetting(correct, never_learned):
    counts = []
    for row in correct:
        events, before = 0, False
        for now in row:
            events += before and not now
            before = now
        counts.append(len(row) if never_learned == "hardest" and not any(row) else events)
    return counts


def el2n(probabilities, label, first, last):
    """probabilities: [N][T][C]."""
    scores = []
    for rows, y in zip(probabilities, label, strict=True):
        total = 0.0
        for p in rows[first:last]:
            total += math.sqrt(sum((pc - (c == y)) ** 2 for c, pc in enumerate(p)))
        scores.append(total)
    return scores


def windows(row, window):
    for start in range(len(row) - window + 1):
        values = [float(v) for v in row[start : start + window]]
        mean = sum(values) / window
        yield mean, math.sqrt(sum((v - mean) ** 2 for v in values) / window)


def dual(p_label, window, horizon, exponent):
    scores = []
    for row in p_label:
        terms = [(1 - m) * s**exponent for m, s in windows(row[:horizon], window)]
        scores.append(sum(terms) / len(terms))
    return scores


def dyn_unc(p_label, window):
    scores = []
    for row in p_label:
        terms = [s for _, s in windows(row, window)]
        scores.append(sum(terms) / len(terms))
    return scores


def entropy(probabilities):
    """Entropy at the last epoch. probabilities: [N][T][C]."""
    return [-sum(p * math.log(p + 1e-10) for p in rows[-1]) for rows in probabilities]


def moves(rows):
    """Divergence of each visit of one example from the one before, 0 at the first. rows: [T][C] probabilities."""
    found = [0.0]
    for before, now in itertools.pairwise(rows):
        found.append(sum(abs(p * (math.log(p + 1e-8) - math.log(q + 1e-8))) for p, q in zip(now, before, strict=True)))
    return found


def tdds(probabilities, window, horizon, decay):
    """probabilities: [N][T][C]."""
    scores = []
    for rows in probabilities:
        d, total = moves(rows[:horizon])[1:], 0.0
        for k in range(horizon - window + 1):
            values = d[k : k + window - 1]
            mean = sum(values) / len(values)
            norm = math.sqrt(sum((v - mean) ** 2 for v in values))
            total += norm * decay * (1 - decay) ** (horizon - window - k)
        scores.append(total)
    return scores
