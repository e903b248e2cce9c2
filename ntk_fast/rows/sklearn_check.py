"""scikit-learn's check of rows and targets, with data frames, tensors and masks taken as kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_X_y
from sklearn.utils import validation as sklearn_validation

from ntk_fast.rows.frames import frame_rows, is_frame
from ntk_fast.validation import as_array, refuse_masked

NOT_GIVEN = "no_validation"  # scikit-learn's word for it


def validate_data(estimator: Any, X: Any, y: Any = NOT_GIVEN, *, reset: bool = True, **checks: Any) -> Any:
    """Return checked rows, or rows and targets; take or compare the number and the names of columns.

    As `sklearn.utils.validation.validate_data`, which leaves frames to NumPy: words that look like numbers pass there,
    and what becomes of missing values and of columns of several kinds depends on the frame's library. Of masked arrays
    it takes what the mask hides.
    """
    X, y = readable(X, "X"), readable(y, "y")
    if isinstance(X, np.ndarray) and X.ndim > 2:
        raise ValueError(
            f"X must be a 2-D array (n_rows, n_features); got shape {X.shape}: estimators take images as rows, "
            "X.reshape(len(X), -1)."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # it adds all numbers up, to see whether one is not finite
        return _validated(estimator, X, y, reset, checks)


def _validated(estimator: Any, X: Any, y: Any, reset: bool, checks: dict[str, Any]) -> Any:
    if not is_frame(X):
        return sklearn_validation.validate_data(estimator, X, y, reset=reset, **checks)
    rows = frame_rows(X, "X")
    sklearn_validation.validate_data(estimator, X, y, reset=reset, skip_check_array=True)
    if isinstance(y, str) and y == NOT_GIVEN:
        return check_array(rows, estimator=estimator, input_name="X", **checks)
    return check_X_y(rows, y, estimator=estimator, **checks)


def readable(values: Any, name: str) -> Any:
    """Return values as scikit-learn reads them: arrays, lists, series, sparse matrices and frames as they are."""
    refuse_masked(values, name)
    is_array_like = any(hasattr(values, part) for part in ("__array__", "__dlpack__"))
    is_known = isinstance(values, np.ndarray) or any(hasattr(values, part) for part in ("columns", "iloc", "toarray"))
    return as_array(values, name, "an array of real numbers") if is_array_like and not is_known else values
