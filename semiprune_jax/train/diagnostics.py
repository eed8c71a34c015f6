"""What tells a run that goes wrong from one that goes on: collapse of FixMatch, averages too slow for the run."""

from collections.abc import Sequence

import numpy as np

BEGINS = 0.3  # share of the steps before which FixMatch may still be finding its feet
_LOWEST_MASK_RATE = 0.001
_LARGEST_SHARE = 0.95  # of the predictions in one class ...
_LARGEST_LABELLED_SHARE = 0.5  # ... that has less than this of the labels
_REMEMBERED = 0.01  # share of the start that a moving average may still hold at the end
_AGAIN = "then use another --workdir, or start afresh with --overwrite"


def collapse(
    mask_rate: float,
    class_share: np.ndarray,
    label_share: np.ndarray,
    classes: Sequence[str],
    *,
    threshold: float | None,
) -> str | None:
    """What is wrong with a stretch of FixMatch, and what to try; None where nothing is.

    Args:
      mask_rate: mean weight of the weak views; of a learner with a threshold the share that is confident.
      class_share: [C], share of the weak views predicted to be of each class.
      label_share: [C], of the labelled examples.
      classes: their names.
      threshold: the confidence asked for; None of a learner that sets its own.
    """
    most = int(np.argmax(class_share))
    if class_share[most] >= _LARGEST_SHARE and label_share[most] < _LARGEST_LABELLED_SHARE:
        return (
            f"{100 * class_share[most]:.1f}% of the unlabelled images are taken for {classes[most]!r} (of the labels "
            f"{100 * label_share[most]:.1f}%): training has collapsed; lower fixmatch.learning_rate or "
            f"fixmatch.unsupervised_weight, or label more images, {_AGAIN}"
        )
    if mask_rate < _LOWEST_MASK_RATE:
        share = f"{100 * mask_rate:.2g}% of the unlabelled images"
        if threshold is None:
            return f"{share} count, so they teach nothing; raise fixmatch.steps, or label more images, {_AGAIN}"
        return (
            f"{share} are predicted with a probability of {threshold:g} or more, so they teach nothing; lower "
            f"fixmatch.threshold, raise fixmatch.steps, or label more images, {_AGAIN}"
        )
    return None


def slow_average(field: str, kept: float, steps: int, of: str) -> str | None:
    """A warning where a moving average is too slow for a run of ``steps``; None where it is not.

    Args:
      field: the config field that holds ``kept``.
      kept: share of the average that one step keeps.
      of: what is averaged.

    >>> slow_average("ema_decay", 0.999, 1000, "weights")
    'ema_decay = 0.999 still holds 37% of the first weights after 1,000 steps; train longer, or lower it to 0.98'
    """
    held = kept**steps
    if held <= _REMEMBERED:
        return None
    # A memory of a twentieth of the run: by its end e^-20 of the start is left. Of a handful of steps, no such thing.
    advice = f", or lower it to {1 - 20 / steps:.3g}" if steps >= 40 else ""
    holds = f"{field} = {kept:g} still holds {100 * held:.0f}% of the first {of} after {steps:,} steps"
    return f"{holds}; train longer{advice}"
