"""Selectors that sample: uniform draws, and DUAL's Beta sampling."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from semiprune_jax.errors import ArgumentError
from semiprune_jax.field import POSITIVE, POSITIVE_OR_OPEN, Field, OneOf
from semiprune_jax.select.scores import SCORES
from semiprune_jax.select.selectors.ranks import (
    checked_score,
    chunks,
    class_numbers,
    coreset_size,
    smallest,
    smallest_of_each_class,
    uniform_noise,
)
from semiprune_jax.select.selectors.selector import Search, Selector, Spec, Sweep


def random(n: int, keep: float, seed: int = 0, noise: np.ndarray | None = None) -> np.ndarray:
    """A uniform draw of ``coreset_size(n, keep)`` ids out of n.

    >>> len(random(100, keep=0.3, seed=0))
    30
    """
    return np.flatnonzero(smallest(uniform_noise(n, seed, noise), coreset_size(n, keep)))


def balanced_random(classes: np.ndarray, keep: float, seed: int = 0, noise: np.ndarray | None = None) -> np.ndarray:
    """A uniform draw from each class, in proportion to its size; classes i64[N], any whole numbers.

    >>> kept = balanced_random(np.repeat([0, 1], [80, 20]), keep=0.1)
    >>> int(np.sum(kept < 80)), int(np.sum(kept >= 80))
    (8, 2)
    """
    classes = class_numbers(classes)
    return smallest_of_each_class(uniform_noise(len(classes), seed, noise), classes, keep, None)


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
      seed: of the draw, if ``noise`` is not given.

    The draw is a Gumbel top-n of the log weights, which has the distribution of successive renormalised draws, even for
    densities below the smallest double. (Cho et al., arXiv:2502.06905, ``data_subset.py``.)

    Raises:
      ArgumentError: shapes differ, a score is negative, or a parameter is out of range.

    >>> q = np.linspace(0.1, 0.9, 100)  # mean p(label)
    >>> kept = beta(score=q * (1 - q), mean_probability=q, keep=0.3, c_d=4.0, seed=0)
    >>> len(kept), bool(q[kept].mean() > 0.5)  # the easier ones, at 70% pruned
    (30, True)
    """
    score, q = checked_score(score), checked_score(mean_probability)
    if score.shape != q.shape:
        raise ArgumentError(f"score has shape {score.shape} but mean_probability {q.shape}; both must be [N]")
    if np.any(score < 0):
        raise ArgumentError(f"beta weighs by the score, which must not be negative; got {score.min():g}; use DUAL")
    size = coreset_size(len(score), keep)
    uniform = uniform_noise(len(score), seed, noise)
    most_uncertain = ~smallest(score, max(len(score) - 10, 0), uniform)
    mu = float(np.mean(q[most_uncertain], dtype=np.float64))
    a, b = beta_parameters(mu, keep, c_d, concentration, form)
    late = np.empty(len(score))  # -(log weight + Gumbel noise); the smallest are drawn
    for rows in chunks(len(score)):
        p = np.clip(q[rows].astype(np.float64), 1e-8, 1.0 - 1e-8)
        with np.errstate(divide="ignore"):  # log 0 = -inf is the weight of a score of 0
            log_score = np.log(score[rows].astype(np.float64))
        late[rows] = np.log(-np.log(uniform[rows])) - (a - 1.0) * np.log(p) - (b - 1.0) * np.log1p(-p) - log_score
    # If all remaining weights are 0, the noise alone decides, so that the size is exact for any scores.
    return np.flatnonzero(smallest(late, size, uniform))


def horizons(window: int, epochs: int) -> list[int]:
    """The horizons that a search tries if none are configured: every ten epochs from the window on, and all epochs.

    >>> horizons(10, 45)
    [10, 20, 30, 40, 45]
    """
    return [*range(window, epochs, 10), epochs]


def _horizons(options: Mapping[str, Any], keep: float) -> list[int]:
    del keep
    return list(options["horizons"]) or horizons(options["window"], options["epochs"])


def _beta_problems(spec: Spec, keeps: Sequence[float]) -> Iterator[tuple[str, str]]:
    del keeps
    if SCORES[spec["score"]].may_be_negative:
        yield "score", "a score that is never negative, such as dual: beta weighs by it"


C_D = Field(
    -1.0,
    "how fast the preference moves from uncertain to easy examples as more is pruned; -1: chosen by trials.",
    POSITIVE_OR_OPEN,
)
CONCENTRATION = Field(15.0, "C, the concentration of the density.", POSITIVE)
FORM = Field(
    "code",
    "code sets a = C + 1 - b, which DUAL's numbers were made with; paper sets a = C - b.",
    OneOf(("code", "paper")),
)

RANDOM = Selector("random", random, ("n", "seed", "noise"))
BALANCED_RANDOM = Selector("balanced_random", balanced_random, ("classes", "seed", "noise"))
BETA = Selector(
    "beta",
    beta,
    ("score", "mean_probability", "seed", "noise"),
    {"c_d": C_D, "concentration": CONCENTRATION, "form": FORM},
    problems=_beta_problems,
    # The horizon is chosen first, at the largest kept fraction (30% pruned in the paper). c_D and the exponent are then
    # chosen by the mean over all kept fractions; the paper does not say how.
    search=Search(
        (
            Sweep("horizon", 0, _horizons, kind=int, option="horizons", at_largest=True),
            Sweep("c_d", 4.0, lambda options, keep: list(options["c_d"]), option="c_d", title="c_D"),
            Sweep("exponent", 1.0, lambda options, keep: list(options["exponents"]), option="exponents"),
        ),
        together=True,
    ),
)
