import numpy as np
import pytest

from semiprune_jax.train.quality import pseudo_label_quality


def test_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 1, 2, 0])
    quality = pseudo_label_quality(predicted, truth, 3)
    assert quality["accuracy"] == pytest.approx(6 / 8)
    assert quality["matched_accuracy"] == pytest.approx(6 / 8)
    assert quality["balanced_accuracy"] == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)


def test_clusters_are_matched():
    truth = np.repeat([0, 1, 2], 5)
    quality = pseudo_label_quality((truth + 1) % 3, truth, 3)
    assert quality["accuracy"] == 0
    assert quality["matched_accuracy"] == quality["nmi"] == quality["ari"] == pytest.approx(1)
    assert quality["balanced_accuracy"] == 0
    assert quality["matched_balanced_accuracy"] == pytest.approx(1)


def test_chance_has_no_agreement(rng):
    quality = pseudo_label_quality(rng.integers(0, 4, 5000), rng.integers(0, 4, 5000), 5)  # a class that never occurs
    assert quality["ari"] == pytest.approx(0, abs=0.01)
    assert quality["balanced_accuracy"] == pytest.approx(0.25, abs=0.03)
