"""Scores: pure functions of a run's dynamics, one number per example.

Inputs are numpy arrays [N, T] of N examples and T recorded epochs in order. Every function returns f32[N] and sums in
float64. Its docstring gives its formula and the source. A window or horizon beyond T is an error, never a truncation.
``SCORES`` names the scores and says which end of each is hard.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.field import NOT_NEGATIVE, POSITIVE_OR_OPEN, POSITIVE_SHARE, Field, OneOf

_ROWS = 128  # examples whose windows are computed together


def aum(margin: np.ndarray) -> np.ndarray:
    """Accumulated margin: the sum over epochs of p(label) - max p(other), margin f32[N, T].

    Range [-T, T]; low is hard. SemiPrune's released code also sums margins of probabilities; the original (Pleiss et
    al., arXiv:2001.10528) averages logit margins. Sum and mean rank examples equally.

    >>> aum(np.array([[0.5, 0.7], [-0.1, 0.1]]))  # two examples, two epochs
    array([1.2, 0. ], dtype=float32)
    """
    return _sum(margin)


def forgetting(correct: np.ndarray, never_learned: str = "zero") -> np.ndarray:
    """Number of times an example was right at one visit and wrong at the next, correct bool[N, T].

    High is hard. (Toneva et al., arXiv:1812.05159.) Examples that were never right get 0 by default, as in CCS, ELFS,
    SemiPrune and DUAL. With "hardest" they get T, which exceeds any count in T visits, so that they come before all
    others; Toneva and DataDiet use infinity.

    Raises:
      ArgumentError: ``never_learned`` is neither "zero" nor "hardest".

    >>> correct = np.array([[True, False, True, False], [False, False, True, True], [False] * 4])
    >>> forgetting(correct), forgetting(correct, never_learned="hardest")
    (array([2., 0., 0.], dtype=float32), array([2., 0., 4.], dtype=float32))
    """
    if never_learned not in ("zero", "hardest"):
        raise ArgumentError(f"never_learned = {never_learned!r} is neither 'zero' nor 'hardest'")
    correct = np.asarray(correct, bool)
    events = np.sum(correct[:, :-1] & ~correct[:, 1:], axis=1).astype(np.float32)
    return np.where(correct.any(axis=1) | (never_learned == "zero"), events, np.float32(correct.shape[1]))


def correctness(correct: np.ndarray) -> np.ndarray:
    """Number of epochs in which the label was the most probable class, correct bool[N, T]. Low is hard.

    >>> correctness(np.array([[True, False, True], [False, False, False]]))
    array([2., 0.], dtype=float32)
    """
    return np.sum(np.asarray(correct, bool), axis=1).astype(np.float32)


def entropy(entropy: np.ndarray) -> np.ndarray:
    """Entropy (nats) of the prediction at the last recorded epoch, entropy f32[N, T]. High is hard.

    The prediction is that of the training pass, as in DUAL's released code; CCS evaluates its final checkpoint.

    >>> entropy(np.array([[0.6, 0.2], [0.6, 0.9]]))
    array([0.2, 0.9], dtype=float32)
    """
    return np.asarray(entropy, np.float32)[:, -1].copy()


def el2n(el2n: np.ndarray, first: int = 0, last: int = 10) -> np.ndarray:
    """Sum of ||p - onehot(label)||_2 over the epochs ``first`` .. ``last - 1``, el2n f32[N, T]. High is hard.

    Windows in use, last exclusive: 0..10 CCS and ELFS, 0..20 SemiPrune on CIFAR, 0..11 on ImageNet.

    Raises:
      ArgumentError: the window is empty or reaches past T.

    >>> el2n(np.array([[1.0, 0.5, 0.1], [0.2, 0.1, 0.0]]), first=0, last=2)
    array([1.5, 0.3], dtype=float32)
    """
    return _window_sum("el2n", el2n, first, last)


def grand(grad_norm: np.ndarray, first: int = 0, last: int = 10) -> np.ndarray:
    """GraNd: norms of the loss' gradient, summed over the epochs ``first`` .. ``last - 1``, grad_norm f32[N, T].

    High is hard. The gradient is that of the last layer, whose norm is ||p - onehot(label)|| sqrt(||h||^2 + 1) for
    features h, in one run; Paul et al. (arXiv:2107.07075) take all layers at one epoch, and average ten networks.

    Raises:
      ArgumentError: the window is empty or reaches past T.

    >>> grand(np.array([[4.0, 2.0, 1.0], [1.0, 0.5, 0.0]]), first=0, last=2)
    array([6. , 1.5], dtype=float32)
    """
    return _window_sum("grand", grad_norm, first, last)


def dual(p_label: np.ndarray, window: int = 10, horizon: int | None = None, exponent: float = 1.0) -> np.ndarray:
    """DUAL: mean over windows of (1 - mean) * std^exponent of p(label) in the window, p_label f32[N, T].

    High is uncertain and hard. Only the first ``horizon`` epochs count (None: all). The standard deviation is
    biased and unscaled; DUAL's CIFAR script uses the unbiased one times 10, a constant factor that changes
    neither ranks nor sampling weights. (Cho et al., arXiv:2502.06905; exponent: SemiPrune.)

    Raises:
      ArgumentError: ``horizon`` exceeds T or ``window`` exceeds the horizon.

    >>> dual(np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), window=2)
    array([0.25, 0.  ], dtype=float32)
    """
    p = _first(p_label, horizon)
    score = np.empty(len(p), np.float32)
    for rows, mean, std in _windows(p, window):
        score[rows] = np.mean((1.0 - mean) * std**exponent, axis=0)
    return score


def dyn_unc(p_label: np.ndarray, window: int = 10) -> np.ndarray:
    """Dynamic uncertainty: mean over windows of the biased std of p(label), p_label f32[N, T]. High is hard.

    (He et al., arXiv:2306.05175, up to a constant factor.)

    Raises:
      ArgumentError: ``window`` exceeds T.

    >>> dyn_unc(np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), window=2)
    array([0.5, 0. ], dtype=float32)
    """
    p = _first(p_label, None)
    score = np.empty(len(p), np.float32)
    for rows, _, std in _windows(p, window):
        score[rows] = np.mean(std, axis=0)
    return score


def tdds(kl: np.ndarray, window: int = 10, horizon: int | None = None, decay: float = 0.9) -> np.ndarray:
    """TDDS: how unevenly the prediction moves within windows of visits; the last windows weigh most, kl f32[N, T].

    kl[:, t] is sum_c |p_c (log p_c - log p'_c)| between the visits t - 1 and t. A window of ``window`` visits has
    window - 1 of these values. The norm of their deviations from their mean is n_k in window k, and the score is the
    sum of n_k * decay * (1 - decay)^(windows after k). High is hard. Only the first ``horizon`` epochs count (None:
    all). (Zhang et al., arXiv:2311.13613, ``importance_evaluation.py``; DUAL's port of it never moves its window.)

    Raises:
      ArgumentError: ``horizon`` exceeds T, ``window`` exceeds the horizon or is below 2, or ``decay`` is not in (0, 1].

    >>> tdds(np.array([[0.0, 0.0, 0.4, 0.0], [0.0, 0.2, 0.2, 0.2]]), window=3).round(4)
    array([0.28, 0.  ], dtype=float32)
    """
    if not 0.0 < decay <= 1.0:
        raise ArgumentError(f"decay = {decay} is not in (0, 1]: the weight of the last window")
    steps = _first(kl, horizon)
    if not 2 <= window <= steps.shape[1]:
        raise ArgumentError(
            f"window {window} is not in 2..{steps.shape[1]}, the epochs in use; change it or use more epochs"
        )
    score = np.empty(len(steps), np.float32)
    for rows, _, std in _windows(steps[:, 1:], window - 1):
        weights = decay * (1.0 - decay) ** np.arange(len(std))[::-1]
        score[rows] = weights @ std * np.sqrt(window - 1.0)
    return score


def mean_probability(p_label: np.ndarray, horizon: int | None = None) -> np.ndarray:
    """Mean of p(label) over the first ``horizon`` epochs (None: all), p_label f32[N, T]. Low is hard.

    This is the q of Beta sampling. Raises ArgumentError if ``horizon`` exceeds T.

    >>> mean_probability(np.array([[0.2, 0.4, 0.9]]), horizon=2)
    array([0.3], dtype=float32)
    """
    p = _first(p_label, horizon)
    return np.asarray(np.mean(p, axis=1, dtype=np.float64), np.float32)


class Score(NamedTuple):
    """A score as a record: how to compute it from a run's dynamics, and which end of it is hard."""

    function: Callable[..., np.ndarray]
    fields: tuple[str, ...]  # the recorded arrays that it reads, in the order of its arguments
    options: Mapping[str, Field]  # its keyword arguments
    high_is_hard: bool
    title: str  # on an axis
    may_be_negative: bool = False


# Each selection has its own.
PER_SELECTION = {
    "horizon": Field(0, "the number of first epochs that count; 0: all; -1: chosen by trials, for beta."),
    "exponent": Field(
        1.0,
        "the exponent of DUAL's standard deviation; -1: chosen by trials, for beta.",
        POSITIVE_OR_OPEN,
    ),
}
_WINDOW = Field(10, "Epochs of a DUAL, Dyn-Unc or TDDS window.")
_DECAY = Field(
    0.9, "Weight of TDDS's last window; each earlier one has (1 - decay) times the weight of the next.", POSITIVE_SHARE
)
_NEVER_LEARNED = Field(
    "zero",
    "Forgetting of examples that were never right: zero as in CCS and ELFS, or hardest as in Toneva et al.",
    OneOf(("zero", "hardest")),
)
_SUM = {
    "first": Field(0, "EL2N, GraNd: the first epoch summed.", NOT_NEGATIVE),
    "last": Field(
        10, "EL2N, GraNd: the epoch before which the sum ends (CCS, ELFS: 10; SemiPrune: 20 on CIFAR, 11 on ImageNet)."
    ),
}
_DUAL = {"window": _WINDOW, **PER_SELECTION}
_TDDS = {"window": _WINDOW, "horizon": PER_SELECTION["horizon"], "decay": _DECAY}

SCORES: dict[str, Score] = {
    "aum": Score(aum, ("margin",), {}, high_is_hard=False, title="AUM", may_be_negative=True),
    "forgetting": Score(
        forgetting, ("correct",), {"never_learned": _NEVER_LEARNED}, high_is_hard=True, title="forgetting events"
    ),
    "correctness": Score(correctness, ("correct",), {}, high_is_hard=False, title="epochs correct"),
    "el2n": Score(el2n, ("el2n",), _SUM, high_is_hard=True, title="EL2N"),
    "grand": Score(grand, ("grad_norm",), _SUM, high_is_hard=True, title="GraNd"),
    "dual": Score(dual, ("p_label",), _DUAL, high_is_hard=True, title="DUAL"),
    "dyn_unc": Score(dyn_unc, ("p_label",), {"window": _WINDOW}, high_is_hard=True, title="dynamic uncertainty"),
    "tdds": Score(tdds, ("kl",), _TDDS, high_is_hard=True, title="TDDS"),
    "mean_probability": Score(
        mean_probability, ("p_label",), {"horizon": PER_SELECTION["horizon"]}, high_is_hard=False, title="mean p(label)"
    ),
    "entropy": Score(entropy, ("entropy",), {}, high_is_hard=True, title="entropy, nats"),
}


def settings() -> dict[str, Field]:
    """The options of all scores that a run sets once; those of ``PER_SELECTION`` are set for each selection.

    >>> list(settings())
    ['never_learned', 'first', 'last', 'window', 'decay']
    """
    fields = {name: field for score in SCORES.values() for name, field in score.options.items()}
    return {name: field for name, field in fields.items() if name not in PER_SELECTION}


def compute(name: str, dynamics: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> np.ndarray:
    """The named score, f32[N], of saved dynamics (name of array -> [N, T]).

    ``options`` may hold those of other scores, too.

    >>> record = {"p_label": np.array([[0.7, 0.9]]), "p_other": np.array([[0.2, 0.1]])}
    >>> compute("aum", record, {})
    array([1.3], dtype=float32)
    """
    score = SCORES[name]

    def field(key: str) -> np.ndarray:
        return dynamics["p_label"] - dynamics["p_other"] if key == "margin" else dynamics[key]

    chosen = {key: options[key] for key in score.options if key in options}
    return score.function(*(field(key) for key in score.fields), **chosen)


def recorded(name: str, dynamics: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> bool:
    """Whether the record holds the arrays of the named score, and as many epochs as its options name.

    entropy, grad_norm and kl are recorded on request, and a proxy may stop early.
    """
    score, epochs = SCORES[name], dynamics["p_label"].shape[1]
    named = [options[key] for key in ("last", "window") if key in score.options]
    return all(key == "margin" or key in dynamics for key in score.fields) and max([0, *named]) <= epochs


def _window_sum(name: str, values: np.ndarray, first: int, last: int) -> np.ndarray:
    epochs = np.shape(values)[1]
    if not 0 <= first < last <= epochs:
        raise ArgumentError(
            f"{name} window {first}..{last} (last exclusive) does not fit in {epochs} recorded epochs; "
            f"choose 0 <= first < last <= {epochs} or record more epochs"
        )
    return _sum(values[:, first:last])


def _sum(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(values, axis=1, dtype=np.float64), np.float32)


def _first(p: np.ndarray, horizon: int | None) -> np.ndarray:
    epochs = np.shape(p)[1]
    if horizon is not None and not 1 <= horizon <= epochs:
        raise ArgumentError(
            f"horizon {horizon} is not in 1..{epochs}, the recorded epochs; lower it or train the proxy longer"
        )
    return np.asarray(p, np.float32)[:, :horizon]


def _windows(p: np.ndarray, window: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yields rows, and the mean and biased std of every ``window`` consecutive epochs, each f64[windows, rows].

    There are two passes over each window, since running sums lose all digits on saturated examples. Few rows at a time,
    transposed, keep the work in a processor's cache.
    """
    epochs = p.shape[1]
    if not 1 <= window <= epochs:
        raise ArgumentError(f"window {window} is not in 1..{epochs}, the epochs in use; shorten it or use more epochs")
    windows = epochs - window + 1
    for first in range(0, len(p), _ROWS):
        rows = slice(first, first + _ROWS)
        values = np.ascontiguousarray(p[rows].T, np.float64)
        mean = sum((values[i : i + windows] for i in range(1, window)), start=values[:windows]) / window
        square = np.zeros_like(mean)
        for i in range(window):
            deviation = values[i : i + windows] - mean
            square += np.multiply(deviation, deviation, out=deviation)
        yield rows, mean, np.sqrt(square / window)
