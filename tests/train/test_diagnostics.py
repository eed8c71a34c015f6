"""Diagnoses that end a run, and warnings."""

import numpy as np
import pytest

from semiprune_jax.train import diagnostics

CLASSES = ("ant", "bee", "cat", "dog")
EVEN = np.full(4, 0.25)


def collapse(mask_rate=0.5, class_share=EVEN, label_share=EVEN, threshold=0.95):
    return diagnostics.collapse(mask_rate, np.array(class_share), np.array(label_share), CLASSES, threshold=threshold)


def test_nothing_is_wrong():
    assert collapse() is None
    assert collapse(mask_rate=0.001) is None
    assert collapse(class_share=[0.94, 0.06, 0, 0]) is None
    # A class that has half of the labels may have nearly all of the predictions.
    assert collapse(class_share=[0.99, 0.01, 0, 0], label_share=[0.5, 0.3, 0.1, 0.1]) is None


def test_one_class_takes_all():
    trouble = collapse(class_share=[0.01, 0.96, 0.03, 0], label_share=[0.2, 0.49, 0.2, 0.11])
    assert trouble.startswith("96.0% of the unlabelled images are predicted as 'bee' (of the labels 49.0%)")
    for advice in ("ssl.learning_rate", "label more", "--overwrite"):
        assert advice in trouble


def test_no_view_is_confident():
    trouble = collapse(mask_rate=0.0005)
    assert trouble.startswith("0.05% of the unlabelled images are predicted with a probability of 0.95 or more")
    for advice in ("ssl.threshold", "ssl.steps", "--overwrite"):
        assert advice in trouble
    trouble = collapse(mask_rate=0.0005, threshold=None)  # a learner without one
    assert trouble.startswith("0.05% of the unlabelled images count, so they teach nothing; raise ssl.steps")


@pytest.mark.parametrize(
    ("kept", "steps", "held", "better"), [(0.999, 1000, "37%", "or lower it to 0.98"), (0.9, 10, "35%", "train longer")]
)
def test_an_average_that_never_forgets(kept, steps, held, better):
    warning = diagnostics.slow_average("ssl.ema_decay", kept, steps, "weights")
    assert warning.startswith(f"ssl.ema_decay = {kept} still holds {held} of the first weights")
    assert warning.endswith(better)


@pytest.mark.parametrize(("kept", "steps"), [(0.999, 4_700), (0.98, 1000), (0.0, 1), (0.5, 12)])
def test_averages_that_forget_in_time(kept, steps):
    assert diagnostics.slow_average("x", kept, steps, "weights") is None
