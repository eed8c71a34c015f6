"""Diagnoses of trainings that go wrong: FixMatch that collapses, moving averages too slow for the run."""

from collections.abc import Sequence

import numpy as np

BEGINS = 0.3  # share of the steps in which FixMatch may still look collapsed
_LOWEST_MASK_RATE = 0.001
_LARGEST_SHARE = 0.95  # of the predictions in one class ...
_LARGEST_LABELLED_SHARE = 0.5  # ... that has less than this of the labels
_REMEMBERED = 0.01  # share of its first value that a moving average may still hold at the end
_AGAIN = "then use another --workdir, or start afresh with --overwrite"


def collapse(
    mask_rate: float,
    class_share: np.ndarray,
    label_share: np.ndarray,
    classes: Sequence[str],
    *,
    threshold: float | None,
) -> str | None:
    """The fault of a stretch of FixMatch and the advice against it, or None.

    Args:
      mask_rate: mean weight of the unlabelled images; under a threshold, the share of confident predictions.
      class_share: [C], the share of each class among the targets of unlabelled images.
      label_share: [C], the share of each class among the labelled examples.
      classes: their names.
      threshold: the confidence that predictions need; None for a learner that sets its own.
    """
    most = int(np.argmax(class_share))
    if class_share[most] >= _LARGEST_SHARE and label_share[most] < _LARGEST_LABELLED_SHARE:
        return (
            f"{100 * class_share[most]:.1f}% of the unlabelled images are predicted as {classes[most]!r} "
            f"(of the labels {100 * label_share[most]:.1f}%): training has collapsed; lower ssl.learning_rate or "
            f"ssl.unsupervised_weight, or label more images, {_AGAIN}"
        )
    if mask_rate < _LOWEST_MASK_RATE:
        share = f"{100 * mask_rate:.2g}% of the unlabelled images"
        if threshold is None:
            return f"{share} count, so they teach nothing; raise ssl.steps, or label more images, {_AGAIN}"
        return (
            f"{share} are predicted with a probability of {threshold:g} or more, so they teach nothing; lower "
            f"ssl.threshold, raise ssl.steps, or label more images, {_AGAIN}"
        )
    return None


def slow_average(field: str, kept: float, steps: int, of: str) -> str | None:
    """A warning about a moving average that is too slow for a run of ``steps``, or None.

    Args:
      field: the config field that holds ``kept``.
      kept: share of the average that one step keeps.
      of: name of the averaged values, for the message.

    >>> slow_average("ema_decay", 0.999, 1000, "weights")
    'ema_decay = 0.999 still holds 37% of the first weights after 1,000 steps; train longer, or lower it to 0.98'
    """
    held = kept**steps
    if held <= _REMEMBERED:
        return None
    # 1 - 20 / steps remembers a twentieth of the run, which leaves e^-20 of the start. A few steps allow no such decay.
    advice = f", or lower it to {1 - 20 / steps:.3g}" if steps >= 40 else ""
    holds = f"{field} = {kept:g} still holds {100 * held:.0f}% of the first {of} after {steps:,} steps"
    return f"{holds}; train longer{advice}"
