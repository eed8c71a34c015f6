"""The quality of pseudo-labels, measured against the truth. Reads labels that no training step reads."""

import numpy as np


def pseudo_label_quality(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> dict[str, float]:
    """Accuracy and agreement of predicted labels i[N] with true ones i[N], as fractions.

    Returns:
      accuracy: share of equal labels. balanced_accuracy: mean recall of the classes that occur. matched_accuracy and
      matched_balanced_accuracy: the same after the best one-to-one matching of predicted to true classes, as for
      clusters (ACC). nmi: normalised mutual information (arithmetic). ari: adjusted Rand index.

    >>> quality = pseudo_label_quality(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1]), num_classes=2)
    >>> quality["accuracy"], quality["matched_accuracy"]
    (0.0, 1.0)
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    counts = _confusion(predicted, truth, num_classes)
    matched = counts[:, _matching(counts)]
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "matched_accuracy": float(np.trace(matched) / len(truth)),
        "balanced_accuracy": _mean_recall(counts),
        "matched_balanced_accuracy": _mean_recall(matched),
        "nmi": float(normalized_mutual_info_score(truth, predicted)),
        "ari": float(adjusted_rand_score(truth, predicted)),
    }


def matched_accuracy(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> float:
    """Share of equal labels i[N] after the best one-to-one matching of predicted to true classes (ACC).

    >>> matched_accuracy(np.array([2, 2, 0, 1]), np.array([0, 0, 1, 1]), num_classes=3)
    0.75
    """
    counts = _confusion(predicted, truth, num_classes)
    return float(np.trace(counts[:, _matching(counts)]) / len(truth))


def _matching(counts: np.ndarray) -> np.ndarray:
    """i64[C], the predicted class that belongs to each true one, so that most examples agree."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(counts, maximize=True)[1]


def _mean_recall(counts: np.ndarray) -> float:
    """The mean over the true classes that occur of the share of their examples that are predicted right."""
    per_class = counts.sum(axis=1)
    return float(np.mean(np.diag(counts)[per_class > 0] / per_class[per_class > 0]))


def _confusion(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """i64[true class, predicted class], counts of examples."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(truth, predicted, labels=np.arange(num_classes))
