"""The verdict: its intervals, and its words."""

import numpy as np
import pytest

from semiprune_jax.report import verdict
from semiprune_jax.report.verdict import Estimate, Judged, Trend


@pytest.mark.parametrize("share", [0.05, 0.5, 0.84, 0.99])
def test_intervals_of_a_share_hold_it_as_often_as_they_say(rng, share):
    weight = np.tile([1.0, 3.0], 50)  # as of classes of unequal size
    held = [
        found.low <= share <= found.high
        for found in (verdict.accuracy(rng.random(100) < share, weight) for _ in range(4000))
    ]
    assert 0.93 < np.mean(held) < 0.985


@pytest.mark.parametrize(("both", "one", "other"), [(0.5, 0.1, 0.1), (0.4, 0.25, 0.05), (0.9, 0.02, 0.0)])
def test_intervals_of_a_difference_hold_it_as_often_as_they_say(rng, both, one, other):
    """Probabilities that both networks are right, the first alone, and the second alone."""
    held = []
    for _ in range(4000):
        kind = rng.choice(4, 100, p=[both, one, other, 1 - both - one - other])
        found = verdict.difference(kind <= 1, (kind == 0) | (kind == 2), np.ones(100))
        held.append(found.low <= one - other <= found.high)
    assert np.mean(held) > 0.93  # more where both are nearly always right together


def test_wilson_by_hand():
    """Agresti and Coull's example: 0 of 20."""
    found = verdict.accuracy(np.zeros(20), np.ones(20))
    assert (found.value, found.low, found.n) == (0, 0, 20)
    assert found.high == pytest.approx(1.959964**2 / (20 + 1.959964**2))


def test_weights_count():
    right, weight = np.array([1.0, 1.0, 0.0]), np.array([1.0, 1.0, 6.0])
    assert verdict.accuracy(right, weight).value == pytest.approx(0.25)
    assert verdict.difference(right, 1 - right, weight).value == pytest.approx(-0.5)
    narrow, wide = (verdict.accuracy(np.tile(right, 40), np.tile(w, 40)) for w in (np.ones(3), weight))
    assert wide.high - wide.low > narrow.high - narrow.low


def test_each_is_compared_with_the_draw_of_its_kept_fraction(rng):
    right = {(name, keep): (rng.random(50) < p) * 1.0 for name, keep, p in [("random", 0.5, 0.6), ("a", 0.5, 0.9)]}
    right["a", 0.1] = np.ones(50)  # nothing to compare it with
    judged = verdict.judge(right, np.ones(50), "random", {("a", 0.5): 0.88})
    assert [(entry.name, entry.keep, entry.ahead is None, entry.truth) for entry in judged] == [
        ("random", 0.5, True, None),
        ("a", 0.5, False, 0.88),
        ("a", 0.1, True, None),
    ]
    expected = verdict.difference(right["a", 0.5], right["random", 0.5], np.ones(50))
    assert judged[1].ahead == expected


def entry(name, keep, value, half):
    ahead = Estimate(value, value - half, value + half, 100)
    return Judged(name, keep, Estimate(0.5, 0.4, 0.6, 100), ahead, None)


SURE = Estimate(0.55, 0.45, 0.65, 100)


def said(*judged, rising=None, benchmark=False):
    return verdict.in_words(SURE, judged, rising, benchmark=benchmark)


def test_a_selection_that_is_ahead():
    words = said(entry("semi_aum", 0.3, 0.06, 0.04), entry("semi_dual", 0.3, 0.01, 0.04))
    assert words == [
        "55.0% (45.0 to 65.0) of the pseudo-labels are right, by 100 labels that no training has read.",
        "Keep 0.3: take semi_aum: it is ahead of random by 6.0 points (2.0 to 10.0).",
        "Next: label the images that to_label.txt lists, in select/semi_aum_keep0.30, and run again with these labels.",
    ]
    assert said(entry("semi_aum", 0.3, 0.06, 0.04), benchmark=True)[-1] == (
        "Next: use the coresets that are ahead: select/semi_aum_keep0.30."
    )


def test_none_that_can_be_told_from_random():
    words = said(entry("semi_aum", 0.5, 0.01, 0.04), entry("semi_dual", 0.5, -0.01, 0.04))
    assert words[1] == (
        "Keep 0.5: no selection can be told from random: take random, or label more "
        "(semi_aum is at +1.0 points (-3.0 to 5.0))."
    )
    assert words[2].startswith("Next: hold out more labels")


def test_one_that_is_worse_than_random_is_called_that():
    words = said(entry("semi_aum", 0.3, -0.104, 0.05), entry("semi_dual", 0.3, 0.07, 0.05))
    assert words[1] == (
        "Keep 0.3: take semi_dual: it is ahead of random by 7.0 points (2.0 to 12.0); "
        "semi_aum is worse than random, by 10.4 points (5.4 to 15.4)."
    )
    words = said(entry("semi_aum", 0.3, -0.104, 0.05))
    assert words[1] == (
        "Keep 0.3: take random: it is ahead of every selection; semi_aum is worse than random, by 10.4 points "
        "(5.4 to 15.4)."
    )


def test_one_sentence_for_each_kept_fraction():
    words = said(entry("a", 0.5, 0.06, 0.04), entry("a", 0.125, 0.0, 0.04))
    assert [text.split(":")[0] for text in words[1:]] == ["Keep 0.5", "Keep 0.125", "Next"]


def test_a_training_that_was_still_improving_is_told(rng):
    """By half a point per 1,000 steps, as FixMatch on CIFAR-10 after 11,100 steps."""
    steps = np.arange(100, 11_100, 100)
    lines = [{"step": int(s), "test_accuracy": 0.78 + 0.000005 * s + rng.normal(0, 0.001)} for s in steps]
    found = verdict.trend(lines, ("test_accuracy", "mask_rate"))
    assert found is not None
    assert found.slope == pytest.approx(0.005, rel=0.1)
    assert (found.name, found.steps) == ("test_accuracy", 11_000)
    text = said(rising=found)[1]
    assert text == (
        "FixMatch was still improving at its end, by 0.5 points of test accuracy per 1,000 steps; give it more: "
        "ssl.steps=22000."
    )


def test_one_that_had_come_to_rest_is_not(rng):
    lines = [{"step": s, "mask_rate": 0.8 + rng.normal(0, 0.01)} for s in range(0, 9000, 50)]
    assert verdict.trend(lines, ("test_accuracy", "mask_rate")) is None
    falling = [{"step": s, "mask_rate": 0.8 - s / 9000} for s in range(0, 9000, 50)]
    assert verdict.trend(falling, ("mask_rate",)) is None
    assert verdict.trend([], ("mask_rate",)) is None


def test_without_a_test_set_the_confident_predictions_tell():
    lines = [{"step": s, "mask_rate": s / 9000} for s in range(0, 9000, 50)]
    found = verdict.trend(lines, ("test_accuracy", "mask_rate"))
    assert found == Trend("mask_rate", pytest.approx(1000 / 9000), 8950)
    assert "11.1 points of confident predictions per 1,000 steps" in said(rising=found)[1]
