"""The quality of pseudo-labels, measured against the truth. Reads labels that no training step reads."""

import numpy as np


def pseudo_label_quality(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> dict[str, float]:
    """Accuracy and agreement of predicted labels i[N] with true ones i[N], as fractions.

    Returns:
      accuracy: share of equal labels. matched_accuracy: after the best one-to-one matching of predicted to true
      classes, as for clusters (ACC). balanced_accuracy: mean recall of the classes that occur. nmi: normalised
      mutual information (arithmetic). ari: adjusted Rand index.

    >>> quality = pseudo_label_quality(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1]), num_classes=2)
    >>> quality["accuracy"], quality["matched_accuracy"]
    (0.0, 1.0)
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    counts = _confusion(predicted, truth, num_classes)
    per_class = counts.sum(axis=1)
    recall = np.diag(counts)[per_class > 0] / per_class[per_class > 0]
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "matched_accuracy": matched_accuracy(predicted, truth, num_classes),
        "balanced_accuracy": float(np.mean(recall)),
        "nmi": float(normalized_mutual_info_score(truth, predicted)),
        "ari": float(adjusted_rand_score(truth, predicted)),
    }


def matched_accuracy(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> float:
    """Share of equal labels i[N] after the best one-to-one matching of predicted to true classes (ACC).

    >>> matched_accuracy(np.array([2, 2, 0, 1]), np.array([0, 0, 1, 1]), num_classes=3)
    0.75
    """
    from scipy.optimize import linear_sum_assignment

    counts = _confusion(predicted, truth, num_classes)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(truth))


def _confusion(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """i64[true class, predicted class], counts of examples."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(truth, predicted, labels=np.arange(num_classes))
