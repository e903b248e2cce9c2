"""Probabilities from the scores of a least-squares classifier, calibrated on rows that were left out of the fit.

Scores d_k become softmax(slope d), of two classes 1 / (1 + exp(-2 slope d)): one number, which keeps their order and so
the predicted class (temperature scaling: Platt, 1999; Guo et al., 2017). It maximises the likelihood of the labels
given leave-one-out scores, which are those of rows not seen; one uniform label per class more keeps it finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

#: Logarithms of the slopes to choose from.
LOG_SLOPES = (-7.0, 12.0)

Reals = NDArray[np.float64]


def probabilities(scores: Reals, slope: float, are_exclusive: bool) -> Reals:
    """Return probabilities of labels, (n, n_labels), from scores around 0.

    Where labels are exclusive, scores of one column are those of the second of two classes, and both are returned.
    """
    if are_exclusive and scores.shape[1] > 1:
        return softmax(slope * scores, axis=1)
    positive = expit(2 * slope * scores)
    return np.column_stack([expit(-2 * slope * scores), positive]) if are_exclusive else positive


def fit_slope(scores: Reals, truth: Reals, weights: Reals | None, are_exclusive: bool) -> float:
    """Return the slope of the largest likelihood; `truth` holds 0 and 1, in columns as the scores."""
    n, n_columns = scores.shape
    w = np.ones(n) if weights is None else weights / weights.mean()
    is_softmax = are_exclusive and n_columns > 1
    n_labels = n_columns if is_softmax else 2
    smooth = (truth * n + 1) / (n + n_labels)

    def loss(log_slope: float) -> float:
        z = np.exp(log_slope) * scores
        if is_softmax:
            likelihood = (smooth * log_softmax(z, axis=1)).sum(axis=1)
        else:
            likelihood = (smooth * log_expit(2 * z) + (1 - smooth) * log_expit(-2 * z)).sum(axis=1)
        return -float(w @ likelihood)

    return float(np.exp(minimize_scalar(loss, bounds=LOG_SLOPES, method="bounded", options={"xatol": 1e-6}).x))
