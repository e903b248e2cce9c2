"""What a fit should not pass over in silence: one warning each, with the remedy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.caller import warn_caller
from ntk_fast.kernels import Kernel
from ntk_fast.validation import shortened

#: A ridge so many times the mean diagonal of the kernel matrix leaves little but the mean.
FAR_ABOVE_THE_DIAGONAL = 100.0
#: Whole numbers with at most so many different values, and each of them so often on average, look like labels.
MOST_LABELS, ROWS_PER_LABEL = 20, 10

#: With fewer rows the error of rows left out is mostly chance.
FEW_ROWS = 20


class FitWarning(UserWarning):
    """A model was fitted, and is probably not what was wanted."""


def warn_of_a_kernel_of_zeros(kernel: Kernel, rows: NDArray[np.floating]) -> None:
    why = (
        "all rows are 0, or all columns constant: pass columns that vary, or a kernel with bias_variance > 0"
        if not rows.any()
        else "its variances shrink it to nothing in so many layers: pass weight_variance='he', or fewer layers"
    )
    warn_caller(
        f"The kernel {shortened(kernel)} is 0 on all training rows, and every prediction is the targets' mean: {why}.",
        FitWarning,
    )


def warn_of_a_large_ridge(relative_ridge: float) -> None:
    if relative_ridge > FAR_ABOVE_THE_DIAGONAL:
        warn_caller(
            f"ridge is {relative_ridge:.3g} times the mean diagonal of the kernel matrix, and predictions are drawn to "
            "the targets' mean: pass a smaller one (it is measured in that diagonal), or 'loo'.",
            FitWarning,
        )


def warn_of_a_useless_fit(score: float, n_rows: int, ridge_is_chosen: bool) -> None:
    """`score`: R2 on rows left out, which is negative where the mean is better. Of few rows it says little."""
    if score < 0 and n_rows >= FEW_ROWS:
        advice = "" if ridge_is_chosen else "ridge='loo', or "
        warn_caller(
            f"The fit is worse than the targets' mean: R2 is {score:.3f} on rows left out of it. Pass {advice}another "
            "kernel, or columns that say more about the targets.",
            FitWarning,
        )


def warn_of_a_useless_classifier(
    right: float, labels: NDArray[np.intp], weights: NDArray[np.float64] | None, ridge_is_chosen: bool
) -> None:
    """`right`: the share of rows left out that are; `labels`: places of the true classes. One deviation is chance."""
    share = float((np.bincount(labels, weights) / (len(labels) if weights is None else weights.sum())).max())
    if right < share - np.sqrt(share * (1 - share) / len(labels)) and len(labels) >= FEW_ROWS:
        advice = "" if ridge_is_chosen else "ridge='loo', or "
        warn_caller(
            f"The fit is worse than the most frequent class, which is right on {share:.1%} of the rows: it is on "
            f"{right:.1%} of rows left out of it. Pass {advice}another kernel, or columns that say more about the "
            "classes.",
            FitWarning,
        )


def warn_of_labels(targets: NDArray[np.float64]) -> None:
    """Targets of a regression that look like labels."""
    if targets.ndim > 1 or (targets != np.rint(targets)).any():
        return
    n_values = len(np.unique(targets))
    if 1 < n_values <= MOST_LABELS and n_values * ROWS_PER_LABEL <= len(targets):
        warn_caller(
            f"The targets are {n_values} different whole numbers, and are regressed as numbers: if they are labels, "
            "fit an NTKClassifier.",
            FitWarning,
        )
