"""Selectors as plain loops, one example at a time."""

import math


def size(n, keep):
    return math.floor(n * keep + 1e-9)


def double_end(score, keep, cutoff):
    order = sorted(range(len(score)), key=lambda i: (score[i], i))
    skipped = size(len(score), cutoff)
    return sorted(order[skipped : skipped + size(len(score), keep)])


def top(score, keep):
    order = sorted(range(len(score)), key=lambda i: (-score[i], i))
    return sorted(order[: size(len(score), keep)])


def class_sizes(counts, total):
    """The size of each class: its share, rounded down, and one more where rounding lost most."""
    shares = [total * count / sum(counts) for count in counts]
    sizes = [math.floor(share + 1e-9) for share in shares]
    for c in sorted(range(len(counts)), key=lambda c: (sizes[c] - shares[c], c))[: total - sum(sizes)]:
        sizes[c] += 1
    return sizes


def balanced(value, classes, keep):
    """The examples of the smallest values of each class."""
    names, kept = sorted(set(classes)), []
    sizes = class_sizes([classes.count(name) for name in names], size(len(value), keep))
    for name, count in zip(names, sizes, strict=True):
        members = [i for i in range(len(value)) if classes[i] == name]
        kept += sorted(members, key=lambda i: (value[i], i))[:count]
    return sorted(kept)


def beta_weights(score, q, keep, c_d, concentration, extra):
    """Normalised weights, from the formula of the density."""
    best = sorted(range(len(score)), key=lambda i: (score[i], i))[-10:]
    mu = sum(q[i] for i in best) / len(best)
    b = concentration * (1 - mu) * (1 - (1 - keep) ** c_d)
    a = concentration + extra - b
    norm = math.gamma(a + b) / (math.gamma(a) * math.gamma(b))
    weights = [norm * x ** (a - 1) * (1 - x) ** (b - 1) * s for x, s in zip(q, score, strict=True)]
    return [w / sum(weights) for w in weights]


def sequential_draw(weights, count, rng):
    """Draws one after another; the other weights are renormalised after each draw."""
    left, drawn = dict(enumerate(weights)), []
    for _ in range(count):
        mark, total = rng.random() * sum(left.values()), 0.0
        chosen = -1
        for i, w in left.items():
            total += w
            if total >= mark:
                chosen = i
                break
        drawn.append(chosen)
        del left[chosen]
    return sorted(drawn)


def stratum_sizes(counts, budget):
    """The number that CCS takes from each stratum: dict stratum -> size."""
    taken, left = {}, len(counts)
    for stratum in sorted(range(len(counts)), key=lambda s: counts[s]):
        taken[stratum] = min(counts[stratum], budget // left)
        budget -= taken[stratum]
        left -= 1
    return taken
