"""PyTorch's rules written out in numpy: SGD, schedules, batch norm, the moving average, cross entropy."""

import math

import numpy as np


def sgd(w, grads, *, lrs, momentum, nesterov, weight_decay):
    """torch.optim.SGD over a list of gradients; the first momentum is the gradient itself."""
    buffer = None
    for grad, lr in zip(grads, lrs, strict=True):
        g = grad + weight_decay * w
        buffer = g if buffer is None else momentum * buffer + g
        w = w - lr * (g + momentum * buffer if nesterov else buffer)
    return w


def cosine_annealing(step, peak, floor, total):
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * step / total))


def fixmatch_cosine(step, peak, total):
    return peak * max(0.0, math.cos(7 * math.pi * step / (16 * total)))


def batch_norm(x, scale, bias, mean, var, *, momentum, eps):
    """torch.nn.BatchNorm2d in training on x [B, H, W, C]; returns y, running mean and variance."""
    n = x[..., 0].size
    y, new_mean, new_var = np.empty_like(x), np.empty_like(mean), np.empty_like(var)
    for c in range(x.shape[-1]):
        values = x[..., c].astype(np.float64)
        m = values.sum() / n
        v = ((values - m) ** 2).sum() / n
        y[..., c] = (values - m) / math.sqrt(v + eps) * scale[c] + bias[c]
        new_mean[c] = (1 - momentum) * mean[c] + momentum * m
        new_var[c] = (1 - momentum) * var[c] + momentum * v * n / (n - 1)
    return y, new_mean, new_var


def softmax(row):
    e = [math.exp(v - max(row)) for v in row]
    return [v / sum(e) for v in e]


def cross_entropy(row, label):
    return -math.log(softmax(row)[label])


def fixmatch_loss(labelled, labels, weak, strong, threshold, weight):
    """USB's loss from logits, one example at a time."""
    loss_l = sum(cross_entropy(row, y) for row, y in zip(labelled, labels, strict=True)) / len(labelled)
    loss_u = 0.0
    for w, s in zip(weak, strong, strict=True):
        p = softmax(w)
        if max(p) >= threshold:
            loss_u += cross_entropy(s, p.index(max(p)))
    return loss_l + weight * loss_u / len(weak), loss_l, loss_u / len(weak)
