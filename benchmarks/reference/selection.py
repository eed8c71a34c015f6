"""Selections as the released code makes them: a whole sort, and NumPy's weighted draw without replacement."""

import numpy as np
from scipy.stats import beta as beta_distribution


def cutoff(aum: np.ndarray, keep: float, cutoff: float) -> np.ndarray:
    """Ids by rising score: skips the lowest scores and keeps the next ones."""
    n, first = int(keep * len(aum)), int(cutoff * len(aum))
    return np.argsort(aum)[first : first + n]


def beta(
    dual: np.ndarray, q: np.ndarray, keep: float, c_d: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Ids drawn with weights BetaPDF(q) times DUAL, and these weights."""
    mu = q[np.argsort(dual)[-10:]].mean()
    b = 15 * (1 - mu) * (1 - (1 - keep) ** c_d)
    weights = beta_distribution.pdf(q, 16 - b, b) * dual
    weights = weights / weights.sum()
    return rng.choice(len(dual), int(keep * len(dual)), replace=False, p=weights), weights
