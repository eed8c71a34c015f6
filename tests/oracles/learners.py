"""Semi-supervised learners as plain loops over the images of a batch, from USB's rules."""

import math

DECAY = 0.999


def argmax(p):
    return max(range(len(p)), key=lambda c: (p[c], -c))


class FlexMatch:
    def __init__(self, classes, n, threshold):
        self.classes, self.threshold = classes, threshold
        self.selected = [-1] * n

    def step(self, p, ids):
        counts = [self.selected.count(c) for c in range(self.classes)]
        most = max(*counts, self.selected.count(-1))
        weights = []
        for row in p:
            beta = counts[argmax(row)] / most
            weights.append(float(max(row) >= self.threshold * beta / (2 - beta)))
        for row, i in zip(p, ids, strict=True):
            if max(row) >= self.threshold:
                self.selected[i] = argmax(row)
        return [argmax(row) for row in p], weights


class FreeMatch:
    def __init__(self, classes):
        self.classes, self.tau = classes, 1 / classes
        self.p, self.h = [1 / classes] * classes, [1 / classes] * classes

    def step(self, p):
        n = len(p)
        self.tau = DECAY * self.tau + (1 - DECAY) * sum(max(row) for row in p) / n
        for c in range(self.classes):
            self.p[c] = DECAY * self.p[c] + (1 - DECAY) * sum(row[c] for row in p) / n
            self.h[c] = DECAY * self.h[c] + (1 - DECAY) * sum(argmax(row) == c for row in p) / n
        labels = [argmax(row) for row in p]
        return labels, [float(max(row) >= self.tau * self.p[c] / max(self.p)) for row, c in zip(p, labels, strict=True)]

    def fairness(self, strong, weights):
        kept = [row for row, w in zip(strong, weights, strict=True) if w]
        if not kept:
            return 0.0
        mean = [sum(row[c] for row in kept) / len(kept) for c in range(self.classes)]
        share = [sum(argmax(row) == c for row in kept) / len(kept) for c in range(self.classes)]
        m = [a / b if b else 0.0 for a, b in zip(mean, share, strict=True)]
        q = [a / b if b else 0.0 for a, b in zip(self.p, self.h, strict=True)]
        return 0.001 * sum(a / sum(q) * math.log(b / sum(m) + 1e-12) for a, b in zip(q, m, strict=True))


class Alignment:
    def __init__(self, target):
        self.target, self.average = target, None

    def step(self, p):
        now = [sum(row[c] for row in p) / len(p) for c in range(len(self.target))]
        if self.average is None:
            self.average = now
        else:
            self.average = [DECAY * a + (1 - DECAY) * b for a, b in zip(self.average, now, strict=True)]
        rows = []
        for row in p:
            scaled = [x * (t + 1e-6) / (a + 1e-6) for x, t, a in zip(row, self.target, self.average, strict=True)]
            rows.append([x / sum(scaled) for x in scaled])
        return rows


class SoftMatch:
    def __init__(self, classes):
        self.alignment = Alignment([1 / classes] * classes)
        self.mean, self.var = 1 / classes, 1.0

    def step(self, p):
        best = [max(row) for row in self.alignment.step(p)]
        mean = sum(best) / len(best)
        var = sum((b - mean) ** 2 for b in best) / (len(best) - 1)
        self.mean = DECAY * self.mean + (1 - DECAY) * mean
        self.var = DECAY * self.var + (1 - DECAY) * var
        weights = [math.exp(-(min(b - self.mean, 0) ** 2) / (2 * self.var / 4)) for b in best]
        return [argmax(row) for row in p], weights
