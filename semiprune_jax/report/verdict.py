"""The verdict of a report: estimates on labels that no training has read, and what they mean in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.select.coreset import keep_text

_Z = 1.959964  # of a two-sided interval of 95%


class Estimate(NamedTuple):
    """A share, or a difference of shares, with its 95% interval, from ``n`` held-out images."""

    value: float
    low: float
    high: float
    n: int


class Judged(NamedTuple):
    """One selection at one kept fraction."""

    name: str
    keep: float
    accuracy: Estimate  # of its networks, which were trained on pseudo-labels
    ahead: Estimate | None  # accuracy minus that of the uniform draw; None for the draw itself
    truth: float | None  # the mean test accuracy of the same networks, if they were tested


class Verdict(NamedTuple):
    """All that the held-out labels say about a run."""

    pseudo_labels: Estimate  # the share of the unlabelled images whose pseudo-labels are right
    truth: float | None  # the same share by all true labels, if they are known
    judged: list[Judged]
    rising: "Trend | None"  # of FixMatch at its end
    words: list[str]


class Trend(NamedTuple):
    """How a curve went on at the end of a training."""

    name: str  # of what is measured
    slope: float  # per 1,000 steps
    steps: int  # of the training


def accuracy(correct: np.ndarray, weight: np.ndarray) -> Estimate:
    """A weighted share of right answers, with Wilson's interval.

    Args:
      correct: f64[n], for each image the share of networks that are right, or whether one is.
      weight: f64[n], how many images of the pool each stands for, up to a factor.

    Unequal weights count as fewer images, (sum w)^2 / sum w^2 (Kish). Means over networks vary less than single
    answers, so that the interval errs on the wide side.

    >>> [round(float(x), 3) for x in accuracy(np.arange(10) < 8, np.ones(10))]
    [0.8, 0.49, 0.943, 10.0]
    """
    n, p = _effective(weight), float(np.average(correct, weights=weight))
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Estimate(p, max(0.0, middle - half), min(1.0, middle + half), len(correct))


def difference(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> Estimate:
    """The paired difference of two shares of right answers over the same images; arguments as for ``accuracy``.

    The interval is Bonett and Price's: one image more on which each of both alone is right, and then Wald's (Computing
    intervals for paired proportions, 2012).

    >>> found = difference(np.arange(20) < 14, np.arange(20) < 10, np.ones(20))
    >>> [round(float(x), 3) for x in found]
    [0.2, -0.023, 0.386, 20.0]
    """
    n, d = _effective(weight), np.asarray(one, float) - np.asarray(other, float)
    mean = n * np.average(d, weights=weight) / (n + 2)
    square = (n * np.average(d**2, weights=weight) + 2) / (n + 2)
    half = _Z * math.sqrt(max(0.0, square - mean**2) / (n + 2))
    value = float(np.average(d, weights=weight))
    return Estimate(value, max(-1.0, float(mean) - half), min(1.0, float(mean) + half), len(d))


def judge(
    right: Mapping[tuple[str, float], np.ndarray],
    weight: np.ndarray,
    uniform: str,
    truths: Mapping[tuple[str, float], float],
) -> list[Judged]:
    """Judges every selection at every kept fraction.

    Args:
      right: (name, kept fraction) -> f64[n], for each held-out image the share of networks that are right.
      weight: see ``accuracy``.
      uniform: the name of the selection that others are compared with.
      truths: (name, kept fraction) -> test accuracy.
    """
    found = []
    for (name, keep), correct in right.items():
        drawn = right.get((uniform, keep))
        ahead = difference(correct, drawn, weight) if drawn is not None and name != uniform else None
        found.append(Judged(name, keep, accuracy(correct, weight), ahead, truths.get((name, keep))))
    return found


def trend(lines: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Trend | None:
    """The trend of the first of some metrics that was measured, over the last half of a training.

    Args:
      lines: of the metrics of one training, in the order of their steps.

    Returns:
      None unless the metric rises by half a point or more over that half, and by more than two standard errors.
    """
    for key in keys:
        points = np.array([(line["step"], line[key]) for line in lines if key in line], float)
        if len(points):
            late = points[points[:, 0] > points[-1, 0] / 2]
            return _rising(key, late) if len(late) >= 3 else None
    return None


def _rising(key: str, late: np.ndarray) -> Trend | None:
    step, value = late.T
    away = step - step.mean()
    slope = float(away @ value / (away @ away))
    rest = value - value.mean() - slope * away
    error = math.sqrt(float(rest @ rest) / max(1, len(step) - 2) / float(away @ away))
    rises = slope * (step[-1] - step[0]) >= 0.005 and slope > 2 * error
    return Trend(key, 1000 * slope, int(step[-1])) if rises else None


def in_words(
    pseudo_labels: Estimate, judged: Sequence[Judged], rising: Trend | None, *, benchmark: bool = False
) -> list[str]:
    """The verdict, one sentence for each kept fraction, and what to do next.

    Args:
      pseudo_labels: the share of the unlabelled images whose pseudo-labels are right.
      judged: as ``judge`` returns them.
      rising: the trend of FixMatch at its end, if it was still improving.
      benchmark: whether all labels are there already, so that none need to be bought.
    """
    right, n = _between(pseudo_labels), pseudo_labels.n
    said = [f"{right} of the pseudo-labels are right, by {n} labels that no training has read."]
    if rising:
        said.append(_of_trend(rising))
    best = {}
    for keep in dict.fromkeys(entry.keep for entry in judged):
        others = [entry for entry in judged if entry.keep == keep and entry.ahead]
        if others:
            best[keep], sentence = _of_keep(keep, others)
            said.append(sentence)
    return [*said, _advice(best, benchmark)] if best else said


def _of_keep(keep: float, others: Sequence[Judged]) -> tuple[Judged | None, str]:
    """The selection to take, if one is ahead of the uniform draw for certain, and a sentence about all."""
    first = max(others, key=lambda entry: _ahead(entry).value)
    worse = [entry for entry in others if _ahead(entry).high < 0]
    if _ahead(first).low > 0:
        best, said = first, f"take {first.name}: it is ahead of random by {_points(_ahead(first))}"
    else:
        best, said = None, "no selection can be told from random: take random, or label more"
        if len(worse) == len(others):
            said = "take random: it is ahead of every selection"
        elif len(others) > len(worse):
            said += f" ({first.name} is at {_points(_ahead(first), signed=True)})"
    said += "".join(f"; {entry.name} is worse than random, by {_points(_ahead(entry))}" for entry in worse)
    return best, f"Keep {keep:.4g}: {said}."


def _advice(best: Mapping[float, Judged | None], benchmark: bool) -> str:
    taken = [f"select/{entry.name}_keep{keep_text(keep)}" for keep, entry in best.items() if entry]
    if not taken:
        return "Next: hold out more labels (label.held_out) for narrower intervals, or label a random part of the pool."
    if benchmark:
        return f"Next: use the coresets that are ahead: {', '.join(taken)}."
    return f"Next: label the images that to_label.txt lists, in {' or '.join(taken)}, and run again with these labels."


def _of_trend(rising: Trend) -> str:
    words = {"test_accuracy": "points of test accuracy", "mask_rate": "points of confident predictions"}
    return (
        f"FixMatch was still improving at its end, by {100 * rising.slope:.1f} {words[rising.name]} per 1,000 steps; "
        f"give it more: ssl.steps={2 * rising.steps}."
    )


def _ahead(entry: Judged) -> Estimate:
    assert entry.ahead is not None
    return entry.ahead


def _between(share: Estimate) -> str:
    return f"{100 * share.value:.1f}% ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _points(found: Estimate, *, signed: bool = False) -> str:
    """A difference in points; without a sign, that of its value is taken off."""
    value, low, high = (100 * x for x in found[:3])
    if value < 0 and not signed:
        value, low, high = -value, -high, -low
    return f"{value:{'+' if signed else ''}.1f} points ({low:.1f} to {high:.1f})"


def _effective(weight: np.ndarray) -> float:
    return float(np.sum(weight) ** 2 / np.sum(np.square(weight)))
